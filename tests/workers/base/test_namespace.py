"""Root on this user's own files, and the error of a host that allows no namespace. The outputs are real, see each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.base import namespace
from workers.base.errors import CannotRun
from workers.base.run import Completed, run


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """A process asks only once what its host allows; here, each test asks."""
    namespace.as_root.cache_clear()
    yield
    namespace.as_root.cache_clear()


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as an ordinary user even if root runs the tests."""
    monkeypatch.setattr(namespace.os, "geteuid", lambda: 1000)


# Ubuntu 24.04 with kernel.apparmor_restrict_unprivileged_userns=1, as its users reported:
# https://github.com/youki-dev/youki/issues/3298, https://github.com/DevToys-app/DevToys/issues/1373,
# https://github.com/anthropic-experimental/sandbox-runtime/issues/74
OF_APPARMOR = (
    "unshare: write failed /proc/self/uid_map: Operation not permitted",
    "bwrap: setting up uid map: Permission denied",
    "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted",
)


@pytest.mark.usefixtures("ordinary")
@pytest.mark.parametrize("line", OF_APPARMOR)
def test_apparmors_restriction_is_one_line_with_two_hints(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "restricted").write_text("1\n")
    monkeypatch.setattr(namespace, "_APPARMOR", tmp_path / "restricted")
    found = namespace.refusal(Completed(("unshare",), 1, line + "\nmore\n"))
    assert found is not None
    assert line in found.what
    assert "AppArmor" in found.what
    assert "\n" not in found.what + found.hint
    assert "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in found.hint
    assert "AppArmor profile" in found.hint


@pytest.mark.usefixtures("ordinary")
@pytest.mark.parametrize("content", ["0\n", None])
def test_without_that_restriction_apparmor_is_not_blamed(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace, "_APPARMOR", tmp_path / "restricted")
    if content is not None:
        (tmp_path / "restricted").write_text(content)
    found = namespace.refusal(Completed(("unshare",), 1, "unshare: unshare failed: No space left on device\n"))
    assert found is not None
    assert "AppArmor" not in found.what
    assert "user.max_user_namespaces" in found.hint


def test_a_program_that_fails_in_a_namespace_is_no_refusal() -> None:
    assert namespace.refusal(Completed(("unshare",), 1, "make: *** Error 1\n")) is None
    assert namespace.refusal(Completed(("unshare",), 1, "")) is None
    assert namespace.refusal(Completed(("unshare",), 0, "unshare: a warning\n")) is None


def test_a_command_is_root_over_the_files_of_this_user(tmp_path: Path) -> None:
    file = tmp_path / "file"
    done = run(
        [*namespace.as_root(), "sh", "-ec", f"id -u; touch {file}; mkdir {tmp_path}/root; /usr/sbin/chroot / true"]
    )
    assert done.output == "0\n"
    assert file.stat().st_uid == os.geteuid()


def test_files_can_have_other_owners_if_this_user_has_subordinate_ids(tmp_path: Path) -> None:
    script = f"mkdir -m 0700 {tmp_path}/folder && chown 8:12 {tmp_path}/folder"
    done = run([*namespace.as_root(), "sh", "-ec", script], check=False)
    assert (done.status == 0) == namespace.has_subordinate_ids(), done.output
    run([*namespace.as_root(), "rm", "-rf", tmp_path / "folder"])
    assert not (tmp_path / "folder").exists()


@pytest.mark.usefixtures("ordinary")
def test_without_newuidmap_root_is_the_only_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("unshare", "true", "sh", "chown", "touch"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    if os.getuid() == 0 and run(["unshare", "--user", "--map-auto", "true"], check=False).status == 0:
        pytest.skip("needs-user: this host's unshare gives root all ids without newuidmap")
    assert not namespace.has_subordinate_ids()
    done = run([*namespace.as_root(), "sh", "-c", f"touch {tmp_path}/file; chown 8:12 {tmp_path}/file"], check=False)
    assert "Invalid argument" in done.output


def test_a_host_without_namespaces_is_reported_in_one_line() -> None:
    """The limit is 0, as an administrator can set it, but only in a new user namespace, without harm to this host."""
    script = (
        "echo 0 >/proc/sys/user/max_user_namespaces && exec "
        f"{sys.executable} -c 'from workers.base import namespace as n; n.os.geteuid = lambda: 1000; n.as_root()'"
    )
    words = ["unshare", "--user", "--map-root-user", "sh", "-ec", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    last = done.stderr.splitlines()[-2:]
    assert last[0].endswith("the sandbox could not be made: unshare: unshare failed: No space left on device")
    assert "sysctl -w user.max_user_namespaces" in last[1]


def test_without_subordinate_ids_the_administrators_command_is_shown() -> None:
    error = namespace.no_subordinate_ids("mail-1-1.noarch has files of mail")
    assert isinstance(error, CannotRun)
    assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " in error.hint


_CALLER = """
from workers.base import namespace
from workers.base.run import run
print("asking", flush=True)
run([*namespace.as_root(), "sh", "-c", "echo $$ >{file}; exec sleep 987655"])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_runs_in_a_namespace_ends_with_its_caller(tmp_path: Path, how: signal.Signals) -> None:
    file = tmp_path / "pid"
    caller = subprocess.Popen([sys.executable, "-c", _CALLER.format(file=file)], cwd=Path(__file__).parents[3])
    try:
        _until(lambda: file.exists() and file.read_text().strip() != "")
        pid = int(file.read_text())
        assert Path(f"/proc/{pid}").exists()
    finally:
        caller.send_signal(how)
        caller.wait()
    _until(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _until(condition) -> None:  # type: ignore[no-untyped-def]
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)
