"""The ``cpu-level`` suite: the guest's CPU has the level that the target promises, no less and no more.

Small programs, each of one instruction of a level (``programs/level-*.s``), run on three CPUs of ``targets.yaml``:

- the target's own: what the level promises runs, what lies above it dies of SIGILL;
- ``cpu_below``, the negative control: what runs there is what the level under it has, and the level's own dies;
- ``cpu_above``: what died above runs, so it was the CPU that refused it and not the program that is wrong.

Where the emulator has more or less than the CPU it plays, the case is a skip that says so (``emulates-more``,
``no-emulation``), and turns into a pass by itself once it no longer does.

All of them run under TCG, also where KVM works: KVM hides features from CPUID but runs the instructions all the same.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import click

from config import architectures
from config.architecture import Place, Programs
from config.models import Target
from workers.base.errors import CannotRun
from workers.lab.guest import file_system, programs, saved
from workers.lab.guest.accelerator import Accelerator
from workers.lab.guest.kernel import guest_parts
from workers.lab.judge import judge
from workers.lab.machine import console
from workers.lab.machine.launch import Talk
from workers.lab.machine.tap import describe_status
from workers.lab.suites import Report, Request
from workers.results import Case

Expected = Literal["runs", "is refused"]

SIGILL = 128 + 4
"""A shell's exit status of what died of it."""

DECODED_OTHERWISE = ("LZCNT", "TZCNT")
"""An older CPU takes these for BSR and BSF and goes on: not refused, but with another result (Intel SDM, volume 2)."""

_OTHER_RESULT = 1  # exit status of a program whose instruction did something else
_STATUS = re.compile(r"^ *status (\S+) (\d+)$", re.MULTILINE)
_SCRIPT_NAME = "programs.sh"
_SCRIPT = b"""# Runs each program, and tells its exit status.
for program in /kitten/level/*; do
    "$program"
    echo "status ${program##*/} $?"
done
exit 0
"""
_TCG = Accelerator(
    "tcg", "KVM would run the host's instructions whatever the CPU model; a level shows only under emulation"
)


LEVELS: Mapping[str, Programs] = {
    level.name: level.programs
    for architecture in architectures.known().values()
    for level in architecture.levels
    if level.programs is not None
}
"""By ``isa_level`` of targets.yaml."""


def expectations(level: Programs, place: Place) -> Mapping[str, Expected]:
    """What is asked on a CPU: feature → what it should do there."""
    # What the emulator never has, it refuses below the level too: that would show nothing.
    shown = [name for name in level.own if ("own", name) not in level.excuses]
    runs, refused = {
        "own": ((*level.under, *level.own), level.above),
        "below": (level.under, shown),
        "above": (level.above, ()),
    }[place]
    return {**dict.fromkeys(runs, "runs"), **dict.fromkeys(refused, "is refused")}


def cases(level: Programs, place: Place, statuses: Mapping[str, int]) -> tuple[Case, ...]:
    """One case for each feature that is asked for on a CPU.

    :param statuses: feature → exit status of its program; one that is missing did not run and has failed.
    """
    found = []
    for feature, expected in expectations(level, place).items():
        name, status = f"{feature} {expected}", statuses.get(feature)
        excuse = level.excuses.get((place, feature))
        if status is None:
            found.append(Case(name=name, outcome="failed", reason="its program did not run"))
        elif _behaviour(feature, status) == expected:
            found.append(Case(name=name, outcome="passed"))
        elif excuse and _behaviour(feature, status):
            found.append(Case(name=name, outcome="skipped", reason=excuse.reason, code=excuse.code))
        else:
            found.append(Case(name=name, outcome="failed", reason=_why_wrong(status)))
    return tuple(found)


def _behaviour(feature: str, status: int) -> Expected | None:
    if status == 0:
        return "runs"
    otherwise = feature in DECODED_OTHERWISE and status == _OTHER_RESULT
    return "is refused" if status == SIGILL or otherwise else None


def _why_wrong(status: int) -> str:
    if status == 0:
        return "it runs: this CPU has more than it should"
    return "the instruction gave another result" if status == _OTHER_RESULT else describe_status(status)


def console_cases(said: str, statuses: Iterable[int]) -> tuple[Case, ...]:
    """Where programs died of SIGILL, whether the console told of it: every other suite relies on that rule."""
    if SIGILL not in statuses:
        return ()
    told = any(hit.rule.name == "sigill" for hit in console.hits(said))
    reason = "" if told else "a program died of it, and no line of the console says so"
    return (Case(name="SIGILL shows on the console", outcome="passed" if told else "failed", reason=reason),)


def run(request: Request) -> Report:
    """Ask the target's CPU, the one below it and the one above it. Packages play no part.

    :raises CannotRun: a level without programs, no QEMU, no guest kernel, no assembler.
    """
    target = request.target
    if target.isa_level not in LEVELS:
        raise CannotRun(
            f"there are no programs for {target.isa_level}, the level of {target.name}",
            f"add them to workers/lab/guest/programs/level-{target.machine_arch}.s, and name them in "
            f"config/architectures/{target.machine_arch}.py",
        )
    level, machine = LEVELS[target.isa_level], target.machine
    parts = guest_parts(target)
    base = file_system.Base(target, parts, file_system.base_archive(target, parts), _TCG)
    limit = request.suite.timeout_seconds * saved.time_factor(base)
    found: list[Case] = []
    cpus: tuple[tuple[Place, str | None], ...] = (
        ("own", machine.cpu),
        ("below", machine.cpu_below),
        ("above", machine.cpu_above),
    )
    for place, cpu in cpus:
        if cpu is None:
            found += _skipped_cpu(place, target)
            continue
        click.echo(f"{place}: {cpu}")
        other = target.model_copy(update={"machine": machine.model_copy(update={"cpu": cpu})})
        on = dataclasses.replace(base, target=other)
        payload = file_system.payload_archive(tests={_SCRIPT_NAME: _SCRIPT}, files=_programs(target, level, place))
        with saved.ready(on, payload, request.logs, place, fresh=place != "own") as running:
            talk = running.finish(limit)
        judged = _cpu_cases(talk, limit, level, place)
        found += [case.model_copy(update={"name": f"{cpu}: {case.name}"}) for case in judged]
    return Report.on(base, found)


def _programs(target: Target, level: Programs, place: Place) -> dict[str, bytes]:
    return {
        f"/kitten/level/{feature}": programs.assemble(target, "level", f"--defsym={feature}=1")
        for feature in expectations(level, place)
    }


def _cpu_cases(talk: Talk, limit: float, level: Programs, place: Place) -> Sequence[Case]:
    said = talk.console.decode(errors="replace")
    statuses = {name: int(status) for name, status in _STATUS.findall(talk.tap.decode(errors="replace"))}
    return (
        *(case for case in judge(talk, limit, ("sigill", "core-dump")) if case.outcome != "passed"),
        *cases(level, place, statuses),
        *console_cases(said, statuses.values()),
    )


def _skipped_cpu(place: Place, target: Target) -> tuple[Case, ...]:
    """What stands for a CPU that there is not."""
    if place == "below":
        why = f"{target.isa_level} has no CPU below it that QEMU plays"
        return (Case(name="below", outcome="skipped", reason=why, code="no-cpu-below"),)
    why = f"QEMU plays no CPU above {target.isa_level} beside {target.machine.cpu}"
    return (Case(name="above", outcome="skipped", reason=why, code="no-cpu-above"),)
