"""SPICE without a guest: the bytes, the client against servers that are right, wrong and hostile, pictures, the pattern."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from config.loading import load_site
from workers.base.errors import CannotRun
from workers.formats.rpm_payload import Entry
from workers.lab.pictures import NoPictureError, Picture, different, read_ppm
from workers.lab.spice import certificates, inside, pattern, server, wire
from workers.lab.spice.client import Channel, RefusedError, Session, first_surface, ticket
from workers.lab.spice.wire import LinkError, ProtocolError
from workers.lab.suites import spice

SITE = load_site("demo")
KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what the protocol has room for
PUBLIC = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PASSWORD = "a secret"
SECONDS = 20.0  # that nothing here takes
Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def served(script: Script) -> Iterator[socket.socket]:
    """A connection to a server that does what the script says."""
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
    """A server's side of link and ticket. Session and type that the client asks for, and its password."""
    magic, major, minor, size = wire.LINK_HEADER.unpack(exactly(connection, 16))
    assert (magic, major, minor) == (b"REDQ", 2, 2)
    session, kind, _, commons, own, offset = struct.unpack_from("<IBBIII", exactly(connection, size))
    assert (commons, own, offset) == (1, 0, 18)
    connection.sendall(link_reply())
    assert struct.unpack("<I", exactly(connection, 4)) == (1,)
    scheme = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - what the protocol says
    said = KEY.decrypt(exactly(connection, 128), scheme)
    assert said.endswith(b"\0")
    connection.sendall(struct.pack("<I", result))
    return session, kind, said[:-1].decode()


def message(connection: socket.socket) -> tuple[int, bytes]:
    kind, size = wire.MESSAGE_HEADER.unpack(exactly(connection, 6))
    return kind, exactly(connection, size) if size else b""


def drain(connection: socket.socket) -> None:
    """Take what still comes until the client is gone."""
    while connection.recv(1 << 16):
        pass


def main_channel(connection: socket.socket, agent: bool = True) -> None:
    """A server's side of a main channel until its channels are listed."""
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
    with served(main_channel) as connection, Session(connection, PASSWORD, SECONDS) as session:
        assert session.init == wire.Init(0x1234, 3, True, 10)
        assert session.channels == ((2, 0), (3, 1))


def test_the_ticket_is_the_password_and_a_zero_encrypted_for_the_server():
    heard = []
    with served(lambda connection: heard.append(accept(connection))) as connection:
        Channel(connection, PASSWORD, wire.Channel.INPUTS, 99, SECONDS).close()
    assert heard == [(99, wire.Channel.INPUTS, PASSWORD)]


@pytest.mark.parametrize("number", [7, 8, 1, 77])
def test_a_ticket_that_is_refused_says_why(number):
    with served(lambda connection: accept(connection, number) and None) as connection:
        with pytest.raises(RefusedError) as refused:
            Channel(connection, PASSWORD, wire.Channel.MAIN, 0, SECONDS)
        assert connection.fileno() == -1
    assert (refused.value.number, refused.value.step) == (number, "ticket")
    assert wire.error_name(7) == "PERMISSION_DENIED"
    assert wire.error_name(77) == "error 77"


