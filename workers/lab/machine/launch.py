"""One QEMU guest: its start, everything it says, and its certain end.

QEMU starts paused with monitor, console and TAP port on inherited sockets, and runs on once all are attached: no early
line is lost, and no name of a socket or port lies in the file system to be left behind. A thread reads all three from then
on, so that a guest never waits for us and the rules of ``console`` are always on. QEMU is ended when the block is
left, and by the kernel when this process dies (``workers.base.run``).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config import architectures
from workers.base.run import require, start_program
from workers.lab.machine import console, leases, tap
from workers.lab.machine.command_line import Boot, arguments
from workers.lab.machine.qmp import Qmp, QmpError

MAX_CONSOLE = 8 * 1024 * 1024
MAX_TAP = 16 * 1024 * 1024
"""Bytes after which a guest that keeps talking is ended."""

_LAUNCH_SECONDS = 60.0  # until QEMU answers on its monitor
_SAME_BREATH = 0.3  # seconds in which what a guest says after its last word still belongs to it


class LaunchFailedError(Exception):
    """QEMU did not start; the text carries its words and its command line."""


@dataclass
class Talk:
    """What a guest said until it was ended, and why it was."""

    console: bytearray = field(default_factory=bytearray)
    tap: bytearray = field(default_factory=bytearray)
    ending: str = ""
    """Why no more is to be expected: ``end`` (the TAP end marker), ``closed`` (the guest went), ``rebooted``, ``stopped``
    (QEMU stopped it: an internal error, a panic), ``console`` (a fatal rule), ``too-much``, ``timeout``; empty while it runs."""
    command_line: str = ""
    words: str = ""
    """QEMU's own standard error."""
    seconds: float = 0.0
    """From the start of its processor to its end."""


