"""A SPICE server inside a guest: the QEMU under test is a package of the distribution, and runs with its libraries.

The outer guest, a guest of the target, starts this QEMU. The inner guest is the guest that a QEMU of the host would
run, too. It always runs under emulation, because the suite tests the server. Its monitor, console and report go through
virtio ports of the outer guest. Its SPICE ports go through QEMU's user network, to ports of the host that the kernel
chooses.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from config.models import Machine, Target
from workers.base.errors import CannotRun
from workers.formats.rpm_payload import Entry
from workers.lab.guest import file_system, nested, saved
from workers.lab.guest.file_system import Base
from workers.lab.guest.kernel import further_modules
from workers.lab.machine.command_line import Boot, Drive, arguments
from workers.lab.machine.launch import Guest, LaunchFailedError, Talk, anonymous_file, launch_guest
from workers.lab.machine.qmp import QmpError
from workers.lab.spice import certificates, server
from workers.lab.spice.server import Keys, RunningServer
from workers.lab.spice.wire import ProtocolError

_ADDRESS = "10.0.2.15"  # of the outer guest, in QEMU's user network
_PLAIN, _TLS = 5900, 5901
_PORTS = ("monitor", "console", "tap")  # the names of QEMU's chardevs in machine.arguments
_MEMORY_MIB = 1024  # for QEMU, its libraries and the inner guest's files, in addition to the memory of the inner guest
_PLACE = PurePosixPath("/inside")
_NESTED_FACTOR = 3.0  # more time for emulation inside an emulated guest; the limits cover most of it already
_EMULATED_FACTOR = 10.0  # more time for emulation inside a guest with KVM
_SCRIPT = Path(__file__).with_name("inside.sh")
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)")

_SPICE_FILES = ("ui-spice-core", "ui-opengl", "chardev-spice", "hw-display-qxl")
_DISPLAY_FILES = ("hw-display-virtio-gpu", "hw-display-virtio-gpu-pci", "hw-display-virtio-vga")


@dataclass(frozen=True)
class Emulator:
    """A QEMU in the outer guest."""

    path: str
    files: Mapping[str, Path]
    """Path in the guest → file."""
    packages: tuple[tuple[Entry, ...], ...] = ()


def debian_emulator(target: Target) -> Emulator:
    """Debian's QEMU, from the Debian suite of the guests.

    :raises CannotRun: if apt or the network is missing.
    """
    folder = f"/usr/lib/{target.architecture.triplet}/qemu"
    modules = (f"{folder}/{name}.so" for name in (*_SPICE_FILES, *_DISPLAY_FILES))
    packages = ("qemu-system-modules-spice", "seabios")
    return Emulator(
        f"/usr/bin/{target.machine.emulator}",
        nested.emulator(target, (*modules, *target.architecture.emulator_files), packages),
    )


def packaged_emulator(target: Target, payloads: Sequence[tuple[Entry, ...]]) -> Emulator:
    """The QEMU of packages, with all files of the packages.

    :raises CannotRun: if they contain none.
    """
    names = ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm", f"/usr/bin/{target.machine.emulator}")
    paths = {entry.path for entries in payloads for entry in entries if entry.kind == "file"}
    for name in names:
        if name in paths:
            return Emulator(name, {}, tuple(payloads))
    raise CannotRun(
        f"no package contains {' or '.join(names)}",
        "give the packages of qemu-kvm with SPICE and firmware; without packages, the suite tests the host's QEMU",
    )


class ForwardedServer:
    """A SPICE server that listens in a guest, on two forwarded ports."""

    def __init__(self, plain: int, tls: int, seconds: float) -> None:
        """Use two ports of ``certificates.HOST``, and a limit for a connection."""
        self._plain, self._tls, self._seconds = plain, tls, seconds

    def connect(self, *, tls: bool) -> socket.socket:
        """Connect to one of the ports."""
        try:
            return socket.create_connection((certificates.HOST, self._tls if tls else self._plain), self._seconds)
        except OSError as error:
            raise ProtocolError(f"no connection into the guest: {error.strerror or error}") from None

    @contextlib.contextmanager
    def address(self, *, tls: bool) -> Iterator[int]:
        """The forwarded port: the server always listens."""
        yield self._tls if tls else self._plain


def command(machine: Machine, path: str) -> list[str]:
    """QEMU's command line inside the outer guest."""
    files = {name: str(_PLACE / name) for name in ("password", "authority", "certificate", "key")}
    boot = Boot(
        machine=machine,
        accelerator="tcg",
        kernel=Path(_PLACE / "kernel"),
        initrd=str(_PLACE / "initrd"),
        drives=(Drive("payload", str(_PLACE / "payload")),),
        arguments=server.arguments(f"port={_PLAIN},tls-port={_TLS},addr={_ADDRESS}", files),
    )
    ours = {f"socket,id={name},fd={at}": f"pipe,id={name},path=/run/inside-{name}" for at, name in enumerate(_PORTS)}
    outer = arguments(boot, *range(len(_PORTS)))
    assert ours.keys() <= set(outer)  # noqa: S101 - command_line names its sockets in another way
    return [path, *(ours.get(argument, argument) for argument in outer[1:])]