def test_a_link_that_is_refused_says_why():
    def refuse(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(wire.LINK_HEADER.pack(b"REDQ", 2, 2, 4) + struct.pack("<I", LinkError.NEED_SECURED))

    with served(refuse) as connection, pytest.raises(RefusedError, match="link: NEED_SECURED"):
        Channel(connection, PASSWORD, wire.Channel.MAIN, 0, SECONDS)


def test_a_display_begins_with_its_caches_and_shows_a_surface_when_it_is_drawn_on():
    def display(connection: socket.socket) -> None:
        accept(connection)
        assert message(connection) == (wire.DISPLAY_INIT, wire.display_init())
        connection.sendall(wire.message(wire.Display.DRAW_FILL, b"on nothing"))
        connection.sendall(wire.message(wire.Display.SURFACE_CREATE, struct.pack("<5I", 0, 640, 480, 32, 1)))
        connection.sendall(wire.message(102) + wire.message(304, b"a picture"))

    with served(display) as connection, Channel(connection, PASSWORD, wire.Channel.DISPLAY, 5, SECONDS) as channel:
        assert first_surface(channel, SECONDS) == wire.Surface(0, 640, 480, 32, primary=True)


@pytest.mark.parametrize("connected", [True, False])
def test_the_agent_is_asked_and_its_answer_waited_for(connected):
    words, answer = (1, 2, 0xFFFFFFFF), (0xFFFFFFFF, 2, 1)

    def agent(connection: socket.socket) -> None:
        main_channel(connection, connected)
        if not connected:
            connection.sendall(wire.message(wire.Main.AGENT_CONNECTED))
        assert message(connection)[0] in (wire.MainReply.AGENT_START, wire.AnyChannelReply.ACK)
        while (told := message(connection))[0] != wire.MainReply.AGENT_DATA:
            pass
        assert struct.unpack("<IIQI4I", told[1]) == (1, 6, 0, 16, 1, *words)
        for said in ((5,), answer):  # the first is for somebody who has gone; both come in pieces of odd sizes
            whole = b"".join(wire.agent_message(6, wire.capabilities(said, request=False)))
            for at in range(0, len(whole), 7):
                connection.sendall(wire.message(wire.Main.AGENT_DATA, whole[at : at + 7]))
        drain(connection)

    with served(agent) as connection, Session(connection, PASSWORD, SECONDS) as session:
        session.exchange_capabilities(words, answer)


def test_an_agent_that_goes_away_is_told():
    def agent(connection: socket.socket) -> None:
        main_channel(connection)
        connection.sendall(wire.message(wire.Main.AGENT_DISCONNECTED, bytes(4)))
        drain(connection)

    with (
        served(agent) as connection,
        Session(connection, PASSWORD, SECONDS) as session,
        pytest.raises(ProtocolError, match="the agent went away"),
    ):
        session.exchange_capabilities((1,), (1,))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 400 Bad\r\n\r\n", "no SPICE server"),
        (wire.LINK_HEADER.pack(b"REDQ", 1, 0, 178), "SPICE 1.0"),
        (wire.LINK_HEADER.pack(b"REDQ", 2, 2, 1 << 30), "a link reply of 1073741824 bytes"),
        (wire.LINK_HEADER.pack(b"REDQ", 2, 2, 0), "a link reply of 0 bytes"),
        (wire.LINK_HEADER.pack(b"REDQ", 2, 2, 20) + bytes(20), "only 20 bytes"),
        (link_reply(offset=1 << 31), "outside of it"),
        (link_reply(common=wire.Capability.AUTH_SPICE), "the server lacks"),
        (link_reply(key=bytes(162)), "public key cannot be read"),
        (link_reply()[:100], "closed the connection after 84 of 182 bytes"),
        (b"", "closed the connection after 0 of 16 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the keys are other ones in each process
)
def test_a_server_that_does_not_speak_spice_is_named(said, words):
    def speak(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(said)

    with served(speak) as connection, pytest.raises(ProtocolError, match=words):
        Channel(connection, PASSWORD, wire.Channel.MAIN, 0, SECONDS)


def test_a_server_that_is_silent_is_left():
    done = threading.Event()
    with served(lambda connection: done.wait(SECONDS) and None) as connection:
        with pytest.raises(ProtocolError, match="did not answer in time"):
            Channel(connection, PASSWORD, wire.Channel.MAIN, 0, 0.05)
        done.set()


def test_a_server_that_only_keeps_busy_is_left():
    def ping(connection: socket.socket) -> None:
        accept(connection)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(wire.message(wire.AnyChannel.PING, bytes(12)))

    with served(ping) as connection, Channel(connection, PASSWORD, wire.Channel.INPUTS, 1, SECONDS) as channel:
        with pytest.raises(ProtocolError, match="in time"):
            channel.receive(0.1)
        channel.close()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (wire.MESSAGE_HEADER.pack(304, wire.MAX_MESSAGE + 1), "message 304 of"),
        (wire.message(wire.AnyChannel.DISCONNECTING, bytes(12)), "ended the channel"),
        (wire.message(304, b"x")[:-1], "after 0 of 1 bytes"),
    ],
)
def test_a_channel_that_goes_wrong_is_named(said, words):
    def speak(connection: socket.socket) -> None:
        accept(connection)
        connection.sendall(said)

    with (
        served(speak) as connection,
        Channel(connection, PASSWORD, wire.Channel.INPUTS, 1, SECONDS) as channel,
        pytest.raises(ProtocolError, match=words),
    ):
        channel.receive()


# -------------------------------------------------------------------------------------------------------------- wire


@given(some.binary(max_size=300))
def test_any_bytes_are_understood_or_refused(data):
    readers: tuple[Callable[[bytes], object], ...] = (
        wire.link_reply, wire.init, wire.channels, wire.surface, wire.announced_words, wire.AgentStream().feed,
    )  # fmt: skip
    for read in readers:
        with contextlib.suppress(ProtocolError):
            read(data)


