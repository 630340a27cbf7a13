"""A SPICE client over connected sockets: link, ticket, the main channel, any other, and the agent.

Everything has a limit: each wait a deadline, each message a size. What the server says is held against the protocol, and
what does not fit is a ``ProtocolError``, so that a server can fail a test and never hang or flood it.
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
"""Makes a connection to the server, in plain or by TLS."""

_ROOM = 32  # messages the server may send before it waits for an acknowledgement, until it says otherwise
_AGENT_TOKENS = 64  # chunks the agent may send us; one exchange needs two


class RefusedError(Exception):
    """The server refused a channel: what it says, by number and name."""

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
    """To be closed, or used as a context manager."""

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
        """Open it on a connection, which is closed if that fails.

        :param kind: one of ``wire.Channel``.
        :param session: 0 for a main channel, else ``Session.init.session``.
        :param seconds: at most, for this and later for each single wait.
        :raises RefusedError: when the server refuses the channel or the ticket.
        :raises ProtocolError: when it says what it may not, or nothing, or closes the connection.
        """
        self._socket = connection
        self._seconds = seconds
        self._room = 0
        self._since = 0
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

        :raises ProtocolError: when the server does not take it.
        """
        self._send(wire.message(kind, body), time.monotonic() + self._seconds)

    def receive(self, seconds: float | None = None) -> Message:
        """The next message that is not of the protocol's own housekeeping, which is done on the way.

        :param seconds: at most; the channel's own limit if none is given.
        :raises ProtocolError: as above.
        """
        until = time.monotonic() + (self._seconds if seconds is None else seconds)
        while True:
            kind, size = wire.MESSAGE_HEADER.unpack(self._exactly(wire.MESSAGE_HEADER.size, until))
            if size > wire.MAX_MESSAGE:
                raise ProtocolError(f"message {kind} of {size} bytes")
            body = self._exactly(size, until)
            self._acknowledge(until)
            if kind == wire.AnyChannel.SET_ACK and size >= 8:
                self._room, self._since = int.from_bytes(body[4:8], "little"), 0
                self._send(wire.message(wire.AnyChannelReply.ACK_SYNC, body[:4]), until)
            elif kind == wire.AnyChannel.PING and size >= 12:
                self._send(wire.message(wire.AnyChannelReply.PONG, body[:12]), until)
            elif kind == wire.AnyChannel.DISCONNECTING:
                raise ProtocolError("the server ended the channel")
            elif kind != wire.AnyChannel.NOTIFY:
                return Message(kind, body)

    def wait_for(self, *kinds: int) -> Message:
        """The next message of one of these kinds; others are passed over.

        :raises ProtocolError: as above.
        """
        until = time.monotonic() + self._seconds
        while (message := self.receive(max(0.0, until - time.monotonic()))).kind not in kinds:
            pass
        return message

    def _open(self, password: str, kind: int, session: int, number: int) -> None:
        until = time.monotonic() + self._seconds
        self._send(wire.link_message(session, kind, number), until)
        size = wire.link_reply_size(self._exactly(wire.LINK_HEADER.size, until))
        reply = wire.link_reply(self._exactly(size, until))
        if reply.error:
            raise RefusedError(reply.error, "link")
        self._send(wire.AUTH_SPICE.to_bytes(4, "little") + ticket(password, reply.public_key), until)
        result = int.from_bytes(self._exactly(4, until), "little")
        if result:
            raise RefusedError(result, "ticket")
        self._room = _ROOM
        if kind == wire.Channel.DISPLAY:  # the protocol's first word; spice-server 0.15 dies of a display without it
            self._send(wire.message(wire.DISPLAY_INIT, wire.display_init()), until)

    def _acknowledge(self, until: float) -> None:
        self._since += 1
        if self._room and self._since >= self._room:
            self._since = 0
            self._send(wire.message(wire.AnyChannelReply.ACK), until)

    def _send(self, data: bytes, until: float) -> None:
        with self._limited(until):
            self._socket.sendall(data)

    def _exactly(self, size: int, until: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            with self._limited(until):
                data = self._socket.recv(min(size - len(found), 1 << 20))
            if not data:
                raise ProtocolError(f"the server closed the connection after {len(found)} of {size} bytes")
            found += data
        return bytes(found)

    @contextlib.contextmanager
    def _limited(self, until: float) -> Iterator[None]:
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
    """A password, encrypted for the server.

    :raises ProtocolError: when the key is none of RSA.
    """
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ProtocolError(f"the server's public key cannot be read: {error}") from None
    if not isinstance(key, RSAPublicKey):
        raise ProtocolError("the server's public key is none of RSA")
    scheme = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - what the protocol says
    return key.encrypt(password.encode() + b"\0", scheme)


class Session(_Closing):
    """A main channel and what it told at first."""

    def __init__(self, connection: socket.socket, password: str, seconds: float) -> None:
        """Open it. Parameters and errors are those of ``Channel``."""
        self.main = Channel(connection, password, wire.Channel.MAIN, 0, seconds)
        self._password = password
        self._seconds = seconds
        try:
            self.init = wire.init(self.main.wait_for(wire.Main.INIT).body)
            self.main.send(wire.MainReply.ATTACH_CHANNELS)
            self.channels = wire.channels(self.main.wait_for(wire.Main.CHANNELS_LIST).body)
            """(type, id) of each channel the server offers besides the main one."""
        except BaseException:
            self.main.close()
            raise

    def close(self) -> None:
        """End it."""
        self.main.close()

    def open(self, connection: socket.socket, kind: int, number: int = 0) -> Channel:
        """Open another channel of this session. Errors are those of ``Channel``."""
        return Channel(connection, self._password, kind, self.init.session, self._seconds, number)

    def exchange_capabilities(self, words: tuple[int, ...], answer: tuple[int, ...]) -> None:
        """Announce capabilities to the guest's agent, ask for its own, and wait until it announces these.

        Others it announces meanwhile are passed over: they may be its answer to a client that has gone.

        :param words: 32 capabilities each.
        :raises ProtocolError: when there is no agent, or it does not answer so in time.
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
                raise ProtocolError("the agent went away")
            if message.kind == wire.Main.AGENT_DATA:
                for said in stream.feed(message.body):
                    if said.type == wire.ANNOUNCE_CAPABILITIES and wire.announced_words(said.data) == answer:
                        return

    def announce_capabilities(self, words: tuple[int, ...], *, request: bool = False) -> None:
        """Announce capabilities to the guest's agent.

        :param request: ask for its own.
        :raises ProtocolError: when the server does not take it.
        """
        for chunk in wire.agent_message(wire.ANNOUNCE_CAPABILITIES, wire.capabilities(words, request)):
            self.main.send(wire.MainReply.AGENT_DATA, chunk)


def first_surface(display: Channel, seconds: float) -> wire.Surface:
    """The first surface on which something is drawn, once something is.

    :param display: a display channel, just opened.
    :param seconds: at most.
    :raises ProtocolError: when that does not come in time.
    """
    until = time.monotonic() + seconds
    surface = None
    while True:
        message = display.receive(max(0.0, until - time.monotonic()))
        if message.kind == wire.Display.SURFACE_CREATE:
            surface = wire.surface(message.body)
        elif surface and message.kind in wire.DRAWS:
            return surface
