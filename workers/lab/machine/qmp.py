"""The QEMU Machine Protocol: greeting, capabilities, commands and their answers, events.

The thread that reads the monitor passes its data to ``feed``. Another thread may call ``command``, which waits for
the answer.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

_LONGEST_LINE = 16 * 1024 * 1024  # bytes; query-qmp-schema answers with some hundred thousand


class QmpError(Exception):
    """QEMU refused a command, did not answer in time, or has ended."""


class Qmp:
    """A monitor connection on a socket that QEMU inherited."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        """Prepare the connection; it sends nothing yet.

        :param timeout: the longest wait for an answer, in seconds.
        """
        self.timeout = timeout
        self.events: list[dict[str, Any]] = []
        """Every event so far, in order."""
        self._connection = connection
        self._buffer = bytearray()
        self._answers: dict[object, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._last_id = 0
        self._closed = False

    def feed(self, data: bytes) -> None:
        """Handle data from QEMU; empty data means that QEMU closed the connection."""
        with self._changed:
            self._closed |= not data or len(self._buffer) > _LONGEST_LINE
            self._buffer += data
            while (end := self._buffer.find(b"\n")) >= 0:
                message = json.loads(self._buffer[:end])
                del self._buffer[: end + 1]
                if "event" in message:
                    self.events.append(message)
                elif "QMP" in message:
                    self._answers["greeting"] = message
                else:
                    self._answers[message.get("id")] = message
            self._changed.notify_all()

    def negotiate(self) -> None:
        """Wait for the greeting and leave negotiation mode.

        :raises QmpError: if QEMU has ended or does not answer.
        """
        self._answer("greeting", "its greeting")
        self.command("qmp_capabilities")

    def command(self, name: str, *, files: Sequence[int] = (), **arguments: object) -> Any:
        """Run a command and return its result. ``_`` in the name of an argument stands for QEMU's ``-``.

        :param files: descriptors to send with the command (``getfd``, ``add-fd``).
        :raises QmpError: if QEMU refuses, with its message; if it has ended or does not answer.
        """
        self._last_id += 1
        number = self._last_id
        options = {key.replace("_", "-"): value for key, value in arguments.items()}
        message = json.dumps({"execute": name, "arguments": options, "id": number}).encode() + b"\n"
        try:
            if files:
                socket.send_fds(self._connection, [message], list(files))
            else:
                self._connection.sendall(message)
        except OSError as error:
            raise QmpError(f"{name}: QEMU has ended ({error.strerror})") from None
        answer = self._answer(number, name)
        if "error" in answer:
            raise QmpError(f"{name}: {answer['error'].get('desc', answer['error'])}")
        return answer["return"]

    def _answer(self, key: object, what: str) -> dict[str, Any]:
        until = time.monotonic() + self.timeout
        with self._changed:
            while key not in self._answers:
                left = until - time.monotonic()
                if self._closed:
                    raise QmpError(f"{what}: QEMU closed its monitor")
                if left <= 0:
                    raise QmpError(f"{what}: QEMU did not answer within {self.timeout:.0f} s")
                self._changed.wait(left)
            return self._answers.pop(key)
