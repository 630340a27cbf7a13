"""The questions that the ``spice`` suites ask a server. Each answer becomes a case."""

from __future__ import annotations

import contextlib
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.lab.machine.launch import Guest
from workers.lab.machine.qmp import QmpError
from workers.lab.pictures import NoPictureError, Picture, count_different_pixels
from workers.lab.spice import certificates, pattern, screenshot, server, wire
from workers.lab.spice.client import Channel, RefusedError, Session, first_surface
from workers.lab.spice.server import Keys, Server
from workers.lab.spice.wire import LinkError, ProtocolError
from workers.results import Case

_SCREEN = re.compile(rb"# screen (\d{1,9}) (\d{1,9}) ")


class WrongAnswerError(Exception):
    """The server gave a wrong answer, which the text describes."""


_FAILURES = (
    WrongAnswerError,
    ProtocolError,
    RefusedError,
    QmpError,
    NoPictureError,
    screenshot.NoScreenshotError,
    OSError,
)


class Questions:
    """The cases of all questions to one server."""

    def __init__(self, prefix: str) -> None:
        """Begin without cases.

        :param prefix: the beginning of the cases' names.
        """
        self.cases: list[Case] = []
        self._prefix = prefix

    @contextlib.contextmanager
    def ask(self, name: str) -> Iterator[list[str]]:
        """Ask one question. Its case passed, unless the block raises an error that the server can cause.

        :yields: an empty list, to which the block can add the names of pictures of the answer.
        """
        begun, problem = time.monotonic(), ""
        pictures: list[str] = []
        try:
            yield pictures
        except _FAILURES as error:
            problem = str(error) or type(error).__name__
        self.cases.append(
            Case(
                name=f"{self._prefix}: {name}",
                outcome="failed" if problem else "passed",
                reason=problem,
                seconds=round(time.monotonic() - begun, 3),
                pictures=tuple(pictures),
            )
        )


@contextlib.contextmanager
def _expect_refusal(step: str, *numbers: LinkError) -> Iterator[None]:
    """Check that the server refuses the block, in this step and with one of these errors."""
    try:
        yield
    except RefusedError as error:
        if error.step != step or error.number not in numbers:
            raise WrongAnswerError(f"refused with the wrong error: {error}") from None
        return
    raise WrongAnswerError("the server did not refuse it")


@contextlib.contextmanager
def _expect_no_picture(event: int, word: str = "") -> Iterator[None]:
    """Check that the client gets no picture for exactly this reason: a stopped server gives no picture, either.

    :param event: the channel event that the client reports.
    :param word: text that its output must contain.
    """
    try:
        yield
    except screenshot.NoScreenshotError as error:
        if error.event != event or word not in error.output:
            raise WrongAnswerError(f"the client got no picture, but for another reason: {error}") from None
        return
    raise WrongAnswerError("the client got a picture")


@dataclass(frozen=True)
class Subject:
    """A server under test and its guest."""

    device: str
    guest: Guest
    server: Server
    keys: Keys
    expected: pattern.Pattern
    """The pattern that the guest draws."""
    seconds: float
    """Limit for one answer."""
    logs: Path
    scratch: Path
    second_opinion: Callable[[], Picture] | None = None
    """Makes QEMU's own picture of the screen."""

    def tls_connection(self, authority: bytes) -> ssl.SSLSocket:
        """Open a connection by TLS."""
        return server.start_tls(self.server.connect(tls=True), certificates.client_context(authority), self.seconds)

    def session(self, password: str) -> Session:
        """Open a session without TLS."""
        return Session(self.server.connect(tls=False), password, self.seconds)

    def picture(self, password: str, authority: bytes | None = None) -> Picture:
        """Get a picture with spicy-screenshot."""
        with self.server.address(tls=authority is not None) as port:
            return screenshot.fetch(port, password, self.scratch, self.seconds, authority)

    def keep(self, what: str, picture: Picture) -> str:
        """Write a picture to the logs.

        :returns: its name there.
        """
        name = f"{self.device}{what}.png"
        (self.logs / name).write_bytes(picture.png())
        return name


def ask_before_drawing(subject: Subject, questions: Questions, extra: dict[str, str]) -> None:
    """Ask the questions for which the guest must not draw yet."""
    with questions.ask("the server is up and requires a ticket"):
        status = subject.guest.qmp.command("query-spice")
        if not status.get("enabled") or status.get("auth") != "spice":
            raise WrongAnswerError(f"QEMU reports about its server: {status}")
        version = subject.guest.qmp.command("query-version")["qemu"]
        extra["server"] = f"QEMU {version['major']}.{version['minor']}.{version['micro']}"
        extra["spice-server"] = str(status.get("compiled-version", ""))
    with questions.ask("a picture from before the guest draws does not show the pattern") as pictures:
        picture = subject.picture(subject.keys.password)
        pictures.append(subject.keep("-before", picture))
        if not subject.expected.problem(picture):
            raise WrongAnswerError("the picture shows the pattern before it is drawn, so the next checks prove nothing")


def ask_after_drawing(subject: Subject, questions: Questions) -> None:
    """Ask the questions for which the guest must show the pattern."""
    ask_tickets(subject, questions)
    _ask_channels(subject, questions)
    _ask_pictures(subject, questions)
    ask_tls(subject, questions)


