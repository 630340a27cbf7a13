"""Real guests: each target boots on its CPU and reports; what goes wrong is named; nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Target
from workers.errors import CannotRun
from workers.lab import guest, machine
from workers.lab.kernel import guest_parts
from workers.lab.suites import packages
from workers.lab.testing import test_packages as run_command
from workers.results import TestResult
from workers.run import run
from workers.verify.payload import Entry

pytestmark = pytest.mark.guest

SITE = load_site("demo")
SUITE = SITE.suites[0]
QUICK = SITE.target("aarch64")  # the quickest to boot under emulation

PASSES = b"""#!/bin/sh
echo 1..3
test "$(uname -m)" = ARCH && echo "ok 1 - the architecture" || echo "not ok 1 - the architecture"
env true && timeout 5 cat /proc/version >/dev/null && echo "ok 2 - programs run" || echo "not ok 2"
command -v bzip2 && echo "not ok 3 - busybox's bzip2 answers" || echo "ok 3 - no bzip2 but a package's"
"""


def guest_run(target: Target, tests: Mapping[str, bytes], scratch: Path, entries: list[Entry] | None = None):
    return packages.run(target, SUITE, [entries or []], tests, scratch)


def failures(outcome: packages.Outcome) -> dict[str, str]:
    return {case.name: case.reason for case in outcome.cases if case.outcome == "fail"}


@pytest.fixture(scope="session")
def v3_program(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """A program that needs AVX2, which is above x86-64-v2."""
    folder = tmp_path_factory.mktemp("v3")
    # exit(0), after one instruction of AVX2; no libc, whose own start-up is not the subject
    (folder / "v3.S").write_text(
        ".globl _start\n_start: vpaddd %ymm0,%ymm0,%ymm0\n mov $60,%eax\n xor %edi,%edi\n syscall\n"
    )
    run(["gcc", "-static", "-nostdlib", "-o", "v3", "v3.S"], cwd=folder)
    return Entry("/usr/bin/v3", "file", 0o755, content=folder / "v3")


@pytest.mark.parametrize("name", [target.name for target in SITE.targets])
def test_every_target_boots_reports_and_has_the_cpu_it_promises(name, tmp_path, v3_program):
    target = SITE.target(name)
    tests = {
        "a-passes.sh": PASSES.replace(b"ARCH", target.machine_arch.encode()),
        "b-fails.sh": b"echo some words\nexit 3\n",
    }
    x86 = name.startswith("x86_64")
    if x86:
        tests["c-level.sh"] = b"/usr/bin/v3\n"
    outcome = guest_run(target, tests, tmp_path, [v3_program] if x86 else [])
    assert outcome.talk.ending == "end"
    assert [case.outcome for case in outcome.cases if case.name.startswith("a-passes.sh: ")] == ["pass"] * 3
    found = failures(outcome)
    assert found.pop("b-fails.sh") == "exit status 3"
    if name == "x86_64_v2":
        assert "trap invalid opcode" in found.pop("console: sigill")
        assert found.pop("c-level.sh").startswith("killed by SIGILL")
    assert found == {}
    assert outcome.kernel.startswith("6.12.")
    assert outcome.cpu in (target.machine.cpu, target.machine.cpu_kvm)
    assert outcome.accelerator.reason


def test_a_test_that_hangs_is_ended_and_named(tmp_path):
    tests = {"a.sh": b"echo 1..2\necho ok 1 - fine\nsleep 10000\n"}
    parts = guest_parts(QUICK)
    initrd = tmp_path / "initrd"
    initrd.write_bytes(guest.base_archive(QUICK, parts).read_bytes() + guest.payload_archive([], tests))
    talk = _until_it_hangs(machine.Boot(QUICK.machine, "tcg", parts.kernel, initrd, 512))
    found = {case.name: case.reason for case in packages.judge(talk, 5) if case.outcome == "fail"}
    assert found["a.sh"] == "it did not finish"
    assert found["guest"] == "the guest did not finish within 5 s"
    assert found["a.sh: protocol"] == "1 results where the plan says 2"


def _until_it_hangs(boot: machine.Boot) -> machine.Talk:
    """With a limit that the host's speed decides, so that the guest is there and the test is not."""
    limit = 8.0
    while True:
        talk = machine.run_guest(boot, limit)
        assert talk.ending == "timeout"
        if b"ok 1 - fine" in talk.tap:
            return talk
        limit *= 2


