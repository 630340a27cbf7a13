"""The suites ``spice`` and ``spice-guest``: a SPICE server is asked for a picture, and all on the way to it, and must refuse the rest.

One guest for each machine variant whose name begins with ``spice-``: its display device is the variant's. The guest draws a
pattern with a number of this run's own; spicy-screenshot, a real client, must bring it back, and QEMU's own picture must be the
same. A picture from before the guest drew is the control: the same check must not find the pattern there.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.models import Machine, Site, Target
from workers.base.errors import CannotRun
from workers.lab.guest import file_system as guest
from workers.lab.guest import saved
from workers.lab.guest.file_system import Base
from workers.lab.guest.kernel import further_modules
from workers.lab.judge import judge
from workers.lab.machine.launch import Guest, LaunchFailedError
from workers.lab.machine.qmp import QmpError
from workers.lab.pictures import NoPictureError, Picture, count_different_pixels, read_ppm
from workers.lab.spice import certificates, inside, pattern, screenshot, server, wire
from workers.lab.spice.client import Channel, RefusedError, Session, first_surface
from workers.lab.spice.inside import Emulator
from workers.lab.spice.server import Keys, Server
from workers.lab.spice.wire import LinkError, ProtocolError
from workers.lab.suites import Report, Request, packages
from workers.results import Case

PREFIX = "spice-"
"""Of the machine variants that are tested."""

IN_GUEST = "spice-guest"
"""The suite's other name: with this one the server never is the host's."""

_DRIVERS = {"qxl": "qxl", "qxl-vga": "qxl", "virtio-vga": "virtio_gpu", "virtio-gpu-pci": "virtio_gpu"}
"""Display device → kernel module."""

_ANSWER_SECONDS = 5.0  # of an idle machine with KVM: one answer of the server, one picture
_DRAWN = b"- 1-draw.sh"  # the end of the first script
_NO_SPICE = re.compile(r"spice support is disabled|There is no option group 'spice'|-spice: invalid option")
_SCREEN = re.compile(rb"# screen (\d+) (\d+) ")
_SCRIPTS = Path(server.__file__).parent


class WrongError(Exception):
    """A question got the wrong answer; the text says which."""


_FAILURES = (WrongError, ProtocolError, RefusedError, QmpError, NoPictureError, screenshot.NoScreenshotError, OSError)


def run(request: Request) -> Report:
    """Ask a SPICE server, once for each display device of the target's machine variants.

    Of packages, the QEMU they bring is asked, inside a guest. Without any it is this host's own, or, for ``IN_GUEST``, Debian's
    inside a guest.

    :raises CannotRun: no QEMU, no spicy-screenshot, no variant with a display device.
    """
    screenshot.needed()
    target = request.target
    machines = {
        name: target.machine.variant(name) for name in sorted(target.machine.variants) if name.startswith(PREFIX)
    }
    if not machines:
        raise CannotRun(
            f"{target.name} has no machine variant {PREFIX}…", "add one with a display device to targets.yaml"
        )
    emulator = None
    if request.packages:
        payloads = packages.laid_out(
            request.site, target, request.state, request.packages, request.scratch, request.extra
        )
        emulator = inside.of_packages(target, payloads)
    elif request.suite.name == IN_GUEST:
        emulator = inside.of_debian(target)
    base = guest.base(target)
    cases: list[Case] = []
    extra: dict[str, str] = {}
    for machine in list(machines.values())[: 1 if request.quick else None]:
        cases += _tested(request, base, machine, emulator, extra)
    return Report.on(base, cases, extra=extra)


def display_device(machine: Machine) -> str:
    """The display device among a machine's arguments.

    :raises CannotRun: when there is none that the guest has a driver for.
    """
    for option, value in zip(machine.arguments, machine.arguments[1:], strict=False):
        if option == "-device" and (name := value.split(",")[0]) in _DRIVERS:
            return name
    raise CannotRun(
        f"no display device among {' '.join(machine.arguments) or 'no arguments'}",
        f"give the variant in targets.yaml one of {', '.join(sorted(_DRIVERS))}",
    )


def tests(
    site: Site, target: Target, device: str, drawn: pattern.Pattern, modules: Sequence[str]
) -> Mapping[str, bytes]:
    """The scripts of the guest: one draws, the other is the agent."""
    words = (site.distribution.title, f"{target.name}: {target.description}", f"{device}, by SPICE")
    return {
        "1-draw.sh": _filled(
            "draw.sh",
            MODULES=" ".join(modules),
            WORDS=shlex.join(words),
            BARS=" ".join(pattern.BARS),
            SQUARES=" ".join(drawn.squares),
        ),
        "2-agent.sh": _filled("agent.sh", AGENT_PORT=server.AGENT_PORT),
    }


def _filled(name: str, **values: str) -> bytes:
    text = (_SCRIPTS / name).read_text()
    return re.sub("|".join(values), lambda found: values[found[0]], text).encode()


# --------------------------------------------------------------------------------------------------------- questions


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
def _refused(step: str, *numbers: LinkError) -> Iterator[None]:
    """See that the server refuses what the block asks, in this step and for one of these reasons."""
    try:
        yield
    except RefusedError as error:
        if error.step != step or error.number not in numbers:
            raise WrongError(f"refused, but not as it should be: {error}") from None
        return
    raise WrongError("it was not refused")


@contextlib.contextmanager
def _no_picture(event: int, word: str = "") -> Iterator[None]:
    """See that the client gets no picture, for this reason and none else: a server that is gone gives none either."""
    try:
        yield
    except screenshot.NoScreenshotError as error:
        if error.event != event or word not in error.output:
            raise WrongError(f"no picture, but for another reason: {error}") from None
        return
    raise WrongError("it got one")


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

    def secured(self, authority: bytes) -> ssl.SSLSocket:
        """A connection by TLS."""
        return server.secured(self.server.connect(tls=True), certificates.trusting(authority), self.seconds)

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


def before_it_draws(about: Subject, questions: Questions, extra: dict[str, str]) -> None:
    """Questions to the server of a guest whose screen shows nothing of ours yet."""
    with questions.ask("the server is up and wants a ticket"):
        told = about.guest.qmp.command("query-spice")
        if not told.get("enabled") or told.get("auth") != "spice":
            raise WrongError(f"QEMU says of its server: {told}")
        version = about.guest.qmp.command("query-version")["qemu"]
        extra["server"] = f"QEMU {version['major']}.{version['minor']}.{version['micro']}"
        extra["spice-server"] = str(told.get("compiled-version", ""))
    with questions.ask("a picture from before the guest draws does not pass for one after") as pictures:
        picture = about.picture(about.keys.password)
        pictures.append(about.keep("-before", picture))
        if not about.drawn.problem(picture):
            raise WrongError("the pattern was found where nobody had drawn it: the check below proves nothing")


def when_it_has_drawn(about: Subject, questions: Questions) -> None:
    """Questions to the server of a guest that shows the pattern."""
    _tickets(about, questions)
    _channels(about, questions)
    _pictures(about, questions)
    _tls(about, questions)


def _tickets(about: Subject, questions: Questions) -> None:
    with questions.ask("the right password opens a session"), about.session(about.keys.password) as session:
        if not session.init.session:
            raise WrongError("the session has no number")
    for what, password in (("a wrong", about.keys.password[::-1] + "x"), ("an empty", "")):
        with questions.ask(f"{what} password is refused"), _refused("ticket", LinkError.PERMISSION_DENIED):
            about.session(password).close()


def _channels(about: Subject, questions: Questions) -> None:
    with questions.ask("every channel it lists opens"), about.session(about.keys.password) as session:
        needed = {int(wire.Channel.DISPLAY), int(wire.Channel.INPUTS), int(wire.Channel.CURSOR)}
        if missing := needed - {kind for kind, _ in session.channels}:
            raise WrongError(f"no channel of type {', '.join(map(str, sorted(missing)))} in {session.channels}")
        for kind, number in session.channels:
            is_secured = kind == wire.Channel[server.SECURED.upper()]
            way = about.secured(about.keys.certificates.authority) if is_secured else about.server.connect(tls=False)
            with session.open(way, kind, number) as channel:
                if kind == wire.Channel.DISPLAY:
                    channel.receive()
    with (
        questions.ask("a channel of no session is refused"),
        about.session(about.keys.password) as session,
        _refused("ticket", LinkError.BAD_CONNECTION_ID),  # the server looks for the session after the ticket
    ):
        other = session.init.session ^ 0x5A5A5A5A
        way = about.server.connect(tls=False)
        Channel(way, about.keys.password, wire.Channel.DISPLAY, other, about.seconds).close()
    with questions.ask("the first surface is the guest's screen, and drawn on"):
        with about.session(about.keys.password) as session:
            display = session.open(about.server.connect(tls=False), wire.Channel.DISPLAY)
            with display:
                surface = first_surface(display, about.seconds)
        size = _screen(about.guest)
        if not surface.primary or (surface.width, surface.height) != size:
            raise WrongError(f"the guest's screen has {size[0]} × {size[1]} pixels, the surface: {surface}")


def _screen(running: Guest) -> tuple[int, int]:
    """Width and height that the guest tells of its screen."""
    found = _SCREEN.search(bytes(running.talk.tap))
    if not found:
        raise WrongError("the guest told nothing of its screen")
    return int(found[1]), int(found[2])


def _pictures(about: Subject, questions: Questions) -> None:
    picture = None
    with questions.ask("the picture that a client gets shows what the guest drew") as pictures:
        picture = about.picture(about.keys.password)
        pictures.append(about.keep("", picture))
        if problem := about.drawn.problem(picture):
            raise WrongError(problem)
    with (
        questions.ask("a client with a wrong password gets no picture"),
        _no_picture(screenshot.AUTHENTICATION),
    ):
        about.picture(about.keys.password[::-1] + "x")
    if about.second_opinion and picture:
        with questions.ask("QEMU's own picture is the same") as pictures:
            own = about.second_opinion()
            pictures.append(about.keep("-qemu", own))
            if count := count_different_pixels(picture, own, pattern.TOLERANCE):
                raise WrongError(f"{count} pixels differ")


def _tls(about: Subject, questions: Questions) -> None:
    authority, other = about.keys.certificates.authority, certificates.issue().authority
    with questions.ask("TLS: a client that trusts the server's authority opens a session"):
        Session(about.secured(authority), about.keys.password, about.seconds).close()
    with questions.ask("TLS: a wrong password is refused"), _refused("ticket", LinkError.PERMISSION_DENIED):
        Session(about.secured(authority), about.keys.password[::-1] + "x", about.seconds).close()
    with questions.ask("TLS: a client that trusts another authority turns away"):
        try:
            about.secured(other).close()
        except ssl.SSLCertVerificationError:
            pass
        else:
            raise WrongError("it did not")
    with (
        questions.ask(f"TLS: the {server.SECURED} channel does not open without"),
        about.session(about.keys.password) as session,
        _refused("link", LinkError.NEED_SECURED),
    ):
        session.open(about.server.connect(tls=False), wire.Channel[server.SECURED.upper()]).close()
    with questions.ask("TLS: the picture that a client gets shows what the guest drew") as pictures:
        picture = about.picture(about.keys.password, authority)
        pictures.append(about.keep("-tls", picture))
        if problem := about.drawn.problem(picture):
            raise WrongError(problem)
    with (
        questions.ask("TLS: a client that trusts another authority gets no picture"),
        _no_picture(screenshot.TLS, "certificate"),
    ):
        about.picture(about.keys.password, other)


def agent(about: Subject, questions: Questions) -> None:
    """Speak to the guest's agent, and end it."""
    words = tuple(secrets.randbits(32) for _ in range(3))
    told = b"# words " + b"".join(word.to_bytes(4, "little") for word in words).hex().encode()
    with questions.ask("the agent and a client hear each other"):
        with about.session(about.keys.password) as session:
            session.ask_agent(words, words[::-1])
            session.tell_agent(words)  # which ends the agent
            about.guest.wait(lambda talk: talk.tap.count(told) == 2 or talk.ending, about.seconds)
        if about.guest.talk.tap.count(told) != 2:
            raise WrongError("the agent answered, but the guest does not tell of the same words")


