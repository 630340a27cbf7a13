"""The QEMU Machine Protocol, as much of it as a test guest needs: greeting, capabilities, a command and its answer."""

from __future__ import annotations

import json
import socket


class QmpClosedError(Exception):
    """QEMU closed the connection: it did not start, or ended."""


class Qmp:
    """A monitor connection on a socket that QEMU inherited. Every answer is waited for at most ``timeout`` seconds."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        connection.settimeout(timeout)
        self._connection = connection
        self._buffer = b""
        self.version: dict[str, object] = {}

    def negotiate(self) -> None:
        """Take the greeting and leave negotiation mode.

        :raises QmpClosedError: when QEMU is gone.
        :raises TimeoutError: when it does not answer.
        """
        self.version = self._message()["QMP"]["version"]["qemu"]
        self.command("qmp_capabilities")

    def command(self, name: str) -> object:
        """Run a command that takes no arguments; its return value. Events in between are passed over.

        :raises QmpClosedError: when QEMU is gone, or refuses.
        :raises TimeoutError: when it does not answer.
        """
        self._connection.sendall(json.dumps({"execute": name}).encode() + b"\n")
        while True:
            message = self._message()
            if "error" in message:
                raise QmpClosedError(f"{name}: {message['error'].get('desc', message['error'])}")
            if "return" in message:
                return message["return"]

    def _message(self) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
        while b"\n" not in self._buffer:
            try:
                data = self._connection.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                raise QmpClosedError("QEMU closed its monitor")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return dict(json.loads(line))
