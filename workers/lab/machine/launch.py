"""The launch of one QEMU guest: its start, all its output, and its end.

QEMU starts paused, with monitor, console and TAP port on inherited sockets, and continues when all are connected. So no
early line is lost, and no socket has a name in the file system that could be left behind. A thread reads all three. So
a guest never waits for this process, and the rules of ``console`` apply to every guest. QEMU is killed at the end of
the block, and by the kernel if this process dies (``workers.base.run``).
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
"""The most bytes a guest may print; then it is killed."""

_LAUNCH_SECONDS = 60.0  # until QEMU answers on its monitor
_LAST_OUTPUT_SECONDS = 0.3  # after the end of the report, for output that is still on its way


class LaunchFailedError(Exception):
    """QEMU did not start, or the guest did not become ready; the text has the reason and QEMU's command line."""


@dataclass
class Talk:
    """The output of a guest, and the reason why it ended."""

    console: bytearray = field(default_factory=bytearray)
    tap: bytearray = field(default_factory=bytearray)
    ending: str = ""
    """Why the output is complete: ``end`` (the TAP end marker), ``closed`` (the guest powered off), ``rebooted``,
    ``stopped`` (QEMU stopped it: an internal error, a panic), ``console`` (a line matched a fatal rule), ``too-much``,
    ``timeout``; empty while the guest runs."""
    command_line: str = ""
    stderr: str = ""
    """QEMU's standard error."""
    seconds: float = 0.0
    """From the start of the guest's processor to the guest's end."""


