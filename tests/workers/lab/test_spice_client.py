"""The SPICE client and the bytes of the protocol, against servers that are right, wrong and hostile."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as some

from workers.lab.spice import certificates, server, wire
from workers.lab.spice.client import Channel, RefusedError, Session, first_surface, ticket
from workers.lab.spice.wire import LinkError, ProtocolError

KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the protocol requires 1024 bits
PUBLIC = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PASSWORD = "a secret"
SECONDS = 20.0  # a limit that no test reaches
Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def connection_to(script: Script) -> Iterator[socket.socket]:
    """A connection to a server that runs a script."""
    ours, theirs = socket.socketpair()
    failed: list[BaseException] = []

    def serve() -> None:
        with theirs:
            try:
                script(theirs)
            except BaseException as error:
                failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours:
            yield ours
    finally:
        thread.join(SECONDS)
    assert failed == []


def exactly(connection: socket.socket, size: int) -> bytes:
    return connection.recv(size, socket.MSG_WAITALL)


def link_reply(error: int = 0, key: bytes = PUBLIC, common: int = wire.NEEDED, offset: int = 178) -> bytes:
    body = struct.pack("<I", error) + key + struct.pack("<III", 1, 0, offset) + struct.pack("<I", common)
    return wire.LINK_HEADER.pack(b"REDQ", 2, 2, len(body)) + body


def accept(connection: socket.socket, result: int = 0) -> tuple[int, int, str]:
    """The server's side of link and ticket.

    :returns: session and channel type of the client, and its password.
    """
    magic, major, minor, size = wire.LINK_HEADER.unpack(exactly(connection, 16))
    assert (magic, major, minor) == (b"REDQ", 2, 2)
    session, kind, _, commons, own, offset = struct.unpack_from("<IBBIII", exactly(connection, size))
    assert (commons, own, offset) == (1, 0, 18)
    connection.sendall(link_reply())
    assert struct.unpack("<I", exactly(connection, 4)) == (1,)
    scheme = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - the protocol requires it
    secret = KEY.decrypt(exactly(connection, 128), scheme)
    assert secret.endswith(b"\0")
    connection.sendall(struct.pack("<I", result))
    return session, kind, secret[:-1].decode()


def message(connection: socket.socket) -> tuple[int, bytes]:
    kind, size = wire.MESSAGE_HEADER.unpack(exactly(connection, 6))
    return kind, exactly(connection, size) if size else b""


def drain(connection: socket.socket) -> None:
    """Read until the client closes the connection."""
    while connection.recv(1 << 16):
        pass


def main_channel(connection: socket.socket, agent: bool = True) -> None:
    """The server's side of a main channel, up to the list of its channels."""
    assert accept(connection)[:2] == (0, wire.Channel.MAIN)
    connection.sendall(wire.message(wire.AnyChannel.SET_ACK, struct.pack("<II", 7, 2)))
    connection.sendall(wire.message(wire.Main.INIT, struct.pack("<8I", 0x1234, 1, 3, 1, agent, 10, 0, 0)))
    assert message(connection) == (wire.AnyChannelReply.ACK_SYNC, struct.pack("<I", 7))
    assert message(connection) == (wire.MainReply.ATTACH_CHANNELS, b"")
    connection.sendall(wire.message(wire.AnyChannel.PING, struct.pack("<IQ", 1, 2) + b"filling"))
    assert message(connection) == (wire.AnyChannelReply.ACK, b"")  # INIT and PING are two
    assert message(connection) == (wire.AnyChannelReply.PONG, struct.pack("<IQ", 1, 2))
    connection.sendall(wire.message(wire.Main.CHANNELS_LIST, struct.pack("<I4B", 2, 2, 0, 3, 1)))


# ------------------------------------------------------------------------------------------------------------ client


def test_a_session_opens_with_the_password_and_lists_its_channels():
    with connection_to(main_channel) as connection, Session(connection, PASSWORD, SECONDS) as session:
        assert session.init == wire.Init(0x1234, 3, True, 10)
        assert session.channels == ((2, 0), (3, 1))


def test_the_ticket_is_the_encrypted_password_with_a_zero_byte():
    heard = []
    with connection_to(lambda connection: heard.append(accept(connection))) as connection:
        Channel(connection, PASSWORD, wire.Channel.INPUTS, 99, SECONDS).close()
    assert heard == [(99, wire.Channel.INPUTS, PASSWORD)]


