"""Real guests: each target boots on its CPU and reports; what goes wrong is named; nothing is left behind."""

from __future__ import annotations

import contextlib
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
from tests.workers.lab.helpers import wait_for
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.formats.rpm_payload import Entry
from workers.lab.guest import file_system, saved
from workers.lab.guest.kernel import further_modules, guest_parts
from workers.lab.judge import judge
from workers.lab.machine import launch
from workers.lab.machine.command_line import Boot
from workers.lab.machine.launch import Talk
from workers.lab.machine.qmp import QmpError
from workers.results import Case

pytestmark = pytest.mark.guest

SITE = load_site("demo")
QUICK = SITE.target("aarch64")  # the quickest to boot under emulation
LIMIT = 600.0

PASSES = b"""#!/bin/sh
echo 1..4
test "$(uname -m)" = ARCH && echo "ok 1 - the architecture" || echo "not ok 1 - the architecture"
env true && timeout 5 cat /proc/version >/dev/null && echo "ok 2 - programs run" || echo "not ok 2"
command -v bzip2 && echo "not ok 3 - busybox's bzip2 answers" || echo "ok 3 - no bzip2 but a package's"
now=$(date +%s); [ $((now - NOW)) -lt 3600 ] && [ "$now" -ge NOW ] && echo "ok 4 - the clock" || echo "not ok 4 - the clock"
"""
UNIQUE = b"""
head -c 16 /dev/urandom | base64
hostname
cat /etc/machine-id
exit 1
"""


def guest_run(
    target: Target, tests: Mapping[str, bytes], entries: list[Entry] | None = None, logs: Path | None = None
) -> Talk:
    with saved.ready(file_system.base(target), file_system.payload_archive([entries or []], tests), logs) as running:
        return running.finish(LIMIT)


def failures(cases: tuple[Case, ...]) -> dict[str, str]:
    return {case.name: case.reason for case in cases if case.outcome == "failed"}


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
    now = str(int(time.time())).encode()
    tests = {
        "a-passes.sh": PASSES.replace(b"ARCH", target.machine_arch.encode()).replace(b"NOW", now),
        "b-fails.sh": b"echo some words\nexit 3\n",
    }
    x86 = name.startswith("x86_64")
    if x86:
        tests["c-level.sh"] = b"/usr/bin/v3\n"
    talk = guest_run(target, tests, [v3_program] if x86 else [], tmp_path)
    cases = judge(talk, LIMIT)
    assert talk.ending == "end"
    assert [case.outcome for case in cases if case.name.startswith("a-passes.sh: ")] == ["passed"] * 4
    found = failures(cases)
    assert found.pop("b-fails.sh") == "exit status 3"
    if name == "x86_64_v2":
        assert "trap invalid opcode" in found.pop("console: sigill")
        assert "v3 by signal 4" in found.pop("console: core-dump")
        assert found.pop("c-level.sh").startswith("killed by SIGILL")
        blamed = next(case for case in cases if case.name == "c-level.sh")
        assert "trap invalid opcode" in blamed.console
    assert found == {}
    assert (tmp_path / "guest-console.log").read_bytes() == talk.console
    assert (tmp_path / "guest-tap.log").read_bytes() == talk.tap
    assert "-machine" in (tmp_path / "guest-qemu.log").read_text()


def test_a_guest_that_is_brought_back_has_its_own_randomness_and_names():
    unique = [guest_run(QUICK, {"a.sh": UNIQUE}) for _ in range(2)]
    told = [talk.tap.decode().split("# Subtest: a.sh\n")[1].split("not ok")[0].splitlines() for talk in unique]
    assert all(b"# READY" not in talk.tap for talk in unique[1:]), "it was booted, not brought back"
    assert [len(lines) for lines in told] == [3, 3]
    assert not set(told[0]) & set(told[1])