def test_numbers_that_promise_too_much_are_refused():
    with pytest.raises(ProtocolError):
        wire.channels(struct.pack("<I", 1 << 31))
    with pytest.raises(ProtocolError):
        wire.surface(struct.pack("<5I", 0, 1 << 20, 1, 32, 1))
    with pytest.raises(ProtocolError):
        wire.AgentStream().feed(struct.pack("<IIQI", 1, 6, 0, wire.MAX_AGENT_MESSAGE + 1))


def test_a_long_message_to_the_agent_goes_in_chunks():
    chunks = wire.agent_message(4, bytes(5000))
    assert [len(chunk) for chunk in chunks] == [2048, 2048, 924]
    stream = wire.AgentStream()
    assert [message for chunk in chunks for message in stream.feed(chunk)] == [wire.AgentMessage(4, bytes(5000))]


def test_a_key_that_is_none_of_rsa_takes_no_ticket():
    with pytest.raises(ProtocolError, match="cannot be read"):
        ticket(PASSWORD, PUBLIC[:-5])


# --------------------------------------------------------------------------------------------------------------- TLS


def served_by_tls(with_certificates: certificates.Certificates, folder: Path) -> Script:
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(with_certificates.server)
    key.write_bytes(with_certificates.server_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"hello")

    return serve


def test_the_certificates_of_a_run_are_trusted_by_its_own_authority_alone(tmp_path):
    ours, others = certificates.issue(), certificates.issue()
    with (
        served(served_by_tls(ours, tmp_path)) as connection,
        server.start_tls(connection, certificates.client_context(ours.authority), SECONDS) as secured,
    ):
        assert secured.recv(5) == b"hello"
    with served(served_by_tls(ours, tmp_path)) as connection, pytest.raises(ssl.SSLCertVerificationError):
        server.start_tls(connection, certificates.client_context(others.authority), SECONDS)


# ---------------------------------------------------------------------------------------------------------- pictures


def ppm(pixels: np.ndarray, header: str = "P6\n{} {}\n255\n") -> bytes:
    return header.format(pixels.shape[1], pixels.shape[0]).encode() + pixels.tobytes()


