"""The questions that the ``spice`` suites ask a server; each answer becomes a case."""

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
from workers.lab.pictures import NoPictureError, Picture, different
from workers.lab.spice import certificates, pattern, screenshot, server, wire
from workers.lab.spice.client import Channel, RefusedError, Session, first_surface
from workers.lab.spice.server import Keys, Server
from workers.lab.spice.wire import LinkError, ProtocolError
from workers.results import Case

_SCREEN = re.compile(rb"# screen (\d+) (\d+) ")


class WrongAnswerError(Exception):
    """A question got the wrong answer; the text says which."""


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
    """Asks one question after the other; each becomes a case."""

    def __init__(self, prefix: str) -> None:
        """Begin.

        :param prefix: of the cases' names.
        """
        self.cases: list[Case] = []
        self._prefix = prefix

    @contextlib.contextmanager
    def ask(self, name: str) -> Iterator[list[str]]:
        """One question: passed, unless the block raises what a server can be blamed for.

        :yields: names of pictures that show the answer, for the block to add to.
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
    """See that the server refuses what the block asks, in this step and for one of these reasons."""
    try:
        yield
    except RefusedError as error:
        if error.step != step or error.number not in numbers:
            raise WrongAnswerError(f"refused, but not as it should be: {error}") from None
        return
    raise WrongAnswerError("it was not refused")


@contextlib.contextmanager
def _expect_no_picture(event: int, word: str = "") -> Iterator[None]:
    """See that the client gets no picture, for this reason and none else: a server that is gone gives none either."""
    try:
        yield
    except screenshot.NoScreenshotError as error:
        if error.event != event or word not in error.output:
            raise WrongAnswerError(f"no picture, but for another reason: {error}") from None
        return
    raise WrongAnswerError("it got one")


@dataclass(frozen=True)
class Subject:
    """A server under test, its guest, and what is known of both."""

    device: str
    guest: Guest
    server: Server
    keys: Keys
    drawn: pattern.Pattern
    seconds: float
    """That one answer may take."""
    logs: Path
    scratch: Path
    second_opinion: Callable[[], Picture] | None = None
    """QEMU's own picture."""

    def tls_connection(self, authority: bytes) -> ssl.SSLSocket:
        """A connection by TLS."""
        return server.start_tls(self.server.connect(tls=True), certificates.client_context(authority), self.seconds)

    def session(self, password: str) -> Session:
        """A session, in plain."""
        return Session(self.server.connect(tls=False), password, self.seconds)

    def picture(self, password: str, authority: bytes | None = None) -> Picture:
        """What spicy-screenshot gets."""
        with self.server.address(tls=authority is not None) as port:
            return screenshot.fetch(port, password, self.scratch, self.seconds, authority)

    def keep(self, what: str, picture: Picture) -> str:
        """Keep a picture among the logs. Its name there."""
        name = f"{self.device}{what}.png"
        (self.logs / name).write_bytes(picture.png())
        return name


def ask_before_drawing(subject: Subject, questions: Questions, extra: dict[str, str]) -> None:
    """Questions to the server of a guest whose screen shows nothing of ours yet."""
    with questions.ask("the server is up and wants a ticket"):
        told = subject.guest.qmp.command("query-spice")
        if not told.get("enabled") or told.get("auth") != "spice":
            raise WrongAnswerError(f"QEMU says of its server: {told}")
        version = subject.guest.qmp.command("query-version")["qemu"]
        extra["server"] = f"QEMU {version['major']}.{version['minor']}.{version['micro']}"
        extra["spice-server"] = str(told.get("compiled-version", ""))
    with questions.ask("a picture from before the guest draws does not pass for one after") as pictures:
        picture = subject.picture(subject.keys.password)
        pictures.append(subject.keep("-before", picture))
        if not subject.drawn.problem(picture):
            raise WrongAnswerError("the pattern was found where nobody had drawn it: the check below proves nothing")


def ask_after_drawing(subject: Subject, questions: Questions) -> None:
    """Questions to the server of a guest that shows the pattern."""
    ask_tickets(subject, questions)
    _channels(subject, questions)
    _pictures(subject, questions)
    ask_tls(subject, questions)


def ask_tickets(subject: Subject, questions: Questions) -> None:
    """Open sessions with the right password, a wrong one and an empty one."""
    with questions.ask("the right password opens a session"), subject.session(subject.keys.password) as session:
        if not session.init.session:
            raise WrongAnswerError("the session has no number")
    for what, password in (("a wrong", subject.keys.password[::-1] + "x"), ("an empty", "")):
        with questions.ask(f"{what} password is refused"), _expect_refusal("ticket", LinkError.PERMISSION_DENIED):
            subject.session(password).close()


