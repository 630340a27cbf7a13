"""Command lines, archives, console rules, kernels and test files: the parts of the lab that need no guest."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from config.loading import load_site
from workers.artifacts.subject import artifact
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.formats.cpio import Archive
from workers.formats.rpm_payload import Entry
from workers.lab import testfiles
from workers.lab.builds import carried_tests
from workers.lab.guest import accelerator, saved
from workers.lab.guest.file_system import APPLETS, Base, payload_archive
from workers.lab.guest.kernel import PROGRAMS, GuestParts, load_order, module_dependencies, real_kernel
from workers.lab.judge import judge
from workers.lab.machine import console
from workers.lab.machine.command_line import Boot, arguments
from workers.lab.machine.launch import Talk
from workers.lab.suites import package_plan
from workers.results import BuildResult

SITE = load_site("demo")
TARGETS = [target.name for target in SITE.targets]

EXPECTED = {
    "x86_64": ("qemu-system-x86_64", "pc", "Haswell-noTSX", "Haswell-v4", "virtio-serial-pci", "ttyS0"),
    "x86_64_v2": ("qemu-system-x86_64", "pc", "Nehalem", "Nehalem", "virtio-serial-pci", "ttyS0"),
    "aarch64": ("qemu-system-aarch64", "virt", "cortex-a57", "host", "virtio-serial-pci", "ttyAMA0"),
    "ppc64le": ("qemu-system-ppc64", "pseries,x-vof=on", "power9", "host", "virtio-serial-pci", "hvc0"),
    "s390x": ("qemu-system-s390x", "s390-ccw-virtio", "max", "host", "virtio-serial-ccw", "ttysclp0"),
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("accelerated", ["tcg", "kvm"])
def test_each_target_s_command_line_has_the_values_of_its_entry(name, accelerated):
    emulator, machine, cpu_tcg, cpu_kvm, bus, tty = EXPECTED[name]
    boot = Boot(SITE.target(name).machine, accelerated, Path("/k"), "/i", 640)
    argv = arguments(boot, 3, 4, 5)
    assert argv[0] == emulator

    def value(option: str) -> str:
        return argv[argv.index(option) + 1]

    assert value("-machine") == machine
    assert value("-accel") == accelerated  # exactly one, because a fallback would change the CPU
    assert value("-cpu") == (cpu_kvm if accelerated == "kvm" else cpu_tcg)
    assert value("-m") == "640M"
    assert value("-device") == bus
    assert value("-append").split()[:2] == [f"console={tty}", "rdinit=/init"]
    assert "-S" in argv
    assert [word for word in argv if "fd=" in word] == [
        "socket,id=monitor,fd=3", "socket,id=console,fd=4", "socket,id=tap,fd=5"
    ]  # fmt: skip
    assert all(word in argv for word in SITE.target(name).machine.arguments)


@pytest.mark.parametrize("name", [n for n in TARGETS if not n.startswith("x86")])
def test_a_foreign_architecture_is_emulated_without_a_trial(name):
    assert "does not run" in accelerator.obstacle(SITE.target(name), "x86_64")


def test_kvm_is_not_tried_if_its_device_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "_DEVICE", tmp_path / "kvm")
    assert "this host has no" in accelerator.obstacle(SITE.target("x86_64"), "x86_64")
    (tmp_path / "kvm").touch()
    assert accelerator.obstacle(SITE.target("x86_64"), "x86_64") == ""


def unpack(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "archive").write_bytes(data)
    root = tmp_path / "root"
    root.mkdir()
    run(["sh", "-c", 'exec cpio -idmu --no-absolute-filenames <"$0"', tmp_path / "archive"], cwd=root)
    return root


def test_cpio_unpacks_a_written_archive(tmp_path):
    archive = Archive()
    archive.merged_link("lib64")
    archive.file("/lib64/deep/er/x", b"data", 0o750)
    archive.file("usr/bin/odd size", b"12345", 0o4755)
    archive.link("/etc/link", "../usr/bin/odd size")
    archive.folder("/tmp", 0o1777)
    root = unpack(tmp_path, archive.finish())
    assert (root / "usr/lib64/deep/er/x").read_bytes() == b"data"
    assert (root / "lib64").readlink() == Path("usr/lib64")
    assert (root / "etc/link").read_bytes() == b"12345"
    assert (root / "usr/bin/odd size").stat().st_mode == 0o104755
    assert (root / "tmp").stat().st_mode == 0o041777


def test_archives_stay_aligned_for_the_next_one(tmp_path):
    for name in ("a", "ab", "abc", "abcd"):
        archive = Archive()
        archive.file(name, name.encode())
        assert len(archive.finish()) % 4 == 0


def test_a_path_that_leaves_the_archive_is_refused():
    with pytest.raises(ValueError, match="leaves the archive"):
        Archive().file("../x", b"")
    with pytest.raises(ValueError, match="leaves the archive"):
        payload_archive([], {"../../init": b""})


def test_a_package_s_files_have_the_paths_where_rpm_installs_them(tmp_path):
    (tmp_path / "content").write_bytes(b"program")
    entries = (
        Entry("/lib64", "folder", 0o755),
        Entry("/usr/bin/p", "file", 0o755, content=tmp_path / "content"),
        Entry("/lib64/libp.so.1", "link", 0o777, target="libp.so.1.2"),
    )
    root = unpack(tmp_path, payload_archive([entries], {"smoke.sh": b"exit 0\n", "data/x": b"y"}))
    assert (root / "usr/bin/p").read_bytes() == b"program"
    assert (root / "usr/lib64/libp.so.1").readlink() == Path("libp.so.1.2")
    assert not (root / "lib64").exists()
    assert (root / "kitten/tests/data/x").read_bytes() == b"y"


def test_the_guest_has_no_program_that_could_hide_a_package_s_own():
    assert not {"bzip2", "bunzip2", "xz", "unxz", "lzma", "unlzma", "zstd", "lzop", "tar"} & set(APPLETS)
    runners = {"ash", "sh", "hush", "env", "xargs", "timeout", "nice", "nohup", "setsid", "find", "chroot", "time"}
    assert not runners & set(APPLETS)
    assert {"bash", "env", "timeout"} <= set(PROGRAMS)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("[    1.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", "panic"),
        ("Oops: 0002 [#1] PREEMPT SMP NOPTI", "oops"),
        ("BUG: unable to handle page fault for address: ffff", "oops"),
        ("Unable to handle kernel NULL pointer dereference at virtual address 0000", "oops"),
        ("kernel BUG at mm/slub.c:123!", "bug"),
        ("BUG: sleeping function called from invalid context", "bug"),
        ("WARNING: possible circular locking dependency detected", "lockdep"),
        ("You are in emergency mode. After logging in", "emergency"),
        ("Out of memory: Killed process 80 (x)", "out-of-memory"),
        ("traps: bzip2[77] trap invalid opcode ip:401136 sp:7ffd error:0 in bzip2[401000+1000]", "sigill"),
        ("bzip2[88]: illegal instruction (4) at 10000600 nip 10000600 lr 7fff code 1 in bzip2", "sigill"),
        ("bzip2[42]: undefined instruction: pc=0000aaaa", "sigill"),
        ("p[42]: unhandled signal 4 code 0x1 at 0x1 in p", "sigill"),
        ("User process fault: interruption code 0001 ilc:3 in p", "sigill"),
        ("Fatal glibc error: CPU does not support x86-64-v3", "cpu-model"),
        ("Fatal glibc error: CPU lacks ISA 3.00 support (POWER9 or later required)", "cpu-model"),
        ("\x1b[1;31mkitten: no virtio port named x\x1b[0m\r", "init"),
    ],
)
def test_an_error_message_on_the_console_matches_its_rule(line, rule):
    (hit,) = console.hits(f"all is well\n{line}\nall is well\n")
    assert hit.rule.name == rule


@pytest.mark.parametrize(
    "line",
    [
        "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [swapper]",
        "reboot: Power down",
        "nvram: Failed to initialize oops partition!",
        "pstore: Registered efi_pstore as persistent store backend: oops",
        "random: crng init done",
        "debugging emergency_restart support",
    ],
)
def test_a_similar_line_is_no_error_message(line):
    assert console.hits(line) == ()


PACKAGES = {
    "Package": "linux-image-arm64",
    "Depends": "linux-base (>= 4.3~), linux-image-6.12.9+deb13-arm64 (= 6.12.9-1)",
}


def test_a_kernel_metapackage_is_resolved():
    assert real_kernel(PACKAGES) == "linux-image-6.12.9+deb13-arm64"
    with pytest.raises(CannotRun, match="linux-base depends on no linux-image"):
        real_kernel({"Package": "linux-base", "Depends": "kmod"})


def test_modules_load_after_their_dependencies():
    assert module_dependencies(b"junk\0license=GPL\0depends=virtio,virtio-ring\0name=x\0") == ("virtio", "virtio_ring")
    assert module_dependencies(b"\0depends=\0") == ()
    needs = {"a": ("b", "c"), "b": ("c",), "c": (), "d": ()}
    assert load_order(["a", "d"], needs) == ("c", "b", "a", "d")
    assert load_order(["d", "a", "d"], needs) == ("d", "c", "b", "a")


def test_the_dependencies_of_a_hostile_module_have_an_order():
    assert load_order(["a"], {"a": ("b", "built_in"), "b": ("a", "b")}) == ("b", "a")
    chain = {str(number): (str(number + 1),) for number in range(5000)} | {"5000": ()}
    assert load_order(["0"], chain)[:2] == ("5000", "4999")
    assert module_dependencies(b"\0depends=a\xff,b\0") == ("a\ufffd", "b")


def test_tests_come_from_a_folder_or_a_tar(tmp_path):
    tests = tmp_path / "tests"
    (tests / "data").mkdir(parents=True)
    (tests / "smoke.sh").write_text("exit 0\n")
    (tests / "data" / "helper.sh").write_text("exit 1\n")
    found = testfiles.read_tests(tests)
    assert package_plan.script_names(found) == ("smoke.sh",)
    with tarfile.open(tmp_path / "tests.tar", "w") as archive:
        for path in sorted(tests.rglob("*")):
            archive.add(path, path.relative_to(tests), recursive=False)
    assert testfiles.read_tests(tmp_path / "tests.tar") == found


def test_a_place_without_tests_is_an_error_of_one_line(tmp_path):
    with pytest.raises(CannotRun, match="does not exist"):
        testfiles.read_tests(tmp_path / "nothing")
    (tmp_path / "text").write_text("no tar")
    with pytest.raises(CannotRun, match="is no tar of tests"):
        testfiles.read_tests(tmp_path / "text")
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        info = tarfile.TarInfo("../../init")
        archive.addfile(info)
    with pytest.raises(CannotRun, match="leads out of the folder of tests"):
        testfiles.read_tests(tmp_path / "evil.tar")


GREEN = bytearray(b"TAP version 14\n1..1\nok 1 - a.sh\n# END\n")


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (Talk(ending="timeout"), "did not finish within 7 s"),
        (Talk(ending="closed"), "ended before its report was complete"),
        (Talk(ending="too-much"), "printed more than a test may print"),
        (Talk(ending="stopped"), "QEMU stopped the guest"),
        (Talk(bytearray(b"Kernel panic - not syncing: x\n"), GREEN, "end"), "the guest's kernel panicked"),
        (
            Talk(bytearray(), bytearray(b"TAP version 14\n1..1\nok 1 - a # SKIP x\n# END\n"), "end"),
            "every test was skipped",
        ),
        (Talk(bytearray(), bytearray(b"TAP version 14\n1..0\n# END\n"), "end"), "every test was skipped"),
    ],
)
def test_a_guest_with_an_error_fails_even_if_its_tests_passed(talk, reason):
    assert any(case.outcome == "failed" and reason in case.reason for case in judge(talk, 7))


def test_a_guest_without_an_error_passes():
    (case,) = judge(Talk(bytearray(b"reboot: Power down\n"), GREEN, "end"), 7)
    assert case.outcome == "passed"


def test_a_console_with_many_error_messages_makes_a_limited_number_of_cases():
    log = bytearray(b"".join(b"WARNING: CPU: 0 PID: %d at x\n" % number for number in range(5000)))
    cases = judge(Talk(log, GREEN, "end"), 7)
    assert len(cases) < 200
    assert cases[1].reason.endswith("WARNING: CPU: 0 PID: 0 at x")
    assert cases[-1].reason == "5,000 different error messages; the first 100 are shown"
    assert all(case.outcome == "failed" for case in cases[1:])


def test_the_tests_of_a_build_are_read_and_their_checksum_is_verified(tmp_path):
    tests = tmp_path / "source"
    tests.mkdir()
    (tests / "smoke.sh").write_text("exit 0\n")
    folder = tmp_path / "build"
    folder.mkdir()
    with tarfile.open(folder / "tests.tar", "w") as archive:
        archive.add(tests / "smoke.sh", "smoke.sh")
    url = str(folder)
    tar = artifact(folder / "tests.tar", "/elsewhere/tests.tar")
    build = BuildResult(summary="", target="s390x", package="p", nevr="p-1-1", tests=tar)
    assert package_plan.script_names(carried_tests(build, tmp_path, url=url)) == ("smoke.sh",)
    with (folder / "tests.tar").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CannotRun, match=r"is not what build\.json says"):
        carried_tests(build, tmp_path, url=url)
    (folder / "tests.tar").unlink()
    with pytest.raises(CannotRun, match=r"are missing: /elsewhere/tests\.tar"):
        carried_tests(build, tmp_path, url=url)
    assert carried_tests(build.model_copy(update={"tests": None}), tmp_path, url=url) == {}


@pytest.mark.parametrize("payload", [0, 1, 40 << 20, 300 << 20])
def test_the_memory_of_a_guest_has_room_for_its_payload_and_suits_every_machine(payload: int) -> None:
    kvm = accelerator.Accelerator("kvm", "")
    for target in load_site("demo").targets:
        memory = saved.memory_for(Base(target, GuestParts(Path()), Path(), kvm), payload)
        assert memory % 256 == 0
        assert memory >= target.machine.memory_mib
        assert memory - payload / (1 << 20) >= 0.75 * target.machine.memory_mib