# ------------------------------------------------------------------------------------------------------- one device


def _tested(
    request: Request, base: Base, machine: Machine, emulator: Emulator | None, extra: dict[str, str]
) -> tuple[Case, ...]:
    """The cases of one display device.

    :param emulator: the QEMU under test, inside a guest; none: that of this host.
    """
    device = display_device(machine)
    questions = Questions(device)
    modules = further_modules(base.target, [_DRIVERS[device]])
    drawn = pattern.Pattern(secrets.randbits(pattern.BITS))
    scripts = tests(request.site, base.target, device, drawn, [module.stem for module in modules])
    payload = guest.payload_archive(tests=scripts, modules=modules)
    keys = Keys()
    if emulator:
        way = inside.running(base, machine, emulator, keys, payload, request.logs, device)
    else:
        way = server.running(base, machine, keys, payload, request.logs, device)
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(way)
        except LaunchFailedError as error:
            name = f"{device}: a guest with a SPICE server comes up"
            return (Case(name=name, outcome="failed", reason=why_not_up(str(error)), detail=str(error)),)
        about = Subject(
            device=device,
            guest=running.guest,
            server=running.server,
            keys=keys,
            drawn=drawn,
            seconds=_ANSWER_SECONDS * running.factor,
            logs=request.logs,
            scratch=request.scratch,
            # Inside a guest QEMU writes where nobody reads.
            second_opinion=None if running.outer else lambda: _screendump(running.guest, request.scratch),
        )
        before_it_draws(about, questions, extra)
        saved.send_go(running.guest)
        running.guest.wait(lambda talk: _DRAWN in talk.tap, request.suite.timeout_seconds * running.factor)
        when_it_has_drawn(about, questions)
        agent(about, questions)
        told = [(device, running.guest.finish(about.seconds))]
        if running.outer:
            told.append((f"{device}: the outer guest", running.outer.finish(about.seconds)))
    judged = [
        case.model_copy(update={"name": f"{prefix}: {case.name}"})
        for prefix, talk in told
        for case in judge(talk, about.seconds)
    ]
    return (*questions.cases, *judged)


def why_not_up(text: str) -> str:
    """Why there is no guest with a SPICE server, in a line; QEMUs without SPICE say it in several ways."""
    if found := _NO_SPICE.search(text):
        return f"this QEMU has no SPICE: {found[0]}"
    return text.partition("\n")[0]


def _screendump(running: Guest, scratch: Path) -> Picture:
    file = scratch / "screendump.ppm"
    running.qmp.command("screendump", filename=str(file))
    return read_ppm(file.read_bytes())