def test_a_state_that_does_not_fit_is_thrown_away_and_the_guest_boots(monkeypatch, tmp_path, capsys):
    base = file_system.base(QUICK)
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    broken = []

    def save(_base, boot, folder):
        (folder / "memory").write_bytes(b"")
        os.truncate(folder / "memory", boot.memory << 20)
        (folder / "state").write_bytes(b"no state of any guest")
        broken.append(folder)

    monkeypatch.setattr(saved, "_save", save)
    with saved.ready(base, file_system.payload_archive(tests={"a.sh": b"true\n"})) as running:
        talk = running.finish(LIMIT)
    assert failures(judge(talk, LIMIT)) == {}
    assert "does not fit, booting" in capsys.readouterr().out
    assert broken
    assert not list((tmp_path / "saved").glob("*/state"))


def test_a_test_that_hangs_is_ended_and_named():
    """With a limit that the guest decides: it hangs when it has said so."""
    payload = file_system.payload_archive(tests={"a.sh": b"echo 1..2\necho ok 1 - fine\nsleep 10000\n"})
    with saved.ready(file_system.base(QUICK), payload) as running:
        assert running.wait(lambda talk: b"ok 1 - fine" in talk.tap, LIMIT) == ""
        talk = running.finish(0.2)
    found = failures(judge(talk, 5))
    assert talk.ending == "timeout"
    assert found["a.sh"] == "it did not finish"
    assert found["guest"] == "the guest did not finish within 5 s"
    assert found["a.sh: protocol"] == "1 results where the plan says 2"


FATES = {
    "panics": (b"echo 1 >/proc/sys/kernel/sysrq\necho c >/proc/sysrq-trigger\n", "console: "),
    "reboots": (b"echo 1 >/proc/sys/kernel/sysrq\necho b >/proc/sysrq-trigger\nsleep 60\n", "guest"),
    "goes": (b"poweroff -f\n", "guest"),
    "fills its disk": (b"dd if=/dev/zero of=/fill bs=1M 2>&1 | tail -n 1\nexit 1\n", "a.sh"),
}


@pytest.mark.parametrize("fate", FATES)
def test_a_guest_that_ends_badly_is_named(fate):
    script, named = FATES[fate]
    talk = guest_run(QUICK, {"a.sh": script})
    cases = judge(talk, LIMIT)
    found = failures(cases)
    assert any(name.startswith(named) for name in found), found
    assert found["a.sh"]
    if fate == "reboots":
        assert found["guest"] == "the guest rebooted before its report ended"


@pytest.mark.parametrize("what", ["report", "console"])
def test_a_guest_that_never_stops_talking_is_ended(what, monkeypatch):
    monkeypatch.setattr(launch, "MAX_TAP", 20_000)
    monkeypatch.setattr(launch, "MAX_CONSOLE", 20_000)
    where = b"" if what == "report" else b" >/dev/console"
    talk = guest_run(QUICK, {"a.sh": b"yes a line that says nothing at all" + where + b"\n"})
    assert failures(judge(talk, LIMIT))["guest"] == "the guest said more than a test may"
    assert max(len(talk.tap), len(talk.console)) <= 20_000


def test_a_guest_that_never_speaks_is_named(monkeypatch):
    """A kernel that starts nothing: the limit for getting ready is what ends it."""
    base = file_system.base(QUICK)
    monkeypatch.setattr(saved, "_BOOT_SECONDS", 0.1)
    with (
        pytest.raises(
            launch.LaunchFailedError, match=r"was not ready within 1 s \(timeout: (.|\n)*qemu-system-aarch64"
        ),
        saved.ready(base, file_system.payload_archive(), fresh=True),
    ):
        pytest.fail("it was ready")


def test_kernel_modules_come_with_what_they_need():
    modules = further_modules(QUICK, ["virtio-rng"])
    assert [module.stem for module in modules][-1] == "virtio_rng"
    loads = b"".join(b"insmod /kitten/modules/%s\n" % module.name.encode() for module in modules)
    payload = file_system.payload_archive(tests={"a.sh": loads + b"grep ^virtio_rng /proc/modules\n"}, modules=modules)
    with saved.ready(file_system.base(QUICK), payload) as running:
        assert failures(judge(running.finish(LIMIT), LIMIT)) == {}
    with pytest.raises(CannotRun, match="has no module no_such_module"):
        further_modules(QUICK, ["no-such-module"])