def test_a_guest_that_panics_is_named(tmp_path):
    outcome = guest_run(QUICK, {"a.sh": b"echo 1 >/proc/sys/kernel/sysrq\necho c >/proc/sysrq-trigger\n"}, tmp_path)
    assert outcome.talk.ending in ("console", "stopped", "closed")
    assert any(name.startswith("console: ") for name in failures(outcome))
    assert failures(outcome)["a.sh"] == "it did not finish"


def test_a_guest_that_never_stops_talking_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "MAX_TAP", 20_000)
    outcome = guest_run(QUICK, {"a.sh": b"yes a line that says nothing at all\n"}, tmp_path)
    assert failures(outcome)["guest"] == "the guest said more than a test may"


def test_kernel_modules_load_with_what_they_need(tmp_path):
    wanted = QUICK.machine.model_copy(update={"kernel_modules": ("virtio-rng",)})
    target = QUICK.model_copy(update={"machine": wanted})
    assert [module.stem for module in guest_parts(target).modules][-1] == "virtio_rng"
    outcome = guest_run(target, {"a.sh": b"grep ^virtio_rng /proc/modules\n"}, tmp_path)
    assert failures(outcome) == {}


def test_qemu_that_does_not_start_says_why(tmp_path):
    broken = QUICK.machine.model_copy(update={"machine": "no-such-machine"})
    parts = guest_parts(QUICK)
    boot = machine.Boot(broken, "tcg", parts.kernel, parts.kernel, 512)
    with pytest.raises(
        machine.LaunchFailedError, match=r"unsupported machine type(.|\n)*qemu-system-aarch64.*-accel tcg"
    ):
        machine.run_guest(boot, 10)


def test_qemu_that_is_not_installed_is_named():
    missing = QUICK.machine.model_copy(update={"emulator": "qemu-system-vax"})
    with pytest.raises(CannotRun, match="qemu-system-vax is not installed"):
        machine.run_guest(machine.Boot(missing, "tcg", Path("/k"), Path("/i"), 64), 10)


def test_killing_the_caller_takes_the_guest_along(tmp_path):
    marker = f"kitten.mark={os.getpid()}"
    script = f"""
from pathlib import Path
from workers.lab import machine
machine.arguments = (lambda plain: lambda *a: [w + " {marker}" if "rdinit=" in w else w for w in plain(*a)])(machine.arguments)
from config.loading import load_site
from workers.lab.kernel import guest_parts
target = load_site("demo").target("aarch64")
parts = guest_parts(target)
machine.run_guest(machine.Boot(target.machine, "tcg", parts.kernel, Path({str(_empty(tmp_path))!r}), 512), 600)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as caller:
        try:
            assert _wait_for(lambda: _running(marker))
        finally:
            os.kill(caller.pid, signal.SIGKILL)
    assert _wait_for(lambda: not _running(marker))


def _empty(tmp_path: Path) -> Path:
    """An initramfs without an end: the guest waits for nothing else."""
    initrd = tmp_path / "initrd"
    tests = {"a.sh": b"sleep 10000\n"}
    initrd.write_bytes(guest.base_archive(QUICK, guest_parts(QUICK)).read_bytes() + guest.payload_archive([], tests))
    return initrd


def _running(marker: str) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = status.read_bytes()
        except OSError:
            continue
        if words.startswith(b"qemu-system") and marker.encode() in words:
            found.append(int(status.parent.name))
    return found


def _wait_for(condition, patience: float = 60.0) -> bool:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_package_without_tests_is_not_a_pass(tmp_path, good_rpms):
    target = SITE.target("x86_64")
    result = run_command(target, SUITE, tmp_path, good_rpms, None, None, ())
    assert result.outcome == "not-held"
    assert "has no tests/*.sh: nothing was tested" in result.cause


def test_another_target_s_package_is_refused(tmp_path, good_rpms):
    (tmp_path / "smoke.sh").write_text("exit 0\n")
    with pytest.raises(CannotRun, match="is for x86_64, not s390x"):
        run_command(SITE.target("s390x"), SUITE, tmp_path, good_rpms, None, tmp_path, ())


def test_a_real_package_runs_in_its_guest(tmp_path, good_rpms):
    """End to end, with a dynamically linked program: its interpreter and libraries are found where EL has them."""
    (tmp_path / "smoke.sh").write_text("/usr/bin/good; test $? = 0\n")  # 1 / 2
    result = run_command(SITE.target("x86_64"), SUITE, tmp_path, good_rpms, None, tmp_path, ())
    assert TestResult.read(result.model_dump_json()) == result
    assert result.outcome == "held", result.cause
    assert result.summary.endswith(result.kernel)
    assert [case.name for case in result.cases] == ["smoke.sh"]