def _channels(subject: Subject, questions: Questions) -> None:
    with questions.ask("every channel it lists opens"), subject.session(subject.keys.password) as session:
        needed = {int(wire.Channel.DISPLAY), int(wire.Channel.INPUTS), int(wire.Channel.CURSOR)}
        if missing := needed - {kind for kind, _ in session.channels}:
            raise WrongAnswerError(f"no channel of type {', '.join(map(str, sorted(missing)))} in {session.channels}")
        for kind, number in session.channels:
            is_secured = kind == wire.Channel[server.SECURED.upper()]
            way = (
                subject.tls_connection(subject.keys.certificates.authority)
                if is_secured
                else subject.server.connect(tls=False)
            )
            with session.open(way, kind, number) as channel:
                if kind == wire.Channel.DISPLAY:
                    channel.receive()
    with (
        questions.ask("a channel of no session is refused"),
        subject.session(subject.keys.password) as session,
        _expect_refusal("ticket", LinkError.BAD_CONNECTION_ID),  # the server looks for the session after the ticket
    ):
        other = session.init.session ^ 0x5A5A5A5A
        way = subject.server.connect(tls=False)
        Channel(way, subject.keys.password, wire.Channel.DISPLAY, other, subject.seconds).close()
    with questions.ask("the first surface is the guest's screen, and drawn on"):
        with subject.session(subject.keys.password) as session:
            display = session.open(subject.server.connect(tls=False), wire.Channel.DISPLAY)
            with display:
                surface = first_surface(display, subject.seconds)
        size = _screen(subject.guest)
        if not surface.primary or (surface.width, surface.height) != size:
            raise WrongAnswerError(f"the guest's screen has {size[0]} × {size[1]} pixels, the surface: {surface}")


def _screen(running: Guest) -> tuple[int, int]:
    """Width and height that the guest tells of its screen."""
    found = _SCREEN.search(bytes(running.talk.tap))
    if not found:
        raise WrongAnswerError("the guest told nothing of its screen")
    return int(found[1]), int(found[2])


def _pictures(subject: Subject, questions: Questions) -> None:
    picture = None
    with questions.ask("the picture that a client gets shows what the guest drew") as pictures:
        picture = subject.picture(subject.keys.password)
        pictures.append(subject.keep("", picture))
        if problem := subject.drawn.problem(picture):
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
            if count := different(picture, own, pattern.TOLERANCE):
                raise WrongAnswerError(f"{count} pixels differ")


def ask_tls(subject: Subject, questions: Questions) -> None:
    """Repeat the questions by TLS, with the right and with another authority."""
    authority, other = subject.keys.certificates.authority, certificates.issue().authority
    with questions.ask("TLS: a client that trusts the server's authority opens a session"):
        Session(subject.tls_connection(authority), subject.keys.password, subject.seconds).close()
    with questions.ask("TLS: a wrong password is refused"), _expect_refusal("ticket", LinkError.PERMISSION_DENIED):
        Session(subject.tls_connection(authority), subject.keys.password[::-1] + "x", subject.seconds).close()
    with questions.ask("TLS: a client that trusts another authority turns away"):
        try:
            subject.tls_connection(other).close()
        except ssl.SSLCertVerificationError:
            pass
        else:
            raise WrongAnswerError("it did not")
    with (
        questions.ask(f"TLS: the {server.SECURED} channel does not open without"),
        subject.session(subject.keys.password) as session,
        _expect_refusal("link", LinkError.NEED_SECURED),
    ):
        session.open(subject.server.connect(tls=False), wire.Channel[server.SECURED.upper()]).close()
    with questions.ask("TLS: the picture that a client gets shows what the guest drew") as pictures:
        picture = subject.picture(subject.keys.password, authority)
        pictures.append(subject.keep("-tls", picture))
        if problem := subject.drawn.problem(picture):
            raise WrongAnswerError(problem)
    with (
        questions.ask("TLS: a client that trusts another authority gets no picture"),
        _expect_no_picture(screenshot.TLS, "certificate"),
    ):
        subject.picture(subject.keys.password, other)


def ask_agent(subject: Subject, questions: Questions) -> None:
    """Speak to the guest's agent, and end it."""
    words = tuple(secrets.randbits(32) for _ in range(3))
    told = b"# words " + b"".join(word.to_bytes(4, "little") for word in words).hex().encode()
    with questions.ask("the agent and a client hear each other"):
        with subject.session(subject.keys.password) as session:
            session.exchange_capabilities(words, words[::-1])
            session.announce_capabilities(words)  # which ends the agent
            subject.guest.wait(lambda talk: talk.tap.count(told) == 2 or talk.ending, subject.seconds)
        if subject.guest.talk.tap.count(told) != 2:
            raise WrongAnswerError("the agent answered, but the guest does not tell of the same words")
