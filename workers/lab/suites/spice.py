"""The suites ``spice`` and ``spice-guest``: clients open sessions and get pictures; the server refuses wrong requests.

One guest runs for each machine variant whose name begins with ``spice-``, with the display device of the variant. The
guest draws a pattern that contains a random number. A real client, spicy-screenshot, must show the pattern, and QEMU's
own picture must be the same. The control is a picture from before the guest draws: the same check must not find the
pattern there.
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
"""The names of the tested machine variants begin with this."""

IN_GUEST = "spice-guest"
"""The name of the suite whose server always runs inside a guest."""

_DRIVERS = {"qxl": "qxl", "qxl-vga": "qxl", "virtio-vga": "virtio_gpu", "virtio-gpu-pci": "virtio_gpu"}
"""Display device → kernel module."""

_ANSWER_SECONDS = 5.0  # for one answer of the server or one picture, on an idle machine with KVM
_DRAWN = b"- 1-draw.sh"  # the report has it when the first script ends
_NO_SPICE = re.compile(r"spice support is disabled|There is no option group 'spice'|-spice: invalid option")
_SCRIPTS = Path(server.__file__).parent


def run(request: Request) -> Report:
    """Test a SPICE server with each display device of the target's machine variants.

    With packages, it is the server of their QEMU, inside a guest. Without packages it is this host's QEMU, or, for
    ``IN_GUEST``, Debian's QEMU inside a guest.

    :raises CannotRun: if QEMU, spicy-screenshot or a variant with a display device is missing.
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
    return Report.of_guests(base, cases, extra=extra)


def display_device(machine: Machine) -> str:
    """The display device among a machine's arguments.

    :raises CannotRun: if the arguments name no device that the guest has a driver for.
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
    """The scripts of the guest: one draws, one is the agent.

    :param modules: names of the kernel modules that the display needs.
    """
    lines = (site.distribution.title, f"{target.name}: {target.description}", f"{device}, by SPICE")
    return {
        "1-draw.sh": _fill_in(
            "draw.sh",
            MODULES=" ".join(modules),
            WORDS=shlex.join(lines),
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
    """Test one display device.

    :param emulator: the QEMU under test, which runs inside a guest; None: QEMU of this host.
    :param extra: gets the versions of the server.
    """
    device = display_device(machine)
    questions = Questions(device)
    modules = further_modules(base.target, [_DRIVERS[device]])
    drawn = pattern.Pattern(secrets.randbits(pattern.BITS))
    scripts = guest_scripts(request.site, base.target, device, drawn, [module.stem for module in modules])
    payload = guest.payload_archive(tests=scripts, modules=modules)
    keys = Keys()
    if emulator:
        start = inside.start(base, machine, emulator, keys, payload, request.logs, device)
    else:
        start = server.start(base, machine, keys, payload, request.logs, device)
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(start)
        except LaunchFailedError as error:
            name = f"{device}: a guest with a SPICE server comes up"
            return (Case(name=name, outcome="failed", reason=failure_reason(str(error)), detail=str(error)),)
        subject = Subject(
            device=device,
            guest=running.guest,
            server=running.server,
            keys=keys,
            expected=drawn,
            seconds=_ANSWER_SECONDS * running.factor,
            logs=request.logs,
            scratch=request.scratch,
            # Inside a guest, QEMU writes the file where the host cannot read it.
            second_opinion=None if running.outer else lambda: _screendump(running.guest, request.scratch),
        )
        ask_before_drawing(subject, questions, extra)
        saved.send_go(running.guest)
        running.guest.wait(lambda talk: _DRAWN in talk.tap, request.suite.timeout_seconds * running.factor)
        ask_after_drawing(subject, questions)
        ask_agent(subject, questions)
        talks = [(device, running.guest.finish(subject.seconds))]
        if running.outer:
            talks.append((f"{device}: the outer guest", running.outer.finish(subject.seconds)))
    guest_cases = [
        case.model_copy(update={"name": f"{prefix}: {case.name}"})
        for prefix, talk in talks
        for case in judge(talk, subject.seconds)
    ]
    return (*questions.cases, *guest_cases)


def failure_reason(text: str) -> str:
    """The reason why the guest did not start, in one line. Versions of QEMU report missing SPICE differently."""
    if found := _NO_SPICE.search(text):
        return f"this QEMU has no SPICE: {found[0]}"
    return text.partition("\n")[0]


def _screendump(running: Guest, scratch: Path) -> Picture:
    file = scratch / "screendump.ppm"
    running.qmp.command("screendump", filename=str(file))
    return read_ppm(file.read_bytes())