@contextlib.contextmanager
def start(
    base: Base, machine: Machine, emulator: Emulator, keys: Keys, payload: bytes, logs: Path, name: str
) -> Iterator[RunningServer]:
    """Run an inner guest during a block. It is ready to run its tests.

    :param machine: the machine of the inner guest.
    :param payload: ``file_system.payload_archive`` for the inner guest.
    :raises LaunchFailedError: if one of the two guests does not start; the text has the messages of QEMU.
    """
    factor = saved.time_factor(base) * (_NESTED_FACTOR if base.accelerator.name == "tcg" else _EMULATED_FACTOR)
    modules = further_modules(base.target, ["virtio_net"])
    values = {
        "MODULES": " ".join(module.stem for module in modules),
        "ADDRESS": _ADDRESS,
        "COMMAND": shlex.join(command(machine, emulator.path)),
    }
    script = re.sub("|".join(values), lambda found: values[found[0]], _SCRIPT.read_text())
    files: dict[str, bytes | Path] = {
        **emulator.files,
        str(_PLACE / "kernel"): base.parts.kernel,
        str(_PLACE / "initrd"): base.archive,
        str(_PLACE / "payload"): payload,
        str(_PLACE / "password"): keys.password.encode(),
        str(_PLACE / "authority"): keys.certificates.authority,
        str(_PLACE / "certificate"): keys.certificates.server,
        str(_PLACE / "key"): keys.certificates.server_key,
    }
    archive = file_system.payload_archive(emulator.packages, {"1-server.sh": script.encode()}, files, modules)
    with contextlib.ExitStack() as stack:
        drive = anonymous_file(archive)
        stack.callback(os.close, drive)
        pairs = {name: socket.socketpair() for name in _PORTS}
        for pair in pairs.values():
            for end in pair:
                stack.enter_context(end)
        boot = Boot(
            machine=base.target.machine,
            accelerator=base.accelerator.name,
            kernel=base.parts.kernel,
            initrd=str(base.archive),
            memory_mib=machine.memory_mib + _MEMORY_MIB + len(archive) // (1 << 20),
            drives=(Drive("payload", f"/proc/self/fd/{drive}"),),
            arguments=_outer_arguments({name: theirs.fileno() for name, (_, theirs) in pairs.items()}),
            inherited=(drive, *(theirs.fileno() for _, theirs in pairs.values())),
        )
        kept = tuple(stack.enter_context((logs / f"{name}-{what}.log").open("wb", buffering=0)) for what in _PORTS[1:])
        listening = stack.enter_context(contextlib.ExitStack())  # closed after the outer guest ended
        outer = stack.enter_context(launch_guest(boot, logs, f"{name}-outer"))
        for _, theirs in pairs.values():
            theirs.close()
        outer.go()
        saved.await_ready(outer, saved.time_factor(base))
        saved.send_go(outer)
        monitor, console, tap = (ours for ours, _ in pairs.values())
        inner = Guest(Talk(), outer.pid, (monitor, console, tap), kept)
        listening.callback(inner.stop_reading, 5.0)
        yield _await_server(inner, outer, factor)


def _outer_arguments(descriptors: Mapping[str, int]) -> tuple[str, ...]:
    forwards = ",".join(f"hostfwd=tcp:{certificates.HOST}:0-{_ADDRESS}:{port}" for port in (_PLAIN, _TLS))
    argv = ["-netdev", f"user,id=net,restrict=on,{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="]
    for name, number in descriptors.items():
        argv += ["-chardev", f"socket,id=inside-{name},fd={number}"]
        argv += ["-device", f"virtserialport,chardev=inside-{name},name=inside-{name}"]
    return tuple(argv)


def _await_server(inner: Guest, outer: Guest, factor: float) -> RunningServer:
    """Wait until QEMU in the outer guest answers, and the inner guest is ready.

    :raises LaunchFailedError: if that does not happen; the text has the report of the outer guest.
    """
    inner.qmp.timeout = 10.0 * factor
    try:
        inner.qmp.negotiate()
        connections = str(outer.qmp.command("human-monitor-command", command_line="info usernet"))
        ports = {int(inside): int(outside) for outside, inside in _FORWARD.findall(connections)}
        forwarded = ForwardedServer(ports[_PLAIN], ports[_TLS], 10.0 * factor)
        inner.go()
    except (QmpError, ValueError, KeyError) as error:
        outer.wait(lambda talk: talk.ending, 1.0)
        report = outer.talk.tap.decode(errors="replace").strip().splitlines()
        output = [
            line.strip() for line in report if line.startswith("    ") and "ok " not in line and "1.." not in line
        ]
        message = output[-1] if output else error
        raise LaunchFailedError(f"QEMU in the guest: {message}\n" + "\n".join(report)) from None
    saved.await_ready(inner, factor)
    return RunningServer(inner, forwarded, factor, outer)
