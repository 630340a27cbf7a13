"""Encode and decode the messages of the SPICE protocol that the lab needs. Data from the server is untrusted.

Source: the `description of the protocol <https://www.spice-space.org/spice-protocol.html>`_, and spice/protocol.h,
spice/enums.h and spice/vd_agent.h of spice-protocol. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

MAGIC = b"REDQ"
MAJOR, MINOR = 2, 2
LINK_HEADER = struct.Struct("<4sIII")
"""Magic, major and minor version, bytes that follow."""
MESSAGE_HEADER = struct.Struct("<HI")
"""The "mini header": type, bytes that follow."""
MAX_LINK_REPLY = 4096
MAX_MESSAGE = 64 << 20
"""Bytes. The largest permitted message is the uncompressed picture of a whole screen."""
MAX_CHANNELS = 64
MAX_AGENT_MESSAGE = 64 * 1024
AGENT_CHUNK = 2048
"""VD_AGENT_MAX_DATA_SIZE: the most bytes of an agent message in one message of the main channel."""
_PUBLIC_KEY_BYTES = 162  # SPICE_TICKET_PUBKEY_BYTES: RSA-1024 as SubjectPublicKeyInfo


class ProtocolError(Exception):
    """The server violated the protocol, or did not answer."""


class Channel(IntEnum):
    """Types of channels."""

    MAIN = 1
    DISPLAY = 2
    INPUTS = 3
    CURSOR = 4


class LinkError(IntEnum):
    """Answers to a link message or a ticket (SPICE_LINK_ERR_*)."""

    OK = 0
    ERROR = 1
    INVALID_MAGIC = 2
    INVALID_DATA = 3
    VERSION_MISMATCH = 4
    NEED_SECURED = 5
    NEED_UNSECURED = 6
    PERMISSION_DENIED = 7
    BAD_CONNECTION_ID = 8
    CHANNEL_NOT_AVAILABLE = 9


class Capability(IntFlag):
    """Common capabilities: those that any channel may have."""

    AUTH_SELECTION = 1
    AUTH_SPICE = 2
    AUTH_SASL = 4
    MINI_HEADER = 8


AUTH_SPICE = 1
"""Authentication by ticket (SPICE_COMMON_CAP_AUTH_SPICE is bit 1)."""
NEEDED = Capability.AUTH_SELECTION | Capability.AUTH_SPICE | Capability.MINI_HEADER
"""The common capabilities that the lab's client requires of a server; spice-server has them since 0.8."""


class AnyChannel(IntEnum):
    """Messages that any channel may carry, from the server."""

    SET_ACK = 3
    PING = 4
    DISCONNECTING = 6
    NOTIFY = 7


class AnyChannelReply(IntEnum):
    """Messages that any channel may carry, to the server."""

    ACK_SYNC = 1
    ACK = 2
    PONG = 3


class Main(IntEnum):
    """Messages of the main channel, from the server."""

    INIT = 103
    CHANNELS_LIST = 104
    AGENT_CONNECTED = 107
    AGENT_DISCONNECTED = 108
    AGENT_DATA = 109
    AGENT_TOKEN = 110


class MainReply(IntEnum):
    """Messages of the main channel, to the server."""

    ATTACH_CHANNELS = 104
    AGENT_START = 106
    AGENT_DATA = 107


class Display(IntEnum):
    """Messages of the display channel, from the server."""

    COPY_BITS = 104
    DRAW_FILL = 302
    DRAW_ALPHA_BLEND = 313
    SURFACE_CREATE = 314
    DRAW_COMPOSITE = 318


DRAWS = frozenset((Display.COPY_BITS, *range(Display.DRAW_FILL, Display.SURFACE_CREATE), Display.DRAW_COMPOSITE))
"""The messages that draw: from DRAW_FILL to DRAW_ALPHA_BLEND the numbers have no gap."""

DISPLAY_INIT = 101
"""Message to the server: the sizes of the client's caches."""

AGENT_PROTOCOL = 1
ANNOUNCE_CAPABILITIES = 6
_AGENT_HEADER = struct.Struct("<IIQI")  # protocol, type, opaque, bytes that follow


@dataclass(frozen=True)
class LinkReply:
    """The server's answer to a link message."""

    error: int
    public_key: bytes = b""
    """The key for the ticket: DER, SubjectPublicKeyInfo."""
    common: int = 0
    """The first word of the server's common capabilities."""


@dataclass(frozen=True)
class Init:
    """The first message of the main channel."""

    session: int
    mouse_modes: int
    agent_connected: bool
    agent_tokens: int
    """The number of chunks of agent data that the client may send."""


@dataclass(frozen=True)
class Surface:
    """A surface on which the server draws."""

    id: int
    width: int
    height: int
    format: int
    primary: bool


@dataclass(frozen=True)
class AgentMessage:
    """A message between a client and the guest's agent."""

    type: int
    data: bytes


def link_message(session: int, channel: int, channel_id: int = 0) -> bytes:
    """The first message on a connection: the channel to open.

    :param session: 0 for a main channel, else the main channel's ``Init.session``.
    """
    # One word of common capabilities, at byte 18; no word of the channel's capabilities.
    fixed = struct.pack("<IBBIII", session, channel, channel_id, 1, 0, 18)
    body = fixed + struct.pack("<I", NEEDED)
    return LINK_HEADER.pack(MAGIC, MAJOR, MINOR, len(body)) + body


