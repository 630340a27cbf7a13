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
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.models import Machine, Site, Target
from workers.base.errors import CannotRun
from workers.lab.guest import file_system as guest
from workers.lab.guest import saved
from workers.lab.guest.file_system import Base
from workers.lab.guest.kernel import further_modules
from workers.lab.judge import judge
from workers.lab.machine.launch import Guest, LaunchFailedError
from workers.lab.pictures import Picture, read_ppm
from workers.lab.spice import inside, pattern, screenshot, server
from workers.lab.spice.inside import Emulator
from workers.lab.spice.server import Keys
from workers.lab.suites import Report, Request, package_files
from workers.lab.suites.spice_questions import Questions, Subject, ask_after_drawing, ask_agent, ask_before_drawing
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
_SCRIPTS = Path(server.__file__).parent


def run(request: Request) -> Report:
    """Ask a SPICE server, once for each display device of the target's machine variants.

    Of packages, the QEMU they bring is asked, inside a guest. Without any it is this host's own, or, for ``IN_GUEST``, Debian's
    inside a guest.

    :raises CannotRun: no QEMU, no spicy-screenshot, no variant with a display device.
    """
    screenshot.require_client()
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
        payloads = package_files.unpack_with_needs(
            request.site, target, request.state, request.packages, request.scratch, request.extra
        )
        emulator = inside.packaged_emulator(target, payloads)
    elif request.suite.name == IN_GUEST:
        emulator = inside.debian_emulator(target)
    base = guest.base(target)
    cases: list[Case] = []
    extra: dict[str, str] = {}
    for machine in list(machines.values())[: 1 if request.quick else None]:
        cases += _device_cases(request, base, machine, emulator, extra)
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


def guest_scripts(
    site: Site, target: Target, device: str, drawn: pattern.Pattern, modules: Sequence[str]
) -> Mapping[str, bytes]:
    """The scripts of the guest: one draws, the other is the agent."""
    words = (site.distribution.title, f"{target.name}: {target.description}", f"{device}, by SPICE")
    return {
        "1-draw.sh": _fill_in(
            "draw.sh",
            MODULES=" ".join(modules),
            WORDS=shlex.join(words),
            BARS=" ".join(pattern.BARS),
            SQUARES=" ".join(drawn.squares),
        ),
        "2-agent.sh": _fill_in("agent.sh", AGENT_PORT=server.AGENT_PORT),
    }


def _fill_in(name: str, **values: str) -> bytes:
    text = (_SCRIPTS / name).read_text()
    return re.sub("|".join(values), lambda found: values[found[0]], text).encode()


def _device_cases(
    request: Request, base: Base, machine: Machine, emulator: Emulator | None, extra: dict[str, str]
) -> tuple[Case, ...]:
    """The cases of one display device.

    :param emulator: the QEMU under test, inside a guest; none: that of this host.
    """
    device = display_device(machine)
    questions = Questions(device)
    modules = further_modules(base.target, [_DRIVERS[device]])
    drawn = pattern.Pattern(secrets.randbits(pattern.BITS))
    scripts = guest_scripts(request.site, base.target, device, drawn, [module.stem for module in modules])
    payload = guest.payload_archive(tests=scripts, modules=modules)
    keys = Keys()
    if emulator:
        way = inside.start(base, machine, emulator, keys, payload, request.logs, device)
    else:
        way = server.start(base, machine, keys, payload, request.logs, device)
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(way)
        except LaunchFailedError as error:
            name = f"{device}: a guest with a SPICE server comes up"
            return (Case(name=name, outcome="failed", reason=why_not_up(str(error)), detail=str(error)),)
        subject = Subject(
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
        ask_before_drawing(subject, questions, extra)
        saved.tell(running.guest)
        running.guest.wait(lambda talk: _DRAWN in talk.tap, request.suite.timeout_seconds * running.factor)
        ask_after_drawing(subject, questions)
        ask_agent(subject, questions)
        told = [(device, running.guest.finish(subject.seconds))]
        if running.outer:
            told.append((f"{device}: the outer guest", running.outer.finish(subject.seconds)))
    judged = [
        case.model_copy(update={"name": f"{prefix}: {case.name}"})
        for prefix, talk in told
        for case in judge(talk, subject.seconds)
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
