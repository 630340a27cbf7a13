"""Locks and removal of cache entries: what a command uses stays, leftovers of killed commands are removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from workers.base import cache_entries
from workers.base.cache_cli import cache as command
from workers.base.errors import CannotRun, CheckFailed

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def script(body: str) -> list[str]:
    head = "import os, sys, time, signal\nfrom pathlib import Path\nfrom workers.base import cache\n"
    make = "def make(folder):\n    (folder / 'file').write_bytes(b'x' * 5000)\n"
    return [sys.executable, "-c", head + make + textwrap.dedent(body)]


def make_entry(kind: str = "trees", key: str = "abc") -> None:
    """Make an entry in another process, which then ends."""
    subprocess.run(script(f"cache.entry({kind!r}, {key!r}, make)"), check=True, cwd=CHECKOUT)


@contextmanager
def living(body: str) -> Iterator[subprocess.Popen[str]]:
    """Run another process that does something and then stays alive."""
    words = script(textwrap.dedent(body) + "\nprint('ready', flush=True)\nsys.stdin.read()")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words)


def names(*kinds: str) -> list[str]:
    return [f"{entry.kind}/{entry.name}" for entry in cache_entries.entries(kinds)]


def test_an_entry_in_use_stays_and_its_process_is_named(root: Path) -> None:
    make_entry(key="free")
    with living("cache.entry('trees', 'used', make)") as process:
        done = run("--remove-all")
        assert isinstance(done.exception, CheckFailed)
        assert f"trees/used: in use by process {process.pid}" in str(done.exception)
        assert names() == ["trees/used"]
        assert (root / "trees" / "used" / "file").exists()
    assert run("--remove-all").exit_code == 0
    assert not root.exists()


def test_an_entry_that_is_being_made_stays() -> None:
    body = """
    def slow(folder):
        (folder / 'half').touch()
        print('ready', flush=True)
        sys.stdin.read()
    cache.entry('trees', 'abc', slow)
    """
    with living(body) as process:
        (entry,) = cache_entries.entries()
        assert (entry.name, entry.user, entry.leftover) == (".abc.partial", f"process {process.pid}", False)
        assert cache_entries.remove(entry) == f"in use by process {process.pid}"
        assert entry.path.is_dir()
    (entry,) = cache_entries.entries()
    assert (entry.user, entry.leftover) == ("", True)


def test_a_leftover_is_removed_and_the_complete_entry_beside_it_stays(root: Path) -> None:
    make_entry()
    (root / "trees" / ".abc.partial").mkdir()
    (leftover,) = [entry for entry in cache_entries.entries() if entry.leftover]
    assert cache_entries.remove(leftover) == ""
    assert names() == ["trees/abc"]


def test_entries_without_locks_stay_while_any_command_uses_the_cache(root: Path) -> None:
    (root / "apt" / "trixie-arm64").mkdir(parents=True)
    with living("cache.entry('trees', 'abc', make)"):
        assert isinstance(run("--remove", "apt").exception, CheckFailed)
    assert run("--remove", "apt").exit_code == 0
    assert names() == ["trees/abc"]


def test_the_folder_of_a_killed_build_is_removed_and_that_of_a_living_one_stays(root: Path) -> None:
    body = """
    home = cache.root() / 'scratch'
    (home / 'alive').mkdir(parents=True)
    kept = cache.lock(home / 'alive.lock')
    """
    with living(body):
        (root / "scratch" / "dead" / "work").mkdir(parents=True)
        (root / "scratch" / "dead.lock").touch()
        assert isinstance(run("--remove", "scratch").exception, CheckFailed)
        assert names() == ["scratch/alive"]
        assert not (root / "scratch" / "dead.lock").exists()


def test_removal_killed_in_the_middle_is_finished_by_the_next(root: Path) -> None:
    make_entry()
    body = """
    from workers.base import cache_entries
    cache_entries.remove_folder = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
    cache_entries.remove(cache_entries.entries()[0])
    """
    assert subprocess.run(script(body), check=False, cwd=CHECKOUT).returncode == -signal.SIGKILL
    (entry,) = cache_entries.entries()
    assert entry.leftover
    make_entry()
    assert (root / "trees" / "abc" / "file").exists()
    assert run("--remove", "trees").exit_code == 0
    assert names() == []


def test_a_process_that_waits_for_a_removed_lock_gets_the_new_one_of_that_name(root: Path) -> None:
    """Two removers and two makers run at the same time, many times; no maker loses an entry that it uses."""
    maker = """
    for _ in range(150):
        os.environ['KITTEN_CACHE'], pid = os.environ['KITTEN_CACHE'], os.fork()
        if pid == 0:
            entry = cache.entry('trees', 'abc', make)
            ok = all((entry / 'file').is_file() for _ in range(50))
            os._exit(0 if ok else 9)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            sys.exit('the entry vanished in use')
    """
    remover = """
    from workers.base import cache_entries
    while not Path(sys.argv[1]).exists():
        for found in cache_entries.entries():
            cache_entries.remove(found)
        cache_entries.tidy()
    """
    stop = root.parent / "stop"
    removers = [subprocess.Popen([*script(remover), str(stop)], cwd=CHECKOUT) for _ in range(2)]
    makers = [subprocess.Popen(script(maker), cwd=CHECKOUT) for _ in range(2)]
    try:
        assert [process.wait(120) for process in makers] == [0, 0]
        stop.touch()
        assert [process.wait(60) for process in removers] == [0, 0]
    finally:
        for process in (*makers, *removers):
            process.kill()
            process.wait()


def test_with_unused_days_only_older_entries_are_removed(root: Path) -> None:
    make_entry(key="old")
    make_entry(key="new")
    os.utime(root / "trees" / ".old.used", (0, 0))
    assert run("--remove", "trees", "--unused-days", "30").exit_code == 0
    assert names() == ["trees/new"]


def test_use_renews_the_time_of_an_entry(root: Path) -> None:
    make_entry()
    os.utime(root / "trees" / ".abc.used", (0, 0))
    make_entry()
    (entry,) = cache_entries.entries()
    assert not cache_entries.is_unused(entry, 1)


def test_an_ordinary_user_removes_folders_without_permissions(root: Path, tmp_path: Path) -> None:
    body = """
    from workers.base import cache_entries
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    for name in ('work/work', 'upper/a/b'):
        (Path(sys.argv[1]) / name).mkdir(parents=True)
        (Path(sys.argv[1]) / name / 'file').touch()
    for name in ('work/work', 'upper/a/b', 'upper/a', 'upper'):
        (Path(sys.argv[1]) / name).chmod(0)
    print(cache_entries.remove_folder(Path(sys.argv[1])), end='')
    """
    place = Path("/tmp") / f"kitten-test-{os.getpid()}"
    try:
        done = subprocess.run([*script(body), str(place)], capture_output=True, text=True, check=False, cwd=CHECKOUT)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert not place.exists()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_a_link_in_the_cache_is_not_followed(root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "apt").mkdir(parents=True)
    (root / "apt").mkdir(parents=True)
    (root / "apt" / "link").symlink_to(precious)
    (root / "trees").symlink_to(precious)
    assert run("--remove-all").exit_code == 0
    assert (precious / "apt").is_dir()


def test_folders_that_the_cache_did_not_make_are_neither_listed_nor_removed(root: Path) -> None:
    (root / "documents" / "letters").mkdir(parents=True)
    assert names() == []
    assert run("--remove-all").exit_code == 0
    assert (root / "documents" / "letters").is_dir()


@pytest.mark.parametrize("place", ["/", str(CHECKOUT.parent), str(CHECKOUT)])
def test_a_folder_with_the_checkout_in_it_is_no_cache(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTEN_CACHE", place)
    with pytest.raises(CannotRun, match="cannot be a cache"):
        cache_entries.entries()


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    done = run("--remove", "houses")
    assert isinstance(done.exception, CannotRun)
    assert "choose from: trees, " in str(done.exception)


def test_json_names_the_folder_and_each_entry(root: Path) -> None:
    make_entry()
    found = json.loads(run("--json").stdout)
    assert found["root"] == str(root)
    (entry,) = found["entries"]
    assert (entry["kind"], entry["name"], entry["user"]) == ("trees", "abc", "")
    assert entry["size"] >= 5000


def test_while_a_slow_entry_is_made_its_size_is_printed(root: Path) -> None:
    body = """
    cache._SAY_SECONDS = (0.05, 0.05)
    def slow(folder):
        (folder / 'half').write_bytes(b'x' * 3_000_000)
        time.sleep(1)
    cache.entry('trees', 'abc', slow)
    """
    done = subprocess.run(script(body), capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout == ""
    assert "cache: making trees/abc: 3 MB so far, " in done.stderr
