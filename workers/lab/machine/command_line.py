"""QEMU's command line for a guest: a pure function of the target's machine and of what it boots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.models import Machine

TAP_PORT = "org.kitten.tap"
"""Name of the virtio port over which a guest gets its commands and sends its report."""


@dataclass(frozen=True)
class Drive:
    """A disk of a guest."""

    name: str
    """Node name in QEMU and serial number in the guest (/sys/block/*/serial); at most 20 characters."""
    file: str
    """A path, or ``/proc/self/fd/N`` for a descriptor in ``Boot.inherited``."""
    writable: bool = False
    format: str = "raw"
    boot_order: int | None = None


@dataclass(frozen=True)
class Boot:
    """What to boot, and on which machine."""

    machine: Machine
    accelerator: str
    """``tcg`` or ``kvm``."""
    kernel: Path | None = None
    """None: the firmware boots from a drive."""
    initrd: str = ""
    """A path, or ``/proc/self/fd/N``."""
    memory_mib: int = 0
    """0: the default of the machine."""
    kernel_arguments: str = ""
    """Further kernel arguments, after those of every guest."""
    flash: tuple[str, ...] = ()
    """UEFI firmware: the file of its code, and that of its variables, which the guest changes; as ``Drive.file``."""
    drives: tuple[Drive, ...] = ()
    arguments: tuple[str, ...] = ()
    """Further QEMU arguments, after all others except the kernel's."""
    inherited: tuple[int, ...] = ()
    """Descriptors that QEMU inherits under the same numbers. The caller closes them."""
    memory_file: Path | None = None
    """The file that is the guest's memory. QEMU maps it shared, with ``incoming`` private (copy on write)."""
    incoming: bool = False
    """Whether QEMU waits for a saved state."""
    may_reboot: bool = False
    """Whether a reboot is allowed. If not, a reboot ends the guest and is a failure."""

    @property
    def cpu(self) -> str:
        """The machine's CPU model under this accelerator."""
        return self.machine.cpu_under(self.accelerator)

    @property
    def memory(self) -> int:
        """The memory of the guest in MiB."""
        return self.memory_mib or self.machine.memory_mib


def arguments(boot: Boot, monitor: int, serial: int, port: int) -> list[str]:
    """Return QEMU's command line.

    :param monitor: inherited descriptor of the QMP socket.
    :param serial: inherited descriptor of the console's socket.
    :param port: inherited descriptor of the TAP port's socket.
    """
    machine = boot.machine
    return [
        machine.emulator,
        *("-nodefaults", "-no-user-config", "-display", "none", "-S"),
        *(() if boot.may_reboot else ("-no-reboot",)),
        *_flash(boot),
        *("-machine", ",".join((machine.machine, *_machine_options(boot)))),
        *("-accel", boot.accelerator, "-cpu", boot.cpu, "-m", f"{boot.memory}M", "-smp", "1"),
        *_memory(boot),
        *machine.arguments,  # before the devices, which may use a bus of these arguments
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"socket,id=console,fd={serial}", "-serial", "chardev:console"),
        *("-device", machine.serial_bus, "-chardev", f"socket,id=tap,fd={port}"),
        *("-device", f"virtserialport,chardev=tap,name={TAP_PORT}"),
        *(word for drive in boot.drives for word in _drive(machine, drive)),
        *boot.arguments,
        *_kernel(boot),
        *(("-incoming", "defer") if boot.incoming else ()),
    ]


def _machine_options(boot: Boot) -> Sequence[str]:
    flash = (f"pflash{number}=flash{number}" for number, _ in enumerate(boot.flash))
    return (*(("memory-backend=ram",) if boot.memory_file else ()), *flash)


def _flash(boot: Boot) -> Sequence[str]:
    options: list[str] = []
    for number, file in enumerate(boot.flash):
        read_only = "off" if number else "on"
        backing = f"driver=file,filename={file},node-name=flash{number},read-only={read_only},locking=off"
        options += ("-blockdev", backing)
    return options


def _memory(boot: Boot) -> Sequence[str]:
    if boot.memory_file is None:
        return ()
    sharing = "off" if boot.incoming else "on"
    backend = f"memory-backend-file,id=ram,size={boot.memory}M,mem-path={boot.memory_file},share={sharing}"
    return ("-object", backend)


def _drive(machine: Machine, drive: Drive) -> Sequence[str]:
    bus = "ccw" if machine.serial_bus.endswith("ccw") else "pci"
    read_only = "off" if drive.writable else "on"
    order = f",bootindex={drive.boot_order}" if drive.boot_order is not None else ""
    backing = f"driver=file,filename={drive.file},node-name={drive.name}-file,read-only={read_only},locking=off"
    return (
        *("-blockdev", backing),
        *("-blockdev", f"driver={drive.format},node-name={drive.name},file={drive.name}-file,read-only={read_only}"),
        *("-device", f"virtio-blk-{bus},drive={drive.name},serial={drive.name}{order}"),
    )


def _kernel(boot: Boot) -> Sequence[str]:
    if boot.kernel is None:
        return ()
    command_line = kernel_command_line(boot.machine, boot.kernel_arguments)
    return ("-kernel", str(boot.kernel), *(("-initrd", boot.initrd) if boot.initrd else ()), "-append", command_line)


def kernel_command_line(machine: Machine, further: str = "") -> str:
    """Return the kernel command line of every guest, with further arguments."""
    return f"console={machine.console} rdinit=/init quiet panic=-1 {further}".strip()
