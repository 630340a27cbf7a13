"""The ``power-kvm`` suite: ppc64le guests that are KVM hosts.

On each processor ``kvm_hv`` must load, run a guest of a few instructions with KVM's ioctls alone, and boot Linux in
QEMU under KVM. That inner Linux sends a report. The control is a machine without hypervisor mode: it must refuse all of
this. The packages under test may contain the kernel; the QEMU inside the host is Debian's.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from config.models import Machine
from workers.base.errors import CannotRun
from workers.lab.guest import file_system, nested, packaged, programs, saved
from workers.lab.guest.accelerator import Accelerator
from workers.lab.guest.file_system import Base
from workers.lab.guest.kernel import NoModuleError, further_modules
from workers.lab.guest.packaged import Kernel
from workers.lab.judge import judge
from workers.lab.machine.command_line import Boot
from workers.lab.machine.launch import Talk, anonymous_file, launch_guest
from workers.lab.suites import Report, Request
from workers.results import Case

TCG = Accelerator("tcg", "the suite tests hypervisor mode of POWER9 and POWER10, which QEMU emulates on any host")


@dataclasses.dataclass(frozen=True)
class Host:
    """A machine of the target on which KVM is tested."""

    name: str
    """The name that people see, and the first part of the names of its cases."""
    variant: str
    """The name among ``machine.variants`` in targets.yaml."""
    processor: str
    """What /proc/cpuinfo shows in the inner guest."""
    linux: bool = True
    """Boot Linux in it, too. powernv takes an initrd of at most 128 MiB; QEMU and a kernel are larger."""


HOSTS = (
    Host("POWER9", "power-kvm-9", "POWER9"),
    Host("POWER10", "power-kvm-10", "POWER10"),
    Host("POWER9 bare", "power-kvm-bare-9", "POWER9", linux=False),
    Host("POWER10 bare", "power-kvm-bare-10", "POWER10", linux=False),
)
CONTROL = Host("without", "power-kvm-none", "POWER9", linux=False)
_INNER = "power-kvm-guest"  # the machine of the inner guest

_LINUX_SHARE = 0.7  # the part of a host's time that its inner guest may take

_MODULE = """\
echo 1..1
while read -r module; do
    insmod "/kitten/modules/$module" || break
done <modules >/tmp/messages 2>&1
[ -s modules ] || echo "the kernel $(uname -r) has no module kvm_hv" >/tmp/messages
[ -d /sys/module/kvm_hv ] && echo "ok 1 - kvm_hv loads" || echo "not ok 1 - kvm_hv loads"
sed 's/^/# /' /tmp/messages
"""

_LINUX = """\
point() { number=$((number + 1)); "${@:2}" && echo "ok $number - $1" || echo "not ok $number - $1"; }
echo 1..4
point "the kernel is the one under test" [ "$(uname -r)" = RELEASE ]
point "it is ppc64le" [ "$(uname -m)" = ppc64le ]
point "its hypervisor is KVM" grep -q linux,kvm /proc/device-tree/hypervisor/compatible
point "its processor is PROCESSOR" grep -q '^cpu.*PROCESSOR\\>' /proc/cpuinfo
grep '^cpu' /proc/cpuinfo | sed 's/^/# /'
"""

# /dev/kvm belongs to the module kvm, not to kvm_hv. So an open /dev/kvm proves nothing.
_CONTROL = """\
point() { echo "$1 $2" && sed 's/^/# /' "$3"; }
echo 1..3
while read -r module; do
    insmod "/kitten/modules/$module" || break