@pytest.mark.parametrize("number", [7, 8, 1, 77])
def test_the_error_of_a_refused_ticket_has_its_number(number):
    with connection_to(lambda connection: accept(connection, number) and None) as connection:
        with pytest.raises(RefusedError) as refused:
            Channel(connection, PASSWORD, wire.Channel.MAIN, 0, SECONDS)
        assert connection.fileno() == -1
    assert (refused.value.number, refused.value.step) == (number, "ticket")
    assert wire.error_name(7) == "PERMISSION_DENIED"
    assert wire.error_name(77) == "error 77"


def test_the_error_of_a_refused_link_has_its_name():
    def refuse(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(wire.LINK_HEADER.pack(b"REDQ", 2, 2, 4) + struct.pack("<I", LinkError.NEED_SECURED))

    with connection_to(refuse) as connection, pytest.raises(RefusedError, match="link: NEED_SECURED"):
        Channel(connection, PASSWORD, wire.Channel.MAIN, 0, SECONDS)


def test_a_display_channel_sends_its_cache_sizes_and_finds_the_surface_that_is_drawn_on():
    def display(connection: socket.socket) -> None:
        accept(connection)
        assert message(connection) == (wire.DISPLAY_INIT, wire.display_init())
        connection.sendall(wire.message(wire.Display.DRAW_FILL, b"on nothing"))
        connection.sendall(wire.message(wire.Display.SURFACE_CREATE, struct.pack("<5I", 0, 640, 480, 32, 1)))
        connection.sendall(wire.message(102) + wire.message(304, b"a picture"))

    with (
        connection_to(display) as connection,
        Channel(connection, PASSWORD, wire.Channel.DISPLAY, 5, SECONDS) as channel,
    ):
        assert first_surface(channel, SECONDS) == wire.Surface(0, 640, 480, 32, primary=True)


@pytest.mark.parametrize("connected", [True, False])
def test_the_client_waits_for_the_answer_of_the_agent(connected):
    words, answer = (1, 2, 0xFFFFFFFF), (0xFFFFFFFF, 2, 1)

    def agent(connection: socket.socket) -> None:
        main_channel(connection, connected)
        if not connected:
            connection.sendall(wire.message(wire.Main.AGENT_CONNECTED))
        assert message(connection)[0] in (wire.MainReply.AGENT_START, wire.AnyChannelReply.ACK)
        while (received := message(connection))[0] != wire.MainReply.AGENT_DATA:
            pass
        assert struct.unpack("<IIQI4I", received[1]) == (1, 6, 0, 16, 1, *words)
        for capabilities in ((5,), answer):  # the first answers an earlier client; both come in chunks of 7 bytes
            whole = b"".join(wire.agent_message(6, wire.capabilities(capabilities, request=False)))
            for at in range(0, len(whole), 7):
                connection.sendall(wire.message(wire.Main.AGENT_DATA, whole[at : at + 7]))
        drain(connection)

    with connection_to(agent) as connection, Session(connection, PASSWORD, SECONDS) as session:
        session.exchange_capabilities(words, answer)


def test_an_agent_that_disconnects_is_reported():
    def agent(connection: socket.socket) -> None:
        main_channel(connection)
        connection.sendall(wire.message(wire.Main.AGENT_DISCONNECTED, bytes(4)))
        drain(connection)

    with (
        connection_to(agent) as connection,
        Session(connection, PASSWORD, SECONDS) as session,
        pytest.raises(ProtocolError, match="the agent disconnected"),
    ):
        session.exchange_capabilities((1,), (1,))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 400 Bad\r\n\r\n", "not a SPICE server"),
        (wire.LINK_HEADER.pack(b"REDQ", 1, 0, 178), "SPICE 1.0"),
        (wire.LINK_HEADER.pack(b"REDQ", 2, 2, 1 << 30), "a link reply of 1073741824 bytes"),
        (wire.LINK_HEADER.pack(b"REDQ", 2, 2, 0), "a link reply of 0 bytes, expected 4 to 4096"),
        (wire.LINK_HEADER.pack(b"REDQ", 2, 2, 20) + bytes(20), "only 20 bytes"),
        (link_reply(offset=1 << 31), "outside of the message"),
        (link_reply(common=wire.Capability.AUTH_SPICE), "the server lacks"),
        (link_reply(key=bytes(162)), "public key cannot be read"),
        (link_reply()[:100], "closed the connection after 84 of 182 bytes"),
        (b"", "closed the connection after 0 of 16 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the keys differ in each process
)
def test_a_server_that_does_not_speak_spice_is_named(data, reason):
    def speak(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(data)

    with connection_to(speak) as connection, pytest.raises(ProtocolError, match=reason):
        Channel(connection, PASSWORD, wire.Channel.MAIN, 0, SECONDS)


def test_a_silent_server_is_an_error_after_the_limit():
    done = threading.Event()
    with connection_to(lambda connection: done.wait(SECONDS) and None) as connection:
        with pytest.raises(ProtocolError, match="did not answer in time"):
            Channel(connection, PASSWORD, wire.Channel.MAIN, 0, 0.05)
        done.set()


def test_a_server_that_sends_only_pings_is_an_error_after_the_limit():
    def ping(connection: socket.socket) -> None:
        accept(connection)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(wire.message(wire.AnyChannel.PING, bytes(12)))

    with connection_to(ping) as connection, Channel(connection, PASSWORD, wire.Channel.INPUTS, 1, SECONDS) as channel:
        with pytest.raises(ProtocolError, match="in time"):
            channel.receive(0.1)
        channel.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (wire.MESSAGE_HEADER.pack(304, wire.MAX_MESSAGE + 1), "message 304 of"),
        (wire.message(wire.AnyChannel.DISCONNECTING, bytes(12)), "ended the channel"),
        (wire.message(304, b"x")[:-1], "after 0 of 1 bytes"),
    ],
)
def test_a_violation_on_an_open_channel_is_named(data, reason):
    def speak(connection: socket.socket) -> None:
        accept(connection)
        connection.sendall(data)

    with (
        connection_to(speak) as connection,
        Channel(connection, PASSWORD, wire.Channel.INPUTS, 1, SECONDS) as channel,
        pytest.raises(ProtocolError, match=reason),
    ):
        channel.receive()


