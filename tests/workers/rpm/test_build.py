"""Source packages become RPMs: native and foreign, with BuildRequires, only once, reproducibly, without left files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.rpm.conftest import LIBRARY, PROGRAM, MakeSource
from workers.artifacts import artifact_store
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.results import BuildResult, SourceResult
from workers.rpm.build import Order, backend, build
from workers.sandbox import bubblewrap

pytestmark = pytest.mark.sandbox

GREET = "int greet(void) { return 42; }\n"
HELLO = '#include <greet.h>\n#include <stdio.h>\nint main(void) { printf("greet %d\\n", greet()); return 0; }\n'


def build_srpm(site: Site, state: Path, target: str, srpm: Path) -> BuildResult:
    entry = site.target(target)
    return build(Order(site, state, entry, srpm=str(srpm)), backend(site, entry, state / "staged" / target))


def stage(state: Path, target: str, result: BuildResult) -> None:
    folder = state / "staged" / target
    folder.mkdir(parents=True, exist_ok=True)
    for rpm in result.rpms:
        if "-debug" not in rpm.name:
            shutil.copy(rpm.url, folder)
    run([Path(sys.executable).with_name("createrepo_c"), "-q", folder])


@pytest.mark.parametrize("target", ["x86_64_v2", "aarch64", "s390x"])
def test_a_library_is_built_staged_linked_and_run(
    site: Site, tmp_path: Path, make_srpm: MakeSource, target: str
) -> None:
    library = build_srpm(site, tmp_path, target, make_srpm("greet", GREET, **LIBRARY))
    assert library.outcome == "passed", library.cause
    stage(tmp_path, target, library)
    program = build_srpm(site, tmp_path, target, make_srpm("hello", HELLO, **PROGRAM))
    assert program.outcome == "passed", program.cause
    assert [line.split()[0] for line in program.buildroot] == [
        f"greet-1.0-1.el10.{target}",
        f"greet-devel-1.0-1.el10.{target}",
    ]
    names = {rpm.name.rsplit("-", 2)[0] for rpm in program.rpms}
    assert names == {"hello", "hello-devel", "hello-debuginfo", "hello-debugsource"}
    package = next(rpm.url for rpm in program.rpms if rpm.name.startswith("hello-1.0"))
    header = run(
        ["rpm", "-qp", "--qf", "%{ARCH}\n%{OPTFLAGS}\n%{BUILDHOST}\n[%{REQUIRES}\n]", package]
    ).output.splitlines()
    flags = [*site.build.optflags, *site.target(target).flags.compiler]
    assert header[:3] == [target, " ".join(flags), "builder.kitten.invalid"]
    assert "libgreet.so.1()(64bit)" in header


def test_the_same_inputs_are_built_once_and_give_the_same_bytes(
    site: Site, tmp_path: Path, make_srpm: MakeSource
) -> None:
    srpm = make_srpm("greet", GREET, **LIBRARY)
    first = build_srpm(site, tmp_path / "one", "s390x", srpm)
    os.utime(Path(first.url, "build.json"), (1, 1))
    again = build_srpm(site, tmp_path / "one", "s390x", srpm)
    assert (first.reused, again.reused) == (False, True)
    assert again.url == first.url
    assert Path(again.url, "build.json").stat().st_mtime > 1, "kitten clean would remove it as unused"
    elsewhere = build_srpm(site, tmp_path / "two", "s390x", srpm)
    assert elsewhere.reused is False
    assert elsewhere.identity == first.identity
    assert [(rpm.name, rpm.sha256) for rpm in elsewhere.rpms] == [(rpm.name, rpm.sha256) for rpm in first.rpms]
    assert len(first.rpms) >= 4
    assert sorted(path.name for path in Path(first.url).iterdir()) == sorted(
        ["build.json", "build.log.zst", *(rpm.name for rpm in first.rpms)]
    )


def test_the_tests_of_a_source_are_copied_to_the_build(site: Site, tmp_path: Path, make_srpm: MakeSource) -> None:
    folder = tmp_path / "artifacts/sources/greet/k"
    folder.mkdir(parents=True)
    srpm = Path(shutil.copy(make_srpm("greet", GREET, **LIBRARY), folder))
    (folder / "tests.tar").write_bytes(b"tests")
    tests = artifact_store.artifact_of(folder / "tests.tar", str(folder))
    package = artifact_store.artifact_of(srpm, str(folder))
    made = SourceResult(summary="", package="greet", branch="b", commit="abc", srpm=package, tests=tests)
    made.write(folder / "source.json")
    entry = site.target("x86_64")
    order = Order(site, tmp_path, entry, source="artifacts/sources/greet/k")
    result = build(order, backend(site, entry, tmp_path / "staged/x86_64"))
    assert (result.outcome, result.commit) == ("passed", "abc")
    assert result.tests is not None
    assert Path(result.tests.url).read_bytes() == b"tests"
    assert Path(result.tests.url).parent == Path(result.url)


def test_a_failed_check_names_its_cause_and_leaves_its_log(site: Site, tmp_path: Path, make_srpm: MakeSource) -> None:
    parts = LIBRARY | {"check": "echo 'FAIL: greeting'\nexit 1"}
    result = build_srpm(site, tmp_path, "x86_64", make_srpm("greet", GREET, **parts))
    assert (result.outcome, result.cause) == ("failed", "%check failed: FAIL: greeting")
    assert result.rpms == ()
    assert "/failed/x86_64/" in result.url
    assert [path.name for path in sorted(Path(result.url).iterdir())] == ["build.json", "build.log.zst"]
    assert not list((tmp_path / "artifacts/builds/x86_64").iterdir())


def test_a_package_the_configuration_does_not_list_is_refused(
    site: Site, tmp_path: Path, make_srpm: MakeSource
) -> None:
    narrow = site.model_copy(
        update={"packages": tuple(p.model_copy(update={"binaries": (p.name,)}) for p in site.packages)}
    )
    result = build_srpm(narrow, tmp_path, "x86_64", make_srpm("greet", GREET, **LIBRARY))
    assert (result.outcome, result.rpms) == ("failed", ())
    assert "greet-devel, which packages/greet.yaml does not list" in result.cause


def test_a_missing_build_requirement_is_named_before_anything_runs(
    site: Site, tmp_path: Path, make_srpm: MakeSource
) -> None:
    result = build_srpm(site, tmp_path, "ppc64le", make_srpm("hello", HELLO, **PROGRAM))
    assert result.outcome == "failed"
    assert result.cause == "hello needs greet-devel, which nothing staged on ppc64le provides"


def test_an_rpath_fails_the_build(site: Site, tmp_path: Path, make_srpm: MakeSource) -> None:
    parts = LIBRARY | {"build": LIBRARY["build"] + " -Wl,-rpath,%{_libdir}"}
    result = build_srpm(site, tmp_path, "x86_64", make_srpm("greet", GREET, **parts))
    assert result.outcome == "failed"
    assert "standard runpath" in result.cause.lower() or "rpath" in result.cause.lower()


def test_a_build_has_no_network_and_no_files_of_the_host(site: Site, tmp_path: Path, make_srpm: MakeSource) -> None:
    check = f'test "$(ls /sys/class/net 2>/dev/null)" = ""\ngrep -c : /proc/net/dev | grep -x 1\ntest ! -e {tmp_path}'
    result = build_srpm(site, tmp_path, "x86_64", make_srpm("greet", GREET, **(LIBRARY | {"check": check})))
    assert result.outcome == "passed", result.cause


def test_a_package_the_site_does_not_know_is_refused(site: Site, tmp_path: Path, make_srpm: MakeSource) -> None:
    with pytest.raises(CannotRun, match="unknown package 'other'"):
        build_srpm(site, tmp_path, "x86_64", make_srpm("other", GREET, **LIBRARY))


def test_a_killed_build_leaves_no_process_and_the_next_run_clears_its_scratch(
    site: Site, tmp_path: Path, make_srpm: MakeSource
) -> None:
    marker = f"sleep 6{os.getpid()}"
    srpm = make_srpm("bzip2", GREET, **(LIBRARY | {"check": marker}))
    code = "import sys; from workers.cli import main; sys.argv[0] = 'kitten'; main()"
    argv = [sys.executable, "-c", code, "build", "--target", "aarch64", "--srpm", str(srpm), "--state", str(tmp_path)]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out)
        try:
            wait_for(lambda: running(marker), process, log)
            mine = {path for path in (cache.root() / "scratch").glob("*.lock") if opened_by(path, process.pid)}
            assert mine
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    wait_for(lambda: not running(marker))
    with bubblewrap.scratch():
        assert not any(path.exists() or path.with_suffix("").exists() for path in mine)
    assert not any("/scratch/" in line for line in Path("/proc/self/mountinfo").read_text().splitlines())


def running(words: str) -> bool:
    """Return whether any process of this host has that command line."""
    wanted = words.replace(" ", "\0").encode() + b"\0"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == wanted:
                return True
        except OSError:
            continue
    return False


def opened_by(path: Path, pid: int) -> bool:
    return any(os.path.realpath(link) == str(path) for link in Path(f"/proc/{pid}/fd").iterdir())


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, log.read_text() if log else ""
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder])
    yield folder
    run(["umount", "--lazy", folder])


@pytest.mark.mounts
def test_the_store_may_be_another_file_system_than_the_cache(
    site: Site, other_disk: Path, make_srpm: MakeSource
) -> None:
    result = build_srpm(site, other_disk, "x86_64", make_srpm("greet", GREET, **LIBRARY))
    assert result.outcome == "passed", result.cause
    assert all(Path(rpm.url).stat().st_size == rpm.size for rpm in result.rpms)


@pytest.mark.mounts
def test_a_full_disk_leaves_no_half_build(site: Site, other_disk: Path, make_srpm: MakeSource) -> None:
    filler = other_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
    srpm = make_srpm("greet", GREET, **LIBRARY)
    with pytest.raises(OSError, match="No space left"):
        build_srpm(site, other_disk, "x86_64", srpm)
    filler.unlink()
    result = build_srpm(site, other_disk, "x86_64", srpm)
    assert (result.outcome, result.reused) == ("passed", False)
    assert [path.name for path in (other_disk / "artifacts/builds/x86_64").iterdir()] == [result.identity]


def test_the_result_of_a_try_build_is_never_used_as_a_build(site: Site, tmp_path: Path, make_srpm: MakeSource) -> None:
    entry = site.target("x86_64")
    order = Order(site, tmp_path, entry, srpm=str(make_srpm("greet", GREET, **LIBRARY)), trial=True)
    tried = build(order, backend(site, entry, tmp_path / "staged/x86_64"))
    assert (tried.outcome, tried.trial) == ("passed", True)
    assert tried.url.startswith(f"{tmp_path}/artifacts/try/builds/")
    real = build_srpm(site, tmp_path, "x86_64", Path(order.srpm))
    assert (real.identity, real.reused, real.trial) == (tried.identity, False, False)
