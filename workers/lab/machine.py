"""One QEMU guest: its command line from the target's machine, its start, what it says, and its certain end.

QEMU starts paused with monitor, console and TAP port on inherited sockets, and runs on once all are attached: no early
line is lost, and no name of a socket or port lies in the file system to be left behind.
"""

from __future__ import annotations

import contextlib
import selectors
import shlex
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config.models import Machine
from workers.lab import console, tap
from workers.lab.qmp import Qmp, QmpClosedError
from workers.run import require, started

PORT_NAME = "org.kitten.tap"
MAX_CONSOLE = 8 * 1024 * 1024
MAX_TAP = 16 * 1024 * 1024
"""Bytes after which a guest that keeps talking is ended."""

_LAUNCH_SECONDS = 60.0  # until QEMU answers on its monitor
_DEBIAN_PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-ppc64": "qemu-system-ppc",
}


class LaunchFailedError(Exception):
    """QEMU did not start; the text carries its words and its command line."""


@dataclass(frozen=True)
class Boot:
    """What to boot, and on what."""

    machine: Machine
    accelerator: str
    """``tcg`` or ``kvm``."""
    kernel: Path
    initrd: Path
    memory_mib: int

    @property
    def cpu(self) -> str:
        """The CPU model of the accelerator."""
        return self.machine.cpu_kvm if self.accelerator == "kvm" else self.machine.cpu


@dataclass
class Talk:
    """What a guest said until it was ended, and why it was."""

    console: bytearray = field(default_factory=bytearray)
    tap: bytearray = field(default_factory=bytearray)
    ending: str = ""
    """``end`` (the TAP end marker), ``closed`` (the guest went), ``stopped`` (QEMU stopped it: an internal error, a panic),
    ``timeout``, ``console`` (a fatal rule), ``too-much``."""
    command_line: str = ""
    words: str = ""
    """QEMU's own standard error."""
    seconds: float = 0.0


def arguments(boot: Boot, monitor: int, serial: int, port: int) -> list[str]:
    """QEMU's command line; the three numbers are inherited file descriptors."""
    machine = boot.machine
    kernel_arguments = f"console={machine.console} rdinit=/init quiet panic=-1"
    return [
        machine.emulator,
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-S"),
        *("-machine", machine.machine, "-accel", boot.accelerator, "-cpu", boot.cpu),
        *("-m", f"{boot.memory_mib}M", "-smp", "1"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"socket,id=console,fd={serial}", "-serial", "chardev:console"),
        *("-device", machine.serial_bus, "-chardev", f"socket,id=tap,fd={port}"),
        *("-device", f"virtserialport,chardev=tap,name={PORT_NAME}"),
        *machine.arguments,
        *("-kernel", str(boot.kernel), "-initrd", str(boot.initrd), "-append", kernel_arguments),
    ]


def run_guest(boot: Boot, timeout: float) -> Talk:
    """Boot a guest and listen until its TAP ends, it goes, a fatal console rule hits, it says too much, or time is up.

    :param timeout: seconds from the moment the guest runs.
    :raises LaunchFailedError: when QEMU does not start.
    :raises CannotRun: when it is not installed.
    """
    require(boot.machine.emulator, _DEBIAN_PACKAGES.get(boot.machine.emulator, "qemu-system-misc"))
    with contextlib.ExitStack() as stack, tempfile.TemporaryFile() as errors:
        ours, theirs = _socket_pairs(stack)
        descriptors = [end.fileno() for end in theirs]
        argv = arguments(boot, *descriptors)
        talk = Talk(command_line=shlex.join(argv))
        with started(argv, stdout=errors, stderr=errors, pass_fds=descriptors):
            for end in theirs:
                end.close()  # so that the end of QEMU is the end of the file here
            try:
                qmp = Qmp(ours[0], _LAUNCH_SECONDS)
                qmp.negotiate()
                begun = time.monotonic()
                qmp.command("cont")
            except (QmpClosedError, TimeoutError, KeyError, ValueError) as error:
                talk.words = _words(errors)
                raise LaunchFailedError(f"QEMU did not start: {talk.words or error}\n{talk.command_line}") from None
            _listen(talk, ours, begun + timeout)
            talk.seconds = time.monotonic() - begun
        talk.words = _words(errors)
    return talk


def _socket_pairs(stack: contextlib.ExitStack) -> tuple[Sequence[socket.socket], Sequence[socket.socket]]:
    pairs = [socket.socketpair() for _ in ("monitor", "console", "tap")]
    for pair in pairs:
        for end in pair:
            stack.enter_context(end)
    ours, theirs = zip(*pairs, strict=True)
    return ours, theirs


def _listen(talk: Talk, sockets: Sequence[socket.socket], deadline: float) -> None:
    events = bytearray()
    with selectors.DefaultSelector() as selector:
        heard = ((events, MAX_CONSOLE), (talk.console, MAX_CONSOLE), (talk.tap, MAX_TAP))
        for connection, kept in zip(sockets, heard, strict=True):
            selector.register(connection, selectors.EVENT_READ, kept)
        scanned = 0
        while not talk.ending:
            if time.monotonic() >= deadline:
                talk.ending = "timeout"
            elif not selector.get_map():
                talk.ending = "closed"
            elif _receive(selector, min(1.0, max(0.0, deadline - time.monotonic()))):
                talk.ending = "too-much"
            elif tap.ended(talk.tap):
                talk.ending = "end"
            elif b'"event": "STOP"' in events:
                talk.ending = "stopped"
            lines = talk.console.rfind(b"\n") + 1
            new = console.hits(talk.console[scanned:lines].decode(errors="replace"))
            if not talk.ending and any(hit.rule.fatal for hit in new):
                talk.ending = "console"
            scanned = lines
        if talk.ending in ("console", "end", "stopped"):  # what the guest says in the same breath belongs to it
            until = time.monotonic() + 0.3
            while selector.get_map() and time.monotonic() < until and not _receive(selector, 0.1):
                pass


def _receive(selector: selectors.BaseSelector, patience: float) -> bool:
    """Take what has come on any socket. Whether one of them has said more than it may."""
    for key, _ in selector.select(patience):
        kept, limit = key.data
        assert isinstance(key.fileobj, socket.socket)  # noqa: S101 - only sockets are registered
        try:
            data = key.fileobj.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            selector.unregister(key.fileobj)
        kept += data
        if len(kept) > limit:
            del kept[limit:]
            return True
    return False


def _words(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read(65536).decode(errors="replace").strip()