def test_qemu_that_does_not_start_says_why():
    broken = QUICK.machine.model_copy(update={"machine": "no-such-machine"})
    with (
        pytest.raises(
            launch.LaunchFailedError, match=r"unsupported machine type(.|\n)*qemu-system-aarch64.*-accel tcg"
        ),
        launch.launched(Boot(broken, "tcg", guest_parts(QUICK).kernel)),
    ):
        pytest.fail("it started")


def test_qemu_that_is_not_installed_is_named():
    missing = QUICK.machine.model_copy(update={"emulator": "qemu-system-vax"})
    with pytest.raises(CannotRun, match="qemu-system-vax is not installed"), launch.launched(Boot(missing, "tcg")):
        pytest.fail("it started")


def test_a_monitor_command_that_qemu_refuses_is_told_in_its_words():
    with launch.launched(Boot(QUICK.machine, "tcg", guest_parts(QUICK).kernel)) as running:
        with pytest.raises(QmpError, match="no-such-command: The command no-such-command has not been found"):
            running.qmp.command("no-such-command")
        assert running.qmp.command("query-status")["status"] == "prelaunch"
        os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(QmpError, match="query-status: QEMU"):
            running.qmp.command("query-status")


def test_no_room_for_logs_is_told(tmp_path):
    """A log that cannot be written ends the run with the system's words, not with a green result."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "guest-console.log").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        guest_run(QUICK, {"a.sh": b"true\n"}, logs=tmp_path)


def test_shell_lines_of_a_pipe_are_typed_in_a_guest(tmp_path):
    kitten = Path(sys.executable).parent / "kitten"
    done = subprocess.run(
        [kitten, "boot", "--target", QUICK.name, "--state", tmp_path],
        input=b"echo $((6 * 7))-$(uname -m)\n", capture_output=True, check=True, timeout=LIMIT,
    )  # fmt: skip
    assert b"42-aarch64" in done.stdout
    assert b"the shell has exited" in done.stdout


# -------------------------------------------------------------------------------------------- nothing is left behind

_CALLER = """
from config.loading import load_site
from workers.lab.guest import file_system as guest, saved
target = load_site("demo").target("aarch64")
payload = guest.payload_archive(tests={"a.sh": b"sleep 10000\\n"})
print("asking", flush=True)
with saved.ready(guest.base(target), payload) as running:
    print(running.pid, flush=True)
    running.finish(600)
"""
STARTS = int(os.environ.get("KITTEN_LAB_STARTS", "12"))


def left_behind(temporary: Path) -> dict[str, set[str]]:
    """Sockets, mounts and files of ours: what a guest could leave."""
    sockets = Path("/proc/net/unix").read_text().splitlines()
    return {
        "named sockets": {line.split()[-1] for line in sockets if str(temporary) in line},
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "files": {path.name for path in temporary.iterdir()},
    }


def started_below(temporary: Path) -> list[int]:
    """The processes that live and were told to keep their temporary files there, whoever their parent is by now."""
    mark = f"TMPDIR={temporary}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            dead = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
            if not dead and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def test_killing_the_caller_at_any_moment_leaves_nothing_behind(tmp_path):
    """kill -9 at moments spread over the start and the run of a guest; KITTEN_LAB_STARTS=200 for many."""
    guest_run(QUICK, {"a.sh": b"true\n"})  # so that there is a saved guest
    before, seen = left_behind(tmp_path), 0
    own = {**os.environ, "TMPDIR": str(tmp_path)}
    for number in range(STARTS):
        with subprocess.Popen([sys.executable, "-c", _CALLER], stdout=subprocess.PIPE, text=True, env=own) as caller:
            assert caller.stdout is not None
            assert caller.stdout.readline() == "asking\n"
            if number % 3 == 2:  # else somewhere in the start
                while not (line := caller.stdout.readline()).strip().isdigit():
                    assert line.startswith("waiting for room"), line
            time.sleep(0.6 * number / STARTS)
            seen += len(started_below(tmp_path)) > 1
            os.kill(caller.pid, signal.SIGKILL)
        assert wait_for(lambda: not started_below(tmp_path)), started_below(tmp_path)
    assert seen > STARTS / 4, "hardly any guest was there when its caller was killed"
    assert left_behind(tmp_path) == before
    assert failures(judge(guest_run(QUICK, {"a.sh": b"true\n"}), LIMIT)) == {}