class Guest:
    """A guest of ``launch_guest``. It is paused until ``go``."""

    def __init__(self, talk: Talk, pid: int, sockets: tuple[socket.socket, ...], logs: tuple[IO[bytes], ...]) -> None:
        """Start the thread that reads the guest's output."""
        monitor, serial, port = sockets
        self.talk = talk
        self.pid = pid
        self.qmp = Qmp(monitor, _LAUNCH_SECONDS)
        self._serial = serial
        self._port = port
        self._console_callback: Callable[[bytes], None] | None = None
        self._changed = threading.Condition()
        self._begun = time.monotonic()
        self._scanned = 0  # bytes of the console that the rules have seen
        self._events = 0  # number of QMP events that have been handled
        self._stop_requested = False
        self._log_error: OSError | None = None
        self._closed = threading.Event()
        self._selector = selectors.DefaultSelector()
        console_log, tap_log = logs or (None, None)
        self._selector.register(monitor, selectors.EVENT_READ, (None, 0, None))
        self._selector.register(serial, selectors.EVENT_READ, (talk.console, MAX_CONSOLE, console_log))
        self._selector.register(port, selectors.EVENT_READ, (talk.tap, MAX_TAP, tap_log))
        self._thread = threading.Thread(target=self._listen, name=f"guest-{pid}", daemon=True)
        self._thread.start()

    def go(self) -> None:
        """Let the guest's processor run.

        :raises QmpError: if QEMU refuses.
        """
        self._begun = time.monotonic()
        self.qmp.command("cont")

    def send(self, data: bytes) -> None:
        """Send data to the guest over its TAP port."""
        with contextlib.suppress(OSError):  # the guest has ended: `wait` reports that
            self._port.sendall(data)

    def type(self, data: bytes) -> None:
        """Type data on the guest's console."""
        with contextlib.suppress(OSError):
            self._serial.sendall(data)

    def on_console(self, callback: Callable[[bytes], None]) -> None:
        """Call a function with all further output of the console, in the reader thread."""
        self._console_callback = callback

    def wait(self, until: Callable[[Talk], object], seconds: float) -> str:
        """Wait until a condition is true, the output is complete, or time is up.

        :param until: the condition, a function of the output.
        :returns: empty if the condition is true; else ``Talk.ending``, or ``timeout``, which does not end the guest.
        :raises OSError: if a log cannot be written.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not until(self.talk):
                if self._log_error:
                    raise self._log_error
                left = deadline - time.monotonic()
                if self.talk.ending or left <= 0:
                    return self.talk.ending or "timeout"
                self._changed.wait(left)
        return ""

    def finish(self, seconds: float) -> Talk:
        """Wait for the end of the report, or of the guest, and return the whole output.

        :param seconds: the longest wait; after it ``Talk.ending`` is ``timeout``.
        """
        if self.wait(lambda talk: talk.ending, seconds):
            self._set_ending("timeout")
        if self.talk.ending in ("console", "end", "stopped"):
            self._closed.wait(_LAST_OUTPUT_SECONDS)
        self.talk.seconds = time.monotonic() - self._begun
        return self.talk

    def stop_reading(self, seconds: float) -> None:
        """Read the last output of a QEMU that has ended, for at most these seconds, and end the reader thread."""
        self._thread.join(seconds)
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
                        self._log_error = error
                    self._changed.notify_all()
        with self._changed:
            self.talk.ending = self.talk.ending or "closed"
            self._closed.set()
            self._changed.notify_all()

    def _take(self, data: bytes, kept: bytearray | None, limit: int, log: IO[bytes] | None) -> None:
        if kept is None:
            self.qmp.feed(data)
            for event in self.qmp.events[self._events :]:
                if event["event"] == "SHUTDOWN" and event["data"].get("reason") == "guest-reset":
                    self._set_ending("rebooted")
                elif event["event"] in ("GUEST_PANICKED", "STOP") and not self._stop_requested:
                    self._set_ending("stopped")
            self._events = len(self.qmp.events)
            return
        room = limit - len(kept)
        kept += data[:room]
        if log is not None:
            log.write(data[:room])
        if self._console_callback is not None and kept is self.talk.console:
            self._console_callback(data[:room])
        if len(data) > room:
            self._set_ending("too-much")
        elif kept is self.talk.tap and tap.has_end_marker(kept):
            self._set_ending("end")
        elif kept is self.talk.console:
            lines = kept.rfind(b"\n") + 1
            new = console.hits(kept[self._scanned : lines].decode(errors="replace"))
            self._scanned = lines
            if any(hit.rule.fatal for hit in new):
                self._set_ending("console")

    def _set_ending(self, ending: str) -> None:
        self.talk.ending = self.talk.ending or ending

    def stop(self) -> None:
        """Pause the guest's processor.

        :raises QmpError: if QEMU refuses.
        """
        self._stop_requested = True
        self.qmp.command("stop")


@contextlib.contextmanager
def launch_guest(boot: Boot, logs: Path | None = None, name: str = "guest") -> Iterator[Guest]:
    """Launch a guest, paused, for the length of a block; first wait until the host has room for it (``leases``).

    :param logs: folder for ``NAME-console.log``, ``NAME-tap.log`` and ``NAME-qemu.log``, written while the guest runs.
    :raises LaunchFailedError: if QEMU does not start.
    :raises CannotRun: if QEMU is not installed, or the host is too small for such a guest.
    """
    packages = {each.emulator: each.emulator_package for each in architectures.by_name().values()}
    require(boot.machine.emulator, packages.get(boot.machine.emulator, "qemu-system-misc"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(leases.hold(boot.memory, 1, f"{boot.machine.emulator} {boot.cpu}: {name}"))
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
                    end.close()  # only QEMU has it open now, so its end closes the socket
                guest = Guest(talk, process.pid, ours, kept)
                try:
                    guest.qmp.negotiate()
                except (QmpError, ValueError) as error:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(5.0)
                    talk.stderr = _text(errors)
                    raise LaunchFailedError(
                        f"QEMU did not start: {talk.stderr or error}\n{talk.command_line}"
                    ) from None
                yield guest
        finally:
            if guest:
                guest.stop_reading(5.0)
            talk.stderr = _text(errors)
            if logs is not None:
                (logs / f"{name}-qemu.log").write_text(f"{talk.command_line}\n{talk.stderr}\n")


def anonymous_file(*parts: bytes | Path, size: int = 0) -> int:
    """Return the descriptor of a file without a name, which contains these parts one after the other.

    The kernel removes the file when its last descriptor is closed. The caller closes this one.

    :param size: the least size in bytes; the file ends with a hole.
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
        if size > os.fstat(file.fileno()).st_size:
            file.truncate(size)
        return os.dup(file.fileno())


def _socket_pairs(stack: contextlib.ExitStack) -> tuple[tuple[socket.socket, ...], tuple[socket.socket, ...]]:
    pairs = [socket.socketpair() for _ in ("monitor", "console", "tap")]
    for pair in pairs:
        for end in pair:
            stack.enter_context(end)
    ours, theirs = zip(*pairs, strict=True)
    return ours, theirs


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(65536).decode(errors="replace").strip()