class Guest:
    """A guest of ``launched``. It stands still until ``go``."""

    def __init__(self, talk: Talk, pid: int, sockets: tuple[socket.socket, ...], logs: tuple[IO[bytes], ...]) -> None:
        """Begin to listen."""
        monitor, serial, port = sockets
        self.talk = talk
        self.pid = pid
        self.qmp = Qmp(monitor, _LAUNCH_SECONDS)
        self._serial = serial
        self._port = port
        self._hear: Callable[[bytes], None] | None = None
        self._changed = threading.Condition()
        self._begun = time.monotonic()
        self._scanned = 0
        self._events = 0
        self._asked_to_stop = False
        self._problem: OSError | None = None
        self._left = threading.Event()
        self._selector = selectors.DefaultSelector()
        console_log, tap_log = logs or (None, None)
        self._selector.register(monitor, selectors.EVENT_READ, (None, 0, None))
        self._selector.register(serial, selectors.EVENT_READ, (talk.console, MAX_CONSOLE, console_log))
        self._selector.register(port, selectors.EVENT_READ, (talk.tap, MAX_TAP, tap_log))
        self._thread = threading.Thread(target=self._listen, name=f"guest-{pid}", daemon=True)
        self._thread.start()

    def go(self) -> None:
        """Let its processor run.

        :raises QmpError: when QEMU refuses.
        """
        self._begun = time.monotonic()
        self.qmp.command("cont")

    def send(self, data: bytes) -> None:
        """Say something to the guest, over the port on which it reports."""
        with contextlib.suppress(OSError):  # it went: `wait` tells
            self._port.sendall(data)

    def type(self, data: bytes) -> None:
        """Type something on its console."""
        with contextlib.suppress(OSError):
            self._serial.sendall(data)

    def on_console(self, hear: Callable[[bytes], None]) -> None:
        """Have everything its console says from now on handed to a function, as it comes, in another thread."""
        self._hear = hear

    def wait(self, until: Callable[[Talk], object], seconds: float) -> str:
        """Wait until something has been said, or nothing more is to be expected, or time is up.

        :returns: empty when ``until`` holds; else the talk's ending, or ``timeout`` when time is up, which ends nothing yet.
        :raises OSError: when a log cannot be written.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not until(self.talk):
                if self._problem:
                    raise self._problem
                left = deadline - time.monotonic()
                if self.talk.ending or left <= 0:
                    return self.talk.ending or "timeout"
                self._changed.wait(left)
        return ""

    def finish(self, seconds: float) -> Talk:
        """Wait for the end of its report, or of the guest; what it says in the same breath is taken along.

        :param seconds: at most; then its ending is ``timeout``.
        """
        if self.wait(lambda talk: talk.ending, seconds):
            self._over("timeout")
        if self.talk.ending in ("console", "end", "stopped"):
            self._left.wait(_SAME_BREATH)
        self.talk.seconds = time.monotonic() - self._begun
        return self.talk

    def stop_listening(self, patience: float) -> None:
        """Take what is still on its way from a QEMU that has ended."""
        self._thread.join(patience)
        self._selector.close()

    def _listen(self) -> None:
        while self._selector.get_map():
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101 - only sockets are registered
                try:
                    data = key.fileobj.recv(1 << 16)
                except OSError:
                    data = b""
                if not data:
                    self._selector.unregister(key.fileobj)
                with self._changed:
                    try:
                        self._take(data, *key.data)
                    except OSError as error:
                        self._problem = error
                    self._changed.notify_all()
        with self._changed:
            self.talk.ending = self.talk.ending or "closed"
            self._left.set()
            self._changed.notify_all()

    def _take(self, data: bytes, kept: bytearray | None, limit: int, log: IO[bytes] | None) -> None:
        if kept is None:
            self.qmp.received(data)
            for event in self.qmp.events[self._events :]:
                if event["event"] == "SHUTDOWN" and event["data"].get("reason") == "guest-reset":
                    self._over("rebooted")
                elif event["event"] in ("GUEST_PANICKED", "STOP") and not self._asked_to_stop:
                    self._over("stopped")
            self._events = len(self.qmp.events)
            return
        room = limit - len(kept)
        kept += data[:room]
        if log is not None:
            log.write(data[:room])
        if self._hear is not None and kept is self.talk.console:
            self._hear(data[:room])
        if len(data) > room:
            self._over("too-much")
        elif kept is self.talk.tap and tap.ended(kept):
            self._over("end")
        elif kept is self.talk.console:
            lines = kept.rfind(b"\n") + 1
            new = console.hits(kept[self._scanned : lines].decode(errors="replace"))
            self._scanned = lines
            if any(hit.rule.fatal for hit in new):
                self._over("console")

    def _over(self, ending: str) -> None:
        self.talk.ending = self.talk.ending or ending

    def stop(self) -> None:
        """Hold its processor.

        :raises QmpError: when QEMU refuses.
        """
        self._asked_to_stop = True
        self.qmp.command("stop")


@contextlib.contextmanager
def launched(boot: Boot, logs: Path | None = None, name: str = "guest") -> Iterator[Guest]:
    """A guest for the length of a block, paused at first. It counts on this host (``leases``); the wait for room comes first.

    :param logs: folder for ``NAME-console.log``, ``NAME-tap.log`` and ``NAME-qemu.log``, written as things are said.
    :raises LaunchFailedError: when QEMU does not start.
    :raises CannotRun: when it is not installed, or the host can never hold such a guest.
    """
    packages = {each.emulator: each.emulator_package for each in architectures.known().values()}
    require(boot.machine.emulator, packages.get(boot.machine.emulator, "qemu-system-misc"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(leases.held(boot.memory, 1, f"{boot.machine.emulator} {boot.cpu}: {name}"))
        errors = stack.enter_context(tempfile.TemporaryFile())
        kept = tuple(
            stack.enter_context((logs / f"{name}-{what}.log").open("wb", buffering=0))
            for what in ("console", "tap")
            if logs is not None
        )
        ours, theirs = _socket_pairs(stack)
        argv = arguments(boot, *(end.fileno() for end in theirs))
        talk = Talk(command_line=shlex.join(argv))
        descriptors = [*(end.fileno() for end in theirs), *boot.inherited]
        guest = None
        try:
            with start_program(argv, stdout=errors, stderr=errors, pass_fds=descriptors) as process:
                for end in theirs:
                    end.close()  # so that the end of QEMU is the end of the file here
                guest = Guest(talk, process.pid, ours, kept)
                try:
                    guest.qmp.negotiate()
                except (QmpError, ValueError) as error:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(5.0)
                    talk.words = _words(errors)
                    raise LaunchFailedError(f"QEMU did not start: {talk.words or error}\n{talk.command_line}") from None
                yield guest
        finally:
            if guest:
                guest.stop_listening(5.0)
            talk.words = _words(errors)
            if logs is not None:
                (logs / f"{name}-qemu.log").write_text(f"{talk.command_line}\n{talk.words}\n")


def run_guest(boot: Boot, timeout: float, logs: Path | None = None, name: str = "guest") -> Talk:
    """Boot a guest and listen until its report ends, it goes, a fatal console rule hits, it says too much, or time is up.

    :param timeout: seconds from the moment the guest runs.
    :raises LaunchFailedError: when QEMU does not start.
    :raises CannotRun: when it is not installed.
    """
    with launched(boot, logs, name) as guest:
        guest.go()
        return guest.finish(timeout)


def anonymous(*parts: bytes | Path, size: int = 0) -> int:
    """A descriptor of a file without a name that holds these parts one after the other: nothing of it can be left behind.

    :param size: bytes; the rest is a hole.
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        for part in parts:
            if isinstance(part, Path):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                view = memoryview(part)
                while view:
                    view = view[file.write(view) :]
        if size:
            file.truncate(max(size, file.tell()))
        return os.dup(file.fileno())


def _socket_pairs(stack: contextlib.ExitStack) -> tuple[tuple[socket.socket, ...], tuple[socket.socket, ...]]:
    pairs = [socket.socketpair() for _ in ("monitor", "console", "tap")]
    for pair in pairs:
        for end in pair:
            stack.enter_context(end)
    ours, theirs = zip(*pairs, strict=True)
    return ours, theirs


def _words(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read(65536).decode(errors="replace").strip()
