"""The power-kvm suite: KVM works on POWER9, the control refuses it, and each check can fail."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from config.loading import load_site
from tests.workers.lab import helpers
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.lab.guest import file_system, kernel, nested, packaged, saved
from workers.lab.judge import console_by_test, judge
from workers.lab.machine import tap
from workers.lab.suites import Request, power_kvm
from workers.results import Case

SITE = load_site("demo")
POWER = SITE.target("ppc64le")
QUICK = SITE.target("aarch64")  # the quickest to boot under emulation
LIMIT = 600.0

PROGRAM = Path(kernel.__file__).parent / "programs" / "kvm-ppc64le.s"

SPEC = """\
%global debug_package %{{nil}}
%global __strip /bin/true
%global __os_install_post %{{nil}}
Name: kernel
Version: 6.12.0
Release: 1
Summary: A kernel of the tests, laid out as Enterprise Linux does
License: GPL-2.0-only
%description
A kernel of the tests.
%package core
Summary: The image
%description core
The image.
%package modules-core
Summary: The modules
%description modules-core
The modules.
%install
mkdir -p %{{buildroot}}
cp -r {files}/* %{{buildroot}}/
%files core
/lib/modules/{release}/vmlinuz
/lib/modules/{release}/modules.builtin
%files modules-core
/lib/modules/{release}/kernel
"""


def kernel_packages(folder: Path, without: str = "nothing") -> tuple[Path, ...]:
    """The guests' kernel as kernel-core and kernel-modules-core, without one module."""
    parts = kernel.guest_parts(POWER)
    for path, data in kernel.deb_files(parts.folder / "kernel.deb"):
        below = path.relative_to("/usr") if path.is_relative_to("/usr") else path
        if path.name.startswith("vmlinux-"):
            below = Path(f"/lib/modules/{parts.release}/vmlinuz")
        elif not re.fullmatch(r"(virtio_blk|kvm|kvm-hv)\.ko\.xz|modules\.builtin", path.name) or without in path.name:
            continue
        place = folder / "files" / str(below).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data())
    (folder / "it.spec").write_text(SPEC.format(files=folder / "files", release=parts.release))
    run(
        ["rpmbuild", "-bb", "--target", "ppc64le-redhat-linux", "--nodeps", "--define", f"_topdir {folder}",
         "--define", "_binary_payload w1.zstdio", folder / "it.spec"]
    )  # fmt: skip
    return tuple(sorted((folder / "RPMS").rglob("*.rpm")))


def request(folder: Path, packages: tuple[Path, ...] = ()) -> Request:
    return helpers.request("power-kvm", POWER, folder, packages)


def run_only_power9(monkeypatch: pytest.MonkeyPatch, linux: bool) -> None:
    """Run only POWER9 and the control."""
    monkeypatch.setattr(power_kvm, "HOSTS", (dataclasses.replace(power_kvm.HOSTS[0], linux=linux),))


def failures(cases: tuple[Case, ...]) -> dict[str, str]:
    return {case.name: case.detail for case in cases if case.outcome == "failed"}


# ------------------------------------------------------------------------------------------------ without a guest


def test_the_program_s_numbers_are_the_kernel_s(tmp_path):
    text = PROGRAM.read_text()
    numbers = dict(re.findall(r"^\.equ (KVM_\w+), (\w+)", text, re.MULTILINE))
    assert len(numbers) == 12
    # The offsets at which the program reads and writes.
    layout = {
        "offsetof(struct kvm_run, exit_reason)": 8,
        "offsetof(struct kvm_run, papr_hcall.nr)": 32,
        "offsetof(struct kvm_run, papr_hcall.args)": 48,
        "offsetof(struct kvm_regs, msr)": 40,
        "sizeof(struct kvm_regs)": 392,
        "offsetof(struct kvm_userspace_memory_region, userspace_addr)": 24,
        "sizeof(struct kvm_enable_cap)": 104,
    }
    lines = [f'_Static_assert({what} == {value}, "{what}");' for what, value in {**numbers, **layout}.items()]
    source = tmp_path / "numbers.c"
    source.write_text("#include <stddef.h>\n#include <linux/kvm.h>\n" + "\n".join(lines) + "\n")
    run(["powerpc64le-linux-gnu-gcc", "-fsyntax-only", source])


def test_the_report_of_an_inner_guest_is_a_subtest():
    report = """TAP version 14
1..1
# Subtest: linux.sh
    1..2
    # Subtest: guest
        TAP version 14
        1..1
        # Subtest: report.sh
            1..2
            ok 1 - fine
            not ok 2 - wrong: by far
            # because
        ok 1 - report.sh
    ok 1 - guest
    ok 2 - QEMU ends
ok 1 - linux.sh
# END
"""
    assert [(case.name, case.outcome, case.detail) for case in tap.parse(report)] == [
        ("linux.sh: guest: report.sh: fine", "passed", ""),
        ("linux.sh: guest: report.sh: wrong: by far", "failed", "because"),
        ("linux.sh: QEMU ends", "passed", ""),
    ]
    for line in report.splitlines():
        if re.match(r" {8,}(1\.\.|not ok|ok)", line):
            cut = report.replace(line + "\n", "", 1)
            assert any("protocol" in case.name for case in tap.parse(cut) if case.outcome == "failed"), line
    cut = report[: report.index("    ok 1 - guest")] + report[report.index("ok 1 - linux.sh") :]
    assert "guest did not finish" in [case.reason for case in tap.parse(cut)]


def test_the_console_of_an_inner_guest_belongs_to_the_test_that_runs_it():
    text = "[ 1.0] lab: begin a.sh\nnested: [ 0.5] lab: begin report.sh\nnested: words\n[ 2.0] lab: begin b.sh\n"
    assert console_by_test(text) == {"a.sh": "nested: [ 0.5] lab: begin report.sh\nnested: words", "b.sh": ""}


def test_indented_output_without_a_subtest_line_is_no_report():
    text = (
        "1..1\n# Subtest: a.sh\n    1..1\n        not ok 1 - of something else\n    ok 1 - fine\nok 1 - a.sh\n# END\n"
    )
    assert [(case.name, case.outcome) for case in tap.parse(text)] == [("a.sh: fine", "passed")]


def test_a_driver_that_is_built_into_a_kernel_needs_no_module(tmp_path):
    (tmp_path / "modules").mkdir()
    files = {"/lib/modules/1/vmlinuz": b"image", "/lib/modules/1/modules.builtin": b"kernel/kvm-hv.ko\nkernel/kvm.ko\n"}

    def read():
        return ((kernel.PurePosixPath(path), lambda data=data: data) for path, data in files.items())

    assert kernel.keep_modules("it", read, ["kvm_hv"], tmp_path, "") == ("vmlinuz", ())
    assert (tmp_path / "kernel").read_bytes() == b"image"
    with pytest.raises(kernel.NoModuleError, match="it has no module kvm_pr"):
        kernel.keep_modules("it", read, ["kvm-pr"], tmp_path)
    del files["/lib/modules/1/vmlinuz"]
    with pytest.raises(CannotRun, match="no kernel image"):
        kernel.keep_modules("it", read, [], tmp_path, "")


def test_packages_without_a_kernel_do_not_replace_the_guest_s_kernel(tmp_path, good_rpms):
    assert packaged.kernel(SITE.target("x86_64"), good_rpms, tmp_path) is None
    with pytest.raises(CannotRun, match="is for x86_64, not ppc64le"):
        packaged.kernel(POWER, good_rpms, tmp_path)


# -------------------------------------------------------------------------------------------------------------- guests


@pytest.mark.guest
def test_a_packaged_kernel_is_under_test_and_passes_on_power9(tmp_path, monkeypatch):
    run_only_power9(monkeypatch, linux=True)
    report = power_kvm.run(request(tmp_path, kernel_packages(tmp_path / "rpms")))
    assert failures(report.cases) == {}
    assert [case.name for case in report.cases if case.outcome == "passed"][-3:] == [
        "without: control.sh: kvm_hv is refused: no such device",
        "without: control.sh: /dev/kvm opens all the same",
        "without: control.sh: KVM_CREATE_VM is refused: invalid argument",
    ]
    assert {
        "POWER9: 2-guest.sh: it computed 42, in a register and in its memory",
        "POWER9: 3-linux.sh: guest: report.sh: its hypervisor is KVM",
        "POWER9: 3-linux.sh: QEMU ends",
    } <= {case.name for case in report.cases}
    assert report.kernel == kernel.guest_parts(POWER).release
    assert str(tmp_path / "scratch") in (tmp_path / "logs" / "POWER9-qemu.log").read_text()
    assert (report.accelerator, report.cpu) == ("tcg", "power9")


@pytest.mark.guest
def test_a_kernel_without_kvm_hv_fails(tmp_path, monkeypatch):
    run_only_power9(monkeypatch, linux=False)
    report = power_kvm.run(request(tmp_path, kernel_packages(tmp_path / "rpms", without="kvm-hv")))
    found = failures(report.cases)
    release = kernel.guest_parts(POWER).release
    assert found["POWER9: 1-module.sh: kvm_hv loads"] == f"the kernel {release} has no module kvm_hv"
    assert "POWER9: 2-guest.sh: /dev/kvm speaks version 12" in found
    # The control fails, too: this kernel refuses for another reason.
    assert "without: control.sh: kvm_hv is refused: no such device" in found


@pytest.mark.guest
def test_the_control_fails_on_a_machine_with_hypervisor_mode(tmp_path, monkeypatch):
    monkeypatch.setattr(power_kvm, "CONTROL", dataclasses.replace(power_kvm.CONTROL, variant="power-kvm-9"))
    monkeypatch.setattr(power_kvm, "HOSTS", ())
    found = failures(power_kvm.run(request(tmp_path)).cases)
    assert "without: control.sh: kvm_hv is refused: no such device" in found
    assert "without: control.sh: KVM_CREATE_VM is refused: invalid argument" in found


REFUSES = ("sh", "-c", "echo no such machine >&2; exit 1")
HANGS = ("sh", "-c", "echo is there; sleep 10000")
# Writes the report of an inner guest, but not its end.
FALLS_SILENT = (
    *("sh", "-c"),
    'for word; do case $word in pipe,*) printf "1..1\\nok 1 - fine\\n" >"${word##*path=}.out" ;; esac; done',
    "sh",
)


@pytest.mark.guest
def test_an_inner_guest_that_fails_is_named():
    tests = {
        "refuses.sh": nested.script(REFUSES, 60),
        "hangs.sh": nested.script(HANGS, 1),
        "silent.sh": nested.script(FALLS_SILENT, 60),
    }
    with saved.start_guest(file_system.base(QUICK), file_system.payload_archive(tests=tests)) as running:
        talk = running.finish(LIMIT)
    found = failures(judge(talk, LIMIT))
    assert {"refuses.sh: guest", "hangs.sh: guest", "silent.sh: guest"} <= found.keys()
    assert "no such machine" in found["refuses.sh: QEMU ends"]
    assert "the guest inside did not end within 1 s" in found["hangs.sh: QEMU ends"]
    assert "silent.sh: QEMU ends" not in found
    assert b"nested: is there" in talk.console
