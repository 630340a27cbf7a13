"""The QEMU Machine Protocol: greeting, capabilities, commands and their answers, events.

Whoever listens to the guest feeds what comes from the monitor to ``received``; a command may be given from another thread and
waits for its answer there.
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
    """QEMU refused a command, did not answer in time, or is gone."""


class Qmp:
    """A monitor connection on a socket that QEMU inherited."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        """Make it.

        :param timeout: seconds an answer may take.
        """
        self.timeout = timeout
        self.events: list[dict[str, Any]] = []
        """Every event so far, in order."""
        self._connection = connection
        self._buffer = bytearray()
        self._answers: dict[object, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._given = 0
        self._closed = False

    def received(self, data: bytes) -> None:
        """Take what came from QEMU; nothing: it closed the connection."""
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

        :raises QmpError: when QEMU is gone or does not answer.
        """
        self._answer("greeting", "its greeting")
        self.command("qmp_capabilities")

    def command(self, name: str, *, files: Sequence[int] = (), **arguments: object) -> Any:
        """Run a command; its return value. ``_`` in an argument's name is ``-`` in QEMU's.

        :param files: descriptors that go along (``getfd``, ``add-fd``).
        :raises QmpError: when QEMU refuses, in its words; is gone; does not answer.
        """
        self._given += 1
        number = self._given
        told = {key.replace("_", "-"): value for key, value in arguments.items()}
        message = json.dumps({"execute": name, "arguments": told, "id": number}).encode() + b"\n"
        try:
            if files:
                socket.send_fds(self._connection, [message], list(files))
            else:
                self._connection.sendall(message)
        except OSError as error:
            raise QmpError(f"{name}: QEMU is gone ({error.strerror})") from None
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
