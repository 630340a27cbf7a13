"""A SPICE client over connected sockets: link, ticket, the main channel, other channels, and the agent.

Each wait has a deadline, and each message a size limit. The client checks every message of the server against the
protocol; a violation is a ``ProtocolError``. So a bad server fails a test, but cannot hang or flood it.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from workers.lab.spice import wire
from workers.lab.spice.wire import ProtocolError

Connect = Callable[[], socket.socket]
"""Makes a connection to the server, with or without TLS."""

_WINDOW = 32  # messages that the server may send before it waits for an acknowledgement, until SET_ACK changes it
_AGENT_TOKENS = 64  # chunks that the agent may send us; one exchange needs two


class RefusedError(Exception):
    """The server refused a channel. The text has the name of the error."""

    def __init__(self, number: int, step: str) -> None:
        super().__init__(f"{step}: {wire.error_name(number)}")
        self.number = number
        """One of ``wire.LinkError``."""
        self.step = step
        """``link`` or ``ticket``."""


@dataclass(frozen=True)
class Message:
    """One message from the server."""

    kind: int
    body: bytes


class _Closing:
    """Something to close; a context manager closes it."""

    def close(self) -> None:
        """End the connection."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Channel(_Closing):
    """An open channel."""

    def __init__(
        self, connection: socket.socket, password: str, kind: int, session: int, seconds: float, number: int = 0
    ) -> None:
        """Open the channel on a connection, and close the connection if that fails.

        :param kind: one of ``wire.Channel``.
        :param session: 0 for a main channel, else ``Session.init.session``.
        :param seconds: limit for this, and later for each wait.
        :raises RefusedError: if the server refuses the channel or the ticket.
        :raises ProtocolError: if the server violates the protocol, does not answer or closes the connection.
        """
        self._socket = connection
        self._seconds = seconds
        self._window = 0
        self._unacknowledged = 0
        try:
            self._open(password, kind, session, number)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def send(self, kind: int, body: bytes = b"") -> None:
        """Send a message.

        :raises ProtocolError: if the server does not read it.
        """
        self._send(wire.message(kind, body), time.monotonic() + self._seconds)

    def receive(self, seconds: float | None = None) -> Message:
        """Receive the next message, and answer pings and send acknowledgements on the way.

        :param seconds: limit; None: the limit of the channel.
        :raises ProtocolError: see ``__init__``.
        """
        until = time.monotonic() + (self._seconds if seconds is None else seconds)
        while True:
            kind, size = wire.MESSAGE_HEADER.unpack(self._read(wire.MESSAGE_HEADER.size, until))
            if size > wire.MAX_MESSAGE:
                raise ProtocolError(f"message {kind} of {size} bytes")
            body = self._read(size, until)
            self._acknowledge(until)
            if kind == wire.AnyChannel.SET_ACK and size >= 8:
                self._window, self._unacknowledged = int.from_bytes(body[4:8], "little"), 0
                self._send(wire.message(wire.AnyChannelReply.ACK_SYNC, body[:4]), until)
            elif kind == wire.AnyChannel.PING and size >= 12:
                self._send(wire.message(wire.AnyChannelReply.PONG, body[:12]), until)
            elif kind == wire.AnyChannel.DISCONNECTING:
                raise ProtocolError("the server ended the channel")
            elif kind != wire.AnyChannel.NOTIFY:
                return Message(kind, body)

    def wait_for(self, *kinds: int) -> Message:
        """Receive the next message of one of these kinds, and drop all others.

        :raises ProtocolError: see ``__init__``.
        """
        until = time.monotonic() + self._seconds
        while (message := self.receive(max(0.0, until - time.monotonic()))).kind not in kinds:
            pass
        return message

    def _open(self, password: str, kind: int, session: int, number: int) -> None:
        until = time.monotonic() + self._seconds
        self._send(wire.link_message(session, kind, number), until)
        size = wire.link_reply_size(self._read(wire.LINK_HEADER.size, until))
        reply = wire.link_reply(self._read(size, until))
        if reply.error:
            raise RefusedError(reply.error, "link")
        self._send(wire.AUTH_SPICE.to_bytes(4, "little") + ticket(password, reply.public_key), until)
        result = int.from_bytes(self._read(4, until), "little")
        if result:
            raise RefusedError(result, "ticket")
        self._window = _WINDOW
        if kind == wire.Channel.DISPLAY:  # the protocol requires it first; spice-server 0.15 crashes without it
            self._send(wire.message(wire.DISPLAY_INIT, wire.display_init()), until)

    def _acknowledge(self, until: float) -> None:
        self._unacknowledged += 1
        if self._window and self._unacknowledged >= self._window:
            self._unacknowledged = 0
            self._send(wire.message(wire.AnyChannelReply.ACK), until)

    def _send(self, data: bytes, until: float) -> None:
        with self._deadline(until):
            self._socket.sendall(data)

    def _read(self, size: int, until: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            with self._deadline(until):
                data = self._socket.recv(min(size - len(received), 1 << 20))
            if not data:
                raise ProtocolError(f"the server closed the connection after {len(received)} of {size} bytes")
            received += data
        return bytes(received)

    @contextlib.contextmanager
    def _deadline(self, until: float) -> Iterator[None]:
        left = until - time.monotonic()
        if left <= 0:
            raise ProtocolError("the server did not answer in time")
        self._socket.settimeout(left)
        try:
            yield
        except TimeoutError:
            raise ProtocolError("the server did not answer in time") from None
        except OSError as error:
            raise ProtocolError(f"the connection broke: {error.strerror or error}") from None


def ticket(password: str, public_key: bytes) -> bytes:
    """Encrypt a password for the server.

    :raises ProtocolError: if the key is not an RSA key.
    """
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ProtocolError(f"the server's public key cannot be read: {error}") from None
    if not isinstance(key, RSAPublicKey):
        raise ProtocolError("the server's public key is not an RSA key")
    scheme = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - the protocol requires it
    return key.encrypt(password.encode() + b"\0", scheme)


class Session(_Closing):
    """A main channel, and the session that it opened."""

    def __init__(self, connection: socket.socket, password: str, seconds: float) -> None:
        """Open the main channel. Parameters and errors are those of ``Channel``."""
        self.main = Channel(connection, password, wire.Channel.MAIN, 0, seconds)
        self._password = password
        self._seconds = seconds
        try:
            self.init = wire.init(self.main.wait_for(wire.Main.INIT).body)
            self.main.send(wire.MainReply.ATTACH_CHANNELS)
            self.channels = wire.channels(self.main.wait_for(wire.Main.CHANNELS_LIST).body)
            """(type, id) of each other channel that the server offers."""
        except BaseException:
            self.main.close()
            raise

    def close(self) -> None:
        """End the session."""
        self.main.close()

    def open(self, connection: socket.socket, kind: int, number: int = 0) -> Channel:
        """Open another channel of this session. Errors are those of ``Channel``."""
        return Channel(connection, self._password, kind, self.init.session, self._seconds, number)

    def exchange_capabilities(self, words: tuple[int, ...], answer: tuple[int, ...]) -> None:
        """Announce capabilities to the guest's agent, request its capabilities, and wait for this answer.

        Drops other answers: they may belong to an earlier client.

        :param words: 32 capabilities each.
        :param answer: the capabilities to wait for.
        :raises ProtocolError: if no agent runs, or it does not give this answer in time.
        """
        until = time.monotonic() + self._seconds
        if not self.init.agent_connected:
            self.main.wait_for(wire.Main.AGENT_CONNECTED)
        self.main.send(wire.MainReply.AGENT_START, _AGENT_TOKENS.to_bytes(4, "little"))
        self.announce_capabilities(words, request=True)
        stream = wire.AgentStream()
        while True:
            message = self.main.receive(max(0.0, until - time.monotonic()))
            if message.kind == wire.Main.AGENT_DISCONNECTED:
                raise ProtocolError("the agent disconnected")
            if message.kind == wire.Main.AGENT_DATA:
                for reply in stream.feed(message.body):
                    if reply.type == wire.ANNOUNCE_CAPABILITIES and wire.announced_words(reply.data) == answer:
                        return

    def announce_capabilities(self, words: tuple[int, ...], *, request: bool = False) -> None:
        """Announce capabilities to the guest's agent.

        :param request: request the agent's capabilities.
        :raises ProtocolError: if the server does not read it.
        """
        for chunk in wire.agent_message(wire.ANNOUNCE_CAPABILITIES, wire.capabilities(words, request)):
            self.main.send(wire.MainReply.AGENT_DATA, chunk)


def first_surface(display: Channel, seconds: float) -> wire.Surface:
    """Wait until the server draws on a surface, and return this surface.

    :param display: a display channel that was just opened.
    :param seconds: limit.
    :raises ProtocolError: if the server does not draw in time.
    """
    until = time.monotonic() + seconds
    surface = None
    while True:
        message = display.receive(max(0.0, until - time.monotonic()))
        if message.kind == wire.Display.SURFACE_CREATE:
            surface = wire.surface(message.body)
        elif surface and message.kind in wire.DRAWS:
            return surface
