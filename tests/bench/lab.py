"""The lab: its cost compared with bare QEMU, and the time that a saved guest saves.

Both sides run in turn on the same machine; the figures compare their medians.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from config.loading import load_site
from config.models import Site, Suite, Target
from tests.bench.figure import CHECKOUT, Benchmark, Figure, kitten
from workers.formats.cpio import Archive
from workers.lab.guest import file_system, rpmtools, saved
from workers.lab.machine.command_line import Boot, arguments
from workers.lab.machine.launch import Guest, anonymous_file
from workers.lab.testing import run_suites
from workers.results import BuildResult, SourceResult

ROUNDS = 3
_LIMIT = 600.0
_TEST = b"echo 1..1\necho ok 1 - ran\n"
_RESULT = b"ok 1 - ran"
# The smallest init that answers: a user would write it to test whether a kernel boots and runs a program.
_BARE_INIT = b"""#!/usr/bin/busybox sh
export PATH=/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
bash /kitten/tests/a.sh >/dev/console
"""


def boot_to_result() -> Iterator[Figure]:
    """Boot a guest until the first test result, against bare QEMU with the same kernel, files and test."""
    yield from _each_target("boot to result", "bare QEMU", lambda base: _ours(base, fresh=True)[1], _bare, 1.2)


def saved_start() -> Iterator[Figure]:
    """Start a saved guest until it answers "go", and until the first test result, each against a boot.

    The work after the answer is the same in both: unpack and run the test.
    """
    for number, (what, limit) in enumerate((("saved guest", 1 / 8), ("saved guest, first result", 1 / 3))):
        yield from _each_target(
            what,
            "a boot",
            lambda base, at=number: _ours(base)[at],
            lambda base, at=number: _ours(base, fresh=True)[at],
            limit,
        )


def _each_target(
    name: str,
    other_is: str,
    ours: Callable[[file_system.Base], float],
    other: Callable[[file_system.Base], float],
    limit: float,
) -> Iterator[Figure]:
    for target in load_site("demo").targets:
        base = file_system.base(target)
        _ours(base)  # make the saved guest, and fill the page cache
        pairs = [(ours(base), other(base)) for _ in range(ROUNDS)]
        medians = [statistics.median(times) for times in zip(*pairs, strict=True)]
        yield Figure(f"{name}, {target.name}", medians[0], medians[1], other_is, limit)


def _ours(base: file_system.Base, *, fresh: bool = False) -> tuple[float, float]:
    """Return the seconds until the guest answers "go", and until the first test result."""
    begun = time.monotonic()
    with saved.start_guest(base, file_system.payload_archive(tests={"a.sh": _TEST}), fresh=fresh) as running:
        answered = time.monotonic() - begun
        _await(running)
        return answered, time.monotonic() - begun


def _await(running: Guest) -> None:
    if ending := running.wait(lambda talk: _RESULT in talk.tap, _LIMIT):
        raise SystemExit(f"no result: {ending}\n{running.talk.console.decode(errors='replace')}")


def _bare(base: file_system.Base) -> float:
    """Return the seconds of bare QEMU until the first test result, which is read from its console through a pipe."""
    archive = Archive()
    archive.file("/init", _BARE_INIT, 0o755)
    archive.file("/kitten/tests/a.sh", _TEST)
    initrd = anonymous_file(base.archive, archive.finish())
    command = _without_harness(base.target, base.parts.kernel, f"/proc/self/fd/{initrd}", base.accelerator.name)
    begun = time.monotonic()
    with subprocess.Popen(command, pass_fds=[initrd], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        output = b""
        while _RESULT not in output and (data := process.stdout.read1()):
            output += data
        taken = time.monotonic() - begun
        process.kill()
    if _RESULT not in output:
        raise SystemExit(f"bare QEMU gave no result: {output.decode(errors='replace')}")
    return taken


def _without_harness(target: Target, kernel: Path, initrd: str, accelerator: str) -> list[str]:
    """Return the command line of a guest without the lab's parts: monitor, ports, drives, the paused start."""
    command = arguments(Boot(target.machine, accelerator, kernel, initrd), 0, 0, 0)
    for option in ("-chardev", "-mon", "-serial", "-device"):
        while option in command:
            at = command.index(option)
            del command[at : at + 2]
    command.remove("-S")
    return [*command, "-serial", "stdio"]


# The commands alone: a user would type them to test whether a package can be installed, run and removed.
_COMMANDS = b"""set -e
rpm=/kitten/bin/rpm
$rpm -i /kitten/packages/*.rpm
names=$($rpm -qp --qf '%{NAME} ' /kitten/packages/*.rpm)
$rpm -V --noghost $names
bash /kitten/tests/own/smoke.sh
$rpm -e $names
"""


def package_suite() -> Iterator[Figure]:
    """Run the suite ``packages`` on a build of bzip2, against its commands alone in the same guest.

    The suite also checks libraries, run paths and unowned files, resolves dependencies, and stores its report.
    """
    site = load_site("demo")
    suite = next(suite for suite in site.suites if suite.name == "packages")
    with tempfile.TemporaryDirectory(prefix="kitten-bench-", ignore_cleanup_errors=True) as folder:
        state = Path(folder)
        kitten("demo", state, "dist-git", "init", "bzip2")
        result = state / "result.json"
        repository = str(state / "dist-git" / "bzip2.git")
        kitten("demo", state, "source", "--package", "bzip2", "--repository", repository, "--json", str(result))
        source = SourceResult.read(result.read_text())
        assert source.srpm is not None
        tests = CHECKOUT / "config" / "demo" / "dist-git" / "bzip2" / "tests"
        for target in site.targets:
            kitten("demo", state, "build", "--target", target.name, "--srpm", source.srpm.url, "--json", str(result))
            build = BuildResult.read(result.read_text())
            rpms = [
                Path(urlsplit(rpm.url).path)
                for rpm in build.rpms
                if "-debug" not in rpm.name and ".src." not in rpm.name
            ]
            times = [
                (_suite(site, target, suite, state, rpms, tests), _commands(site, target, rpms, tests))
                for _ in range(ROUNDS + 1)
            ][1:]  # the first round saves the guests
            medians = [statistics.median(column) for column in zip(*times, strict=True)]
            yield Figure(f"package suite, {target.name}", medians[0], medians[1], "its commands alone", 1.5)


def _suite(site: Site, target: Target, suite: Suite, state: Path, rpms: Sequence[Path], tests: Path) -> float:
    begun = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        result = run_suites(site, target, [suite], state, rpms, tests_place=tests)
    if result.outcome != "passed":
        raise SystemExit(f"{result.summary}: {result.cause}")
    return time.monotonic() - begun


def _commands(site: Site, target: Target, rpms: Sequence[Path], tests: Path) -> float:
    begun = time.monotonic()
    files: dict[str, bytes | Path] = {f"/kitten/packages/{rpm.name}": rpm for rpm in rpms}
    files["/kitten/tests/own/smoke.sh"] = tests / "smoke.sh"
    payload = file_system.payload_archive(tests={"commands.sh": _COMMANDS}, files=files)
    with saved.start_guest(rpmtools.root_base(site, target), payload) as running:
        talk = running.finish(_LIMIT)
    if b"\nok 1 - commands.sh" not in talk.tap:
        raise SystemExit(f"the commands failed: {talk.tap.decode(errors='replace')}")
    return time.monotonic() - begun


BENCHMARKS: dict[str, Benchmark] = {
    "lab-boot": boot_to_result,
    "lab-saved": saved_start,
    "lab-packages": package_suite,
}