def drawn(number: int, width: int = 1000, height: int = 600) -> np.ndarray:
    """The pattern, drawn pixel by pixel from its two rules."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x in range(width):
        if x // (width // 8) < 8:
            pixels[: height // 4, x] = list(bytes.fromhex(pattern.BARS[x // (width // 8)]))
        if x // (width // 32) < 32 and number >> (31 - x // (width // 32)) & 1:
            pixels[height // 4 : height // 4 + height // 16, x] = 255
    return pixels


def test_a_picture_goes_from_ppm_to_png_unchanged():
    pixels = np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)
    for header in ("P6\n{} {}\n255\n", "P6\n# by somebody\n{}\n{}\n255\n"):
        picture = read_ppm(ppm(pixels, header))
        assert (picture.width, picture.height) == (53, 37)
        with Image.open(io.BytesIO(picture.png()), formats=("PNG",)) as png:
            assert png.mode == "RGB"
            assert (np.array(png) == pixels).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"P5\n1 1\n255\n0",
        b"P6\n2 2\n255\n12345678901",
        b"P6\n0 9\n255\n",
        b"P6\n2 2\n65535\n",
        b"P3\n1 1\n255\n1 2 3\n",
        b"P6\n99999 99999\n255\n",
    ],
)
def test_what_is_no_whole_picture_is_refused(data):
    with pytest.raises(NoPictureError):
        read_ppm(data)


def test_pictures_are_compared_pixel_by_pixel():
    one = drawn(7)
    other = one.copy()
    other[3, 4, 1] ^= 0x40
    other[5, 6] ^= 1
    assert different(Picture(one), Picture(other)) == 2
    assert different(Picture(one), Picture(other), tolerance=1) == 1
    assert different(Picture(one), Picture(one[:-1])) == 600_000


@pytest.mark.parametrize(("width", "height"), [(1000, 600), (1024, 768), (1280, 800), (720, 400), (1366, 768)])
def test_the_pattern_is_found_where_it_is_drawn(width, height):
    assert pattern.Pattern(0xC0FFEE01).problem(Picture(drawn(0xC0FFEE01, width, height))) == ""


def test_the_pattern_is_not_found_elsewhere():
    shown = pattern.Pattern(0xC0FFEE01)
    assert shown.problem(Picture(drawn(0xC0FFEE03))).startswith(
        "square 31 of 32 is not 000000: 1147 of its 1147 pixels"
    )
    assert shown.problem(Picture(np.zeros((600, 1000, 3), np.uint8))).startswith("bar 1 of 8 is not ffffff")
    for pixel, what in (((0, 0), "bar 1"), ((149, 999), "bar 8"), ((150, 0), "square 1"), ((186, 991), "square 32")):
        flawed = drawn(0xC0FFEE01)
        flawed[pixel] ^= 0x20
        assert shown.problem(Picture(flawed)).startswith(f"{what} of "), pixel
    assert shown.problem(Picture(np.roll(drawn(0xC0FFEE01), 1, axis=1)))
    assert shown.problem(Picture(np.zeros((2, 2, 3), np.uint8)))


# ------------------------------------------------------------------------------------------------------------- suite


def test_each_target_that_ships_spice_has_display_devices():
    suite = next(suite for suite in SITE.suites if suite.name == "spice")
    for target in SITE.targets:
        variants = [name for name in target.machine.variants if name.startswith(spice.PREFIX)]
        devices = [spice.display_device(target.machine.variant(name)) for name in sorted(variants)]
        x86 = ["qxl-vga", "virtio-vga"]
        assert devices == {"x86_64": x86, "x86_64_v2": x86, "aarch64": ["virtio-gpu-pci"]}.get(target.name, [])
        assert suite.fits(target) == bool(devices)


def test_a_variant_without_a_display_is_a_mistake():
    with pytest.raises(CannotRun, match="no display device among -vga none"):
        spice.display_device(SITE.target("ppc64le").machine)


def test_the_scripts_of_the_guest_are_filled_in():
    distribution = SITE.distribution.model_copy(update={"title": "Kitten's BARS"})
    site = SITE.model_copy(update={"distribution": distribution})
    scripts = spice.guest_scripts(site, SITE.target("aarch64"), "virtio-gpu-pci", pattern.Pattern(1), ("one", "two"))
    draw, agent = scripts["1-draw.sh"].decode(), scripts["2-agent.sh"].decode()
    assert "for module in one two; do" in draw
    assert " ".join(pattern.BARS) in draw
    assert "com.redhat.spice.0" in agent
    assert """'Kitten'"'"'s BARS'""" in draw
    left = [word for word in ("MODULES", "WORDS", "SQUARES", "AGENT_PORT") if word in draw + agent]
    assert left == []


@pytest.mark.parametrize(
    "words",
    [
        "qemu-system-x86_64: -spice port=0: spice support is disabled",
        "qemu-kvm: -spice port=0: There is no option group 'spice'",
        "qemu-kvm: -spice: invalid option",
    ],
)
def test_a_qemu_without_spice_is_told_from_one_that_fails_otherwise(words):
    said = words.split("port=0: ")[-1].removeprefix("qemu-kvm: ")
    assert spice.why_not_up(f"QEMU did not start: {words}\nqemu -spice") == f"this QEMU has no SPICE: {said}"
    other = "QEMU did not start: 'qxl-vga' is not a valid device model name"
    assert spice.why_not_up(f"{other}\nqemu -spice port=0") == other


def test_a_server_inside_a_guest_listens_there_and_speaks_through_its_ports():
    words = inside.command(SITE.target("x86_64").machine.variant("spice-qxl"), "/usr/libexec/qemu-kvm")
    assert words[0] == "/usr/libexec/qemu-kvm"
    assert [word for word in words if "path=/run/inside-" in word] == [
        f"pipe,id={name},path=/run/inside-{name}" for name in ("monitor", "console", "tap")
    ]
    spoken = words[words.index("-spice") + 1]
    assert spoken.startswith("port=5900,tls-port=5901,addr=10.0.2.15,password-secret=ticket,x509-cacert-file=/inside/")
    assert "qxl-vga" in words
    assert not [word for word in words if "fd=" in word]


def test_the_emulator_of_packages_is_the_one_they_bring():
    target = SITE.target("x86_64")
    library = Entry("/usr/lib64/libspice-server.so.1", "file", 0o755)
    qemu = Entry("/usr/libexec/qemu-kvm", "file", 0o755)
    found = inside.packaged_emulator(target, [(library,), (qemu,)])
    assert (found.path, found.packages) == ("/usr/libexec/qemu-kvm", ((library,), (qemu,)))
    with pytest.raises(CannotRun, match="none of the packages brings /usr/libexec/qemu-kvm or"):
        inside.packaged_emulator(target, [(library,)])