def ask_tickets(subject: Subject, questions: Questions) -> None:
    """Open sessions with the right password, a wrong one and an empty one."""
    with questions.ask("the right password opens a session"), subject.session(subject.keys.password) as session:
        if not session.init.session:
            raise WrongAnswerError("the session has no number")
    for what, password in (("a wrong", subject.keys.password[::-1] + "x"), ("an empty", "")):
        with questions.ask(f"{what} password is refused"), _expect_refusal("ticket", LinkError.PERMISSION_DENIED):
            subject.session(password).close()


def _ask_channels(subject: Subject, questions: Questions) -> None:
    with questions.ask("every listed channel opens"), subject.session(subject.keys.password) as session:
        needed = {int(wire.Channel.DISPLAY), int(wire.Channel.INPUTS), int(wire.Channel.CURSOR)}
        if missing := needed - {kind for kind, _ in session.channels}:
            raise WrongAnswerError(f"no channel of type {', '.join(map(str, sorted(missing)))} in {session.channels}")
        for kind, number in session.channels:
            is_secured = kind == wire.Channel[server.SECURED.upper()]
            connection = (
                subject.tls_connection(subject.keys.certificates.authority)
                if is_secured
                else subject.server.connect(tls=False)
            )
            with session.open(connection, kind, number) as channel:
                if kind == wire.Channel.DISPLAY:
                    channel.receive()
    with (
        questions.ask("a channel without a session is refused"),
        subject.session(subject.keys.password) as session,
        _expect_refusal("ticket", LinkError.BAD_CONNECTION_ID),  # the server checks the session after the ticket
    ):
        other = session.init.session ^ 0x5A5A5A5A
        connection = subject.server.connect(tls=False)
        Channel(connection, subject.keys.password, wire.Channel.DISPLAY, other, subject.seconds).close()
    with questions.ask("the first surface is the guest's screen, and the server draws on it"):
        with subject.session(subject.keys.password) as session:
            display = session.open(subject.server.connect(tls=False), wire.Channel.DISPLAY)
            with display:
                surface = first_surface(display, subject.seconds)
        size = _screen(subject.guest)
        if not surface.primary or (surface.width, surface.height) != size:
            raise WrongAnswerError(f"the guest's screen has {size[0]} × {size[1]} pixels, the surface: {surface}")


def _screen(running: Guest) -> tuple[int, int]:
    """The width and height of the guest's screen, from its report."""
    found = _SCREEN.search(bytes(running.talk.tap))
    if not found:
        raise WrongAnswerError("the guest did not report the size of its screen")
    return int(found[1]), int(found[2])


def _ask_pictures(subject: Subject, questions: Questions) -> None:
    picture = None
    with questions.ask("a client's picture shows the pattern") as pictures:
        picture = subject.picture(subject.keys.password)
        pictures.append(subject.keep("", picture))
        if problem := subject.expected.problem(picture):
            raise WrongAnswerError(problem)
    with (
        questions.ask("a client with a wrong password gets no picture"),
        _expect_no_picture(screenshot.AUTHENTICATION),
    ):
        subject.picture(subject.keys.password[::-1] + "x")
    if subject.second_opinion and picture:
        with questions.ask("QEMU's own picture is the same") as pictures:
            own = subject.second_opinion()
            pictures.append(subject.keep("-qemu", own))
            if count := count_different_pixels(picture, own, pattern.TOLERANCE):
                raise WrongAnswerError(f"{count} pixels differ")


def ask_tls(subject: Subject, questions: Questions) -> None:
    """Repeat the questions by TLS, with the right and with another authority."""
    authority, other = subject.keys.certificates.authority, certificates.issue().authority
    with questions.ask("TLS: a client that trusts the server's authority opens a session"):
        Session(subject.tls_connection(authority), subject.keys.password, subject.seconds).close()
    with questions.ask("TLS: a wrong password is refused"), _expect_refusal("ticket", LinkError.PERMISSION_DENIED):
        Session(subject.tls_connection(authority), subject.keys.password[::-1] + "x", subject.seconds).close()
    with questions.ask("TLS: a client that trusts another authority does not connect"):
        try:
            subject.tls_connection(other).close()
        except ssl.SSLCertVerificationError:
            pass
        else:
            raise WrongAnswerError("the client connected")
    with (
        questions.ask(f"TLS: the {server.SECURED} channel does not open without TLS"),
        subject.session(subject.keys.password) as session,
        _expect_refusal("link", LinkError.NEED_SECURED),
    ):
        session.open(subject.server.connect(tls=False), wire.Channel[server.SECURED.upper()]).close()
    with questions.ask("TLS: a client's picture shows the pattern") as pictures:
        picture = subject.picture(subject.keys.password, authority)
        pictures.append(subject.keep("-tls", picture))
        if problem := subject.expected.problem(picture):
            raise WrongAnswerError(problem)
    with (
        questions.ask("TLS: a client that trusts another authority gets no picture"),
        _expect_no_picture(screenshot.TLS, "certificate"),
    ):
        subject.picture(subject.keys.password, other)


def ask_agent(subject: Subject, questions: Questions) -> None:
    """Exchange capabilities with the guest's agent, and end it."""
    words = tuple(secrets.randbits(32) for _ in range(3))
    line = b"# words " + b"".join(word.to_bytes(4, "little") for word in words).hex().encode()
    with questions.ask("the agent and a client exchange messages"):
        with subject.session(subject.keys.password) as session:
            session.exchange_capabilities(words, words[::-1])
            session.announce_capabilities(words)  # which ends the agent
            subject.guest.wait(lambda talk: talk.tap.count(line) == 2 or talk.ending, subject.seconds)
        if subject.guest.talk.tap.count(line) != 2:
            raise WrongAnswerError(
                "the agent answered, but the guest did not report the capabilities that the client sent"
            )