def link_reply_size(header: bytes) -> int:
    """The number of bytes after the header of a link reply.

    :raises ProtocolError: if the header is not from a SPICE server of this version.
    """
    magic, major, minor, size = LINK_HEADER.unpack(header)
    if magic != MAGIC:
        raise ProtocolError(f"not a SPICE server: its answer begins with {magic!r}")
    if major != MAJOR:
        raise ProtocolError(f"the server speaks SPICE {major}.{minor}, not {MAJOR}.{MINOR}")
    if not 4 <= size <= MAX_LINK_REPLY:
        raise ProtocolError(f"a link reply of {size} bytes, expected 4 to {MAX_LINK_REPLY}")
    return int(size)


def link_reply(body: bytes) -> LinkReply:
    """Decode a link reply after its header.

    :raises ProtocolError: if it is damaged, or the server lacks a capability of ``NEEDED``.
    """
    error = _number(body, 0, "link reply")
    if error:
        return LinkReply(error)
    if len(body) < 4 + _PUBLIC_KEY_BYTES + 12:
        raise ProtocolError(f"a link reply of only {len(body)} bytes")
    common, own, offset = struct.unpack_from("<III", body, 4 + _PUBLIC_KEY_BYTES)
    if common > len(body) or own > len(body) or offset > len(body) or offset + 4 * (common + own) > len(body):
        raise ProtocolError("a link reply whose capabilities are outside of the message")
    words = _number(body, offset, "capabilities") if common else 0
    if NEEDED & ~words:
        raise ProtocolError(f"the server lacks {Capability(NEEDED & ~words)!r}")
    return LinkReply(0, body[4 : 4 + _PUBLIC_KEY_BYTES], words)


def error_name(number: int) -> str:
    """The protocol's name of a link error."""
    return LinkError(number).name if number in LinkError.__members__.values() else f"error {number}"


def message(kind: int, body: bytes = b"") -> bytes:
    """A message on an open channel."""
    return MESSAGE_HEADER.pack(kind, len(body)) + body


def init(body: bytes) -> Init:
    """Decode the body of ``Main.INIT``.

    :raises ProtocolError: if it is too short.
    """
    if len(body) < 32:
        raise ProtocolError(f"an INIT message of {len(body)} bytes")
    session, _, modes, _, connected, tokens, _, _ = struct.unpack_from("<8I", body)
    return Init(session, modes, bool(connected), tokens)


def channels(body: bytes) -> tuple[tuple[int, int], ...]:
    """The (type, id) of each channel in the body of ``Main.CHANNELS_LIST``.

    :raises ProtocolError: if it is damaged.
    """
    count = _number(body, 0, "list of channels")
    if count > MAX_CHANNELS or len(body) < 4 + 2 * count:
        raise ProtocolError(f"a list of {count} channels in {len(body)} bytes")
    return tuple((body[4 + 2 * at], body[5 + 2 * at]) for at in range(count))


def display_init() -> bytes:
    """The body of ``DISPLAY_INIT``: the sizes of the client's caches, in pixels and bytes."""
    return struct.pack("<BqBi", 1, 32 << 20, 1, 16 << 20)


def surface(body: bytes) -> Surface:
    """Decode the body of ``Display.SURFACE_CREATE``.

    :raises ProtocolError: if it is too short, or its size is impossible.
    """
    if len(body) < 20:
        raise ProtocolError(f"a surface message of {len(body)} bytes")
    number, width, height, form, flags = struct.unpack_from("<5I", body)
    if not (0 < width <= 1 << 15 and 0 < height <= 1 << 15):
        raise ProtocolError(f"a surface of {width} × {height} pixels")
    return Surface(number, width, height, form, bool(flags & 1))


def agent_message(kind: int, data: bytes) -> tuple[bytes, ...]:
    """A message for the agent, as the bodies of one or more ``MainReply.AGENT_DATA``."""
    whole = _AGENT_HEADER.pack(AGENT_PROTOCOL, kind, 0, len(data)) + data
    return tuple(whole[at : at + AGENT_CHUNK] for at in range(0, len(whole), AGENT_CHUNK))


def capabilities(words: Sequence[int], request: bool) -> bytes:
    """The data of ``ANNOUNCE_CAPABILITIES``.

    :param words: 32 capabilities each.
    :param request: request the capabilities of the other side.
    """
    return struct.pack(f"<{1 + len(words)}I", request, *words)


def announced_words(data: bytes) -> tuple[int, ...]:
    """The words in the data of ``ANNOUNCE_CAPABILITIES``, 32 capabilities each.

    :raises ProtocolError: if it is damaged.
    """
    if len(data) < 4 or len(data) % 4 or len(data) > 4 * 64:
        raise ProtocolError(f"an agent's capabilities in {len(data)} bytes")
    return struct.unpack(f"<{len(data) // 4}I", data)[1:]


class AgentStream:
    """Joins the agent's messages from the bodies of ``Main.AGENT_DATA``."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> tuple[AgentMessage, ...]:
        """Add a body, and return the messages that are complete with it.

        :raises ProtocolError: if a message is too long or not from an agent.
        """
        self._buffer += chunk
        messages = []
        while len(self._buffer) >= _AGENT_HEADER.size:
            protocol, kind, _, size = _AGENT_HEADER.unpack_from(self._buffer)
            if protocol != AGENT_PROTOCOL or size > MAX_AGENT_MESSAGE:
                raise ProtocolError(f"an agent message of protocol {protocol} with {size} bytes")
            end = _AGENT_HEADER.size + size
            if len(self._buffer) < end:
                break
            messages.append(AgentMessage(kind, bytes(self._buffer[_AGENT_HEADER.size : end])))
            del self._buffer[:end]
        return tuple(messages)


def _number(body: bytes, offset: int, what: str) -> int:
    if offset + 4 > len(body):
        raise ProtocolError(f"a {what} of only {len(body)} bytes")
    return int.from_bytes(body[offset : offset + 4], "little")