done <modules >/tmp/messages 2>&1
[ "$module" = kvm_hv.ko ] && grep -q 'No such device' /tmp/messages && is=ok || is="not ok"
point "$is" "1 - kvm_hv is refused: no such device" /tmp/messages
/kitten/bin/kvm >/tmp/tap
echo "exit status $?" >>/tmp/tap
[ "$(sed -n 2p /tmp/tap)" = "ok 1 - /dev/kvm speaks version 12" ] && is=ok || is="not ok"
point "$is" "2 - /dev/kvm opens all the same" /tmp/tap
[ "$(sed -n '3,$p' /tmp/tap)" = "not ok 2 - KVM_CREATE_VM
exit status 22" ] && is=ok || is="not ok"
point "$is" "3 - KVM_CREATE_VM is refused: invalid argument" /tmp/tap
"""


def run(request: Request) -> Report:
    """Test KVM on each host, then on the control.

    :raises CannotRun: if QEMU, the guest kernel, the target's binutils or a machine variant is missing.
    """
    under_test = packaged.kernel(request.target, request.packages, request.scratch)
    parts = packaged.parts(request.target, under_test, request.scratch) if under_test else None
    base = dataclasses.replace(file_system.base(request.target, parts), accelerator=TCG)
    limit = request.suite.timeout_seconds * saved.time_factor(base)
    modules = kvm_modules(request, under_test)
    hosts = HOSTS[:1] if request.quick else HOSTS
    cases: list[Case] = []
    for host in (*hosts, CONTROL):
        talk = _run(base, host, _payload(base, host, modules, limit * _LINUX_SHARE), limit, request.logs)
        cases += [case.model_copy(update={"name": f"{host.name}: {case.name}"}) for case in judge(talk, limit)]
    processors = ", ".join(dict.fromkeys(_machine(base, host.variant).cpu for host in hosts))
    return Report.of_guests(base, cases, cpu=processors)


def _run(base: Base, host: Host, payload: bytes, limit: float, logs: Path) -> Talk:
    """Boot one host and run it to its end.

    It never starts from a saved guest: there the hypervisor's timer stands still, and KVM_RUN does not return. The
    payload is a part of the initrd, because powernv has no room for a drive.
    """
    initrd = anonymous_file(base.archive, payload)
    try:
        boot = Boot(
            machine=_machine(base, host.variant),
            accelerator=TCG.name,
            kernel=base.parts.kernel,
            initrd=f"/proc/self/fd/{initrd}",
            inherited=(initrd,),
        )
        with launch_guest(boot, logs, host.name.replace(" ", "-")) as running:
            running.go()
            if not running.wait(saved.is_ready, limit):
                saved.send_go(running)
            return running.finish(limit)
    finally:
        os.close(initrd)


def kvm_modules(request: Request, under_test: Kernel | None) -> tuple[Path, ...]:
    """``kvm_hv`` and the modules it needs, in load order. Empty if the kernel lacks it; the guest reports that."""
    try:
        if under_test:
            return packaged.further_modules(under_test, ["kvm_hv"], request.scratch)
        return further_modules(request.target, ["kvm_hv"])
    except NoModuleError:
        return ()


def _payload(base: Base, host: Host, modules: Sequence[Path], limit: float) -> bytes:
    tests = {"modules": "".join(f"{module.name}\n" for module in modules).encode()}
    files: dict[str, bytes | Path] = {"/kitten/bin/kvm": programs.assemble(base.target, "kvm")}
    if host is CONTROL:
        tests["control.sh"] = _CONTROL.encode()
    else:
        tests |= {"1-module.sh": _MODULE.encode(), "2-guest.sh": b"/kitten/bin/kvm\n"}
    if host.linux:
        inner = _machine(base, _INNER)
        tests["3-linux.sh"] = nested.script(_qemu(inner), limit)
        files |= nested.emulator(base.target, ["/usr/share/qemu/vof.bin"])
        files |= {"/kitten/nested/kernel": base.parts.kernel, "/kitten/nested/initrd": _initrd(base, host)}
    return file_system.payload_archive(tests=tests, files=files, modules=modules)


def _initrd(base: Base, host: Host) -> bytes:
    script = _LINUX.replace("RELEASE", base.parts.release).replace("PROCESSOR", host.processor)
    return base.archive.read_bytes() + file_system.payload_archive(tests={"report.sh": script.encode()})


def _qemu(inner: Machine) -> Sequence[str]:
    """The command line that starts the inner guest inside the host."""
    return (
        *(inner.emulator, "-nodefaults", "-machine", inner.machine, "-accel", "kvm", "-cpu", inner.cpu_kvm),
        *("-smp", "1", "-m", f"{inner.memory_mib}M", *inner.arguments),
        *("-kernel", "/kitten/nested/kernel", "-initrd", "/kitten/nested/initrd"),
        *("-append", f"console={inner.console} rdinit=/init quiet panic=-1"),
    )


def _machine(base: Base, variant: str) -> Machine:
    try:
        return base.target.machine.variant(variant)
    except KeyError as error:
        raise CannotRun(f"{base.target.name}: {error.args[0]}", "see machine.variants in targets.yaml") from None