# -------------------------------------------------------------------------------------------------------------- wire


@given(some.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(data):
    readers: tuple[Callable[[bytes], object], ...] = (
        wire.link_reply, wire.init, wire.channels, wire.surface, wire.announced_words, wire.AgentStream().feed,
    )  # fmt: skip
    for read in readers:
        with contextlib.suppress(ProtocolError):
            read(data)


def test_sizes_above_the_limits_are_refused():
    with pytest.raises(ProtocolError):
        wire.channels(struct.pack("<I", 1 << 31))
    with pytest.raises(ProtocolError):
        wire.surface(struct.pack("<5I", 0, 1 << 20, 1, 32, 1))
    with pytest.raises(ProtocolError):
        wire.AgentStream().feed(struct.pack("<IIQI", 1, 6, 0, wire.MAX_AGENT_MESSAGE + 1))


def test_a_long_message_to_the_agent_is_split_into_chunks():
    chunks = wire.agent_message(4, bytes(5000))
    assert [len(chunk) for chunk in chunks] == [2048, 2048, 924]
    stream = wire.AgentStream()
    assert [message for chunk in chunks for message in stream.feed(chunk)] == [wire.AgentMessage(4, bytes(5000))]


def test_a_key_that_cannot_be_read_is_refused():
    with pytest.raises(ProtocolError, match="cannot be read"):
        ticket(PASSWORD, PUBLIC[:-5])


# --------------------------------------------------------------------------------------------------------------- TLS


def tls_server(with_certificates: certificates.Certificates, folder: Path) -> Script:
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(with_certificates.server)
    key.write_bytes(with_certificates.server_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"hello")

    return serve


def test_only_the_authority_of_a_run_is_trusted(tmp_path):
    ours, others = certificates.issue(), certificates.issue()
    with (
        connection_to(tls_server(ours, tmp_path)) as connection,
        server.start_tls(connection, certificates.client_context(ours.authority), SECONDS) as secured,
    ):
        assert secured.recv(5) == b"hello"
    with connection_to(tls_server(ours, tmp_path)) as connection, pytest.raises(ssl.SSLCertVerificationError):
        server.start_tls(connection, certificates.client_context(others.authority), SECONDS)
