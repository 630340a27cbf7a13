"""A SPICE server inside a guest: the QEMU under test is the distribution's own, and runs where its libraries are.

A guest of the target (the outer one) starts it. What it runs in turn (the inner guest) is the same guest a QEMU of the host would
run, always under emulation: the server is what is tested. Its monitor, console and report come through virtio ports of the outer
guest, its SPICE ports through QEMU's user network, on ports of the host that the kernel chooses.
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
from workers.lab.machine.launch import Guest, LaunchFailedError, Talk, anonymous, launched
from workers.lab.machine.qmp import QmpError
from workers.lab.spice import certificates, server
from workers.lab.spice.server import Keys, RunningServer
from workers.lab.spice.wire import ProtocolError

_ADDRESS = "10.0.2.15"  # in QEMU's user network
_PLAIN, _TLS = 5900, 5901
_PORTS = ("monitor", "console", "tap")  # the names of QEMU's chardevs in machine.arguments
_MEMORY_MIB = 1024  # of the outer guest, besides the inner one's: QEMU, its libraries and the inner guest's files
_PLACE = PurePosixPath("/inside")
_SLOWER = 3.0  # the time inside an emulated guest, against that beside one: limits have room for most of it already
_EMULATED = 10.0  # the time of an emulated guest, against one with KVM
_SCRIPT = Path(__file__).with_name("inside.sh")
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)")

_SPICE_FILES = ("ui-spice-core", "ui-opengl", "chardev-spice", "hw-display-qxl")
_DISPLAY_FILES = ("hw-display-virtio-gpu", "hw-display-virtio-gpu-pci", "hw-display-virtio-vga")


@dataclass(frozen=True)
class Emulator:
    """A QEMU as it lies in the outer guest."""

    path: str
    files: Mapping[str, Path]
    """By path in the guest."""
    packages: tuple[tuple[Entry, ...], ...] = ()


def debian_emulator(target: Target) -> Emulator:
    """Debian's, for the guests' suite.

    :raises CannotRun: no apt, no network.
    """
    folder = f"/usr/lib/{target.architecture.triplet}/qemu"
    modules = (f"{folder}/{name}.so" for name in (*_SPICE_FILES, *_DISPLAY_FILES))
    packages = ("qemu-system-modules-spice", "seabios")
    return Emulator(
        f"/usr/bin/{target.machine.emulator}",
        nested.emulator(target, (*modules, *target.architecture.emulator_files), packages),
    )


def packaged_emulator(target: Target, payloads: Sequence[tuple[Entry, ...]]) -> Emulator:
    """The one that packages bring, with all they lay out.

    :raises CannotRun: when they bring none.
    """
    names = ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm", f"/usr/bin/{target.machine.emulator}")
    there = {entry.path for entries in payloads for entry in entries if entry.kind == "file"}
    for name in names:
        if name in there:
            return Emulator(name, {}, tuple(payloads))
    raise CannotRun(
        f"none of the packages brings {' or '.join(names)}",
        "give the packages of qemu-kvm, its SPICE parts and its firmware; without any, the host's own QEMU is asked",
    )


class ForwardedServer:
    """A SPICE server that listens in a guest, on two forwarded ports."""

    def __init__(self, plain: int, tls: int, seconds: float) -> None:
        """Know the ports of ``certificates.HOST``."""
        self._plain, self._tls, self._seconds = plain, tls, seconds

    def connect(self, *, tls: bool) -> socket.socket:
        """Connect to one of the ports."""
        try:
            return socket.create_connection((certificates.HOST, self._tls if tls else self._plain), self._seconds)
        except OSError as error:
            raise ProtocolError(f"no connection into the guest: {error.strerror or error}") from None

    @contextlib.contextmanager
    def address(self, *, tls: bool) -> Iterator[int]:
        """It listens anyway."""
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
    words = arguments(boot, *range(len(_PORTS)))
    assert ours.keys() <= set(words)  # noqa: S101 - or machine.arguments speaks otherwise of its sockets
    return [path, *(ours.get(word, word) for word in words[1:])]


@contextlib.contextmanager
def start(
    base: Base, machine: Machine, emulator: Emulator, keys: Keys, payload: bytes, logs: Path, name: str
) -> Iterator[RunningServer]:
    """An inner guest that is ready to be told to go, for the length of a block.

    :param machine: the inner guest's.
    :param payload: of the inner guest; ``guest.payload_archive``.
    :raises LaunchFailedError: when one of the two guests does not come up; the text has the words of QEMU.
    """
    factor = saved.time_factor(base) * (_SLOWER if base.accelerator.name == "tcg" else _EMULATED)
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
        drive = anonymous(archive)
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
        listening = stack.enter_context(contextlib.ExitStack())  # left when the outer guest is gone
        outer = stack.enter_context(launched(boot, logs, f"{name}-outer"))
        for _, theirs in pairs.values():
            theirs.close()
        outer.go()
        saved.await_ready(outer, saved.time_factor(base))
        saved.tell(outer)
        monitor, console, tap = (ours for ours, _ in pairs.values())
        inner = Guest(Talk(), outer.pid, (monitor, console, tap), kept)
        listening.callback(inner.stop_listening, 5.0)
        yield _await_server(inner, outer, factor)


def _outer_arguments(descriptors: Mapping[str, int]) -> tuple[str, ...]:
    forwards = ",".join(f"hostfwd=tcp:{certificates.HOST}:0-{_ADDRESS}:{port}" for port in (_PLAIN, _TLS))
    words = ["-netdev", f"user,id=net,restrict=on,{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="]
    for name, number in descriptors.items():
        words += ["-chardev", f"socket,id=inside-{name},fd={number}"]
        words += ["-device", f"virtserialport,chardev=inside-{name},name=inside-{name}"]
    return tuple(words)


def _await_server(inner: Guest, outer: Guest, factor: float) -> RunningServer:
    """Wait until QEMU inside answers and its guest is ready.

    :raises LaunchFailedError: with the outer guest's words, when that does not happen.
    """
    inner.qmp.timeout = 10.0 * factor
    try:
        inner.qmp.negotiate()
        told = str(outer.qmp.command("human-monitor-command", command_line="info usernet"))
        ports = {int(inside): int(outside) for outside, inside in _FORWARD.findall(told)}
        forwarded = ForwardedServer(ports[_PLAIN], ports[_TLS], 10.0 * factor)
        inner.go()
    except (QmpError, ValueError, KeyError) as error:
        outer.wait(lambda talk: talk.ending, 1.0)
        words = outer.talk.tap.decode(errors="replace").strip().splitlines()
        said = [line.strip() for line in words if line.startswith("    ") and "ok " not in line and "1.." not in line]
        raise LaunchFailedError(f"QEMU in the guest: {said[-1] if said else error}\n" + "\n".join(words)) from None
    saved.await_ready(inner, factor)
    return RunningServer(inner, forwarded, factor, outer)
