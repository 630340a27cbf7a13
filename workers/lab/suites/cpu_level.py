"""The ``cpu-level`` suite: the guest's CPU has exactly the level that the target promises.

Small programs, each with one instruction of a level (``programs/level-*.s``), run on three CPUs of ``targets.yaml``:

- the target's own CPU: instructions of the level run, instructions above the level end with SIGILL;
- ``cpu_below``, the negative control: instructions of the level below run, those of the level end with SIGILL;
- ``cpu_above``: the instructions above the level run. So the CPU refused them before, and the programs are correct.

If the emulator has more or fewer features than the CPU that it emulates, the case is skipped with a code
(``emulates-more``, ``no-emulation``). It passes as soon as a newer emulator behaves correctly.

All programs run under TCG, even if KVM works: KVM hides features from CPUID, but runs their instructions.
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
"""The exit status that a shell reports for a program that SIGILL ended."""

DECODED_OTHERWISE = ("LZCNT", "TZCNT")
"""An older CPU decodes these as BSR and BSF: it does not refuse them, but the result differs (Intel SDM, volume 2)."""

_OTHER_RESULT = 1  # the exit status of a program whose instruction gave another result
_STATUS = re.compile(r"^ *status (\S+) (\d{1,9})$", re.MULTILINE)
_SCRIPT_NAME = "programs.sh"
_SCRIPT = b"""# Runs each program, and prints its exit status.
for program in /kitten/level/*; do
    "$program"
    echo "status ${program##*/} $?"
done
exit 0
"""
_TCG = Accelerator("tcg", "KVM runs the host's instructions, whatever the CPU model is; only emulation shows the level")


LEVELS: Mapping[str, Programs] = {
    level.name: level.programs
    for architecture in architectures.by_name().values()
    for level in architecture.levels
    if level.programs is not None
}
"""By ``isa_level`` of targets.yaml."""


def expectations(level: Programs, place: Place) -> Mapping[str, Expected]:
    """The features to try on a CPU → what their programs should do there."""
    # A feature that the emulator lacks is refused on every CPU, so a refusal below the level would prove nothing.
    emulated = [name for name in level.own if ("own", name) not in level.excuses]
    runs, refused = {
        "own": ((*level.under, *level.own), level.above),
        "below": (level.under, emulated),
        "above": (level.above, ()),
    }[place]
    return {**dict.fromkeys(runs, "runs"), **dict.fromkeys(refused, "is refused")}


def cases(level: Programs, place: Place, statuses: Mapping[str, int]) -> tuple[Case, ...]:
    """Make one case for each feature to try on a CPU.

    :param statuses: feature → exit status of its program. A missing program did not run: its case is failed.
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


def console_cases(text: str, statuses: Iterable[int]) -> tuple[Case, ...]:
    """If SIGILL ended a program, check that the console reports it: all other suites rely on that console rule.

    :param text: the console.
    :returns: one case; none if no program ended with SIGILL.
    """
    if SIGILL not in statuses:
        return ()
    reported = any(hit.rule.name == "sigill" for hit in console.hits(text))
    reason = "" if reported else "SIGILL ended a program, but no line of the console reports it"
    return (Case(name="SIGILL shows on the console", outcome="passed" if reported else "failed", reason=reason),)


def run(request: Request) -> Report:
    """Run the programs on the target's CPU, on the one below it and on the one above it. Ignores packages.

    :raises CannotRun: if the level has no programs, or QEMU, the guest kernel or an assembler is missing.
    """
    target = request.target
    if target.isa_level not in LEVELS:
        raise CannotRun(
            f"no programs for {target.isa_level}, the level of {target.name}",
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
        with_cpu = target.model_copy(update={"machine": machine.model_copy(update={"cpu": cpu})})
        cpu_base = dataclasses.replace(base, target=with_cpu)
        payload = file_system.payload_archive(tests={_SCRIPT_NAME: _SCRIPT}, files=_programs(target, level, place))
        with saved.start_guest(cpu_base, payload, request.logs, place, fresh=place != "own") as running:
            talk = running.finish(limit)
        results = _cpu_cases(talk, limit, level, place)
        found += [case.model_copy(update={"name": f"{cpu}: {case.name}"}) for case in results]
    return Report.of_guests(base, found)


def _programs(target: Target, level: Programs, place: Place) -> dict[str, bytes]:
    return {
        f"/kitten/level/{feature}": programs.assemble(target, "level", f"--defsym={feature}=1")
        for feature in expectations(level, place)
    }


def _cpu_cases(talk: Talk, limit: float, level: Programs, place: Place) -> Sequence[Case]:
    text = talk.console.decode(errors="replace")
    statuses = {name: int(status) for name, status in _STATUS.findall(talk.tap.decode(errors="replace"))}
    return (
        *(case for case in judge(talk, limit, ("sigill", "core-dump")) if case.outcome != "passed"),
        *cases(level, place, statuses),
        *console_cases(text, statuses.values()),
    )


def _skipped_cpu(place: Place, target: Target) -> tuple[Case, ...]:
    """The skipped case for a CPU that targets.yaml does not name."""
    if place == "below":
        why = f"QEMU emulates no CPU below {target.isa_level}"
        return (Case(name="below", outcome="skipped", reason=why, code="no-cpu-below"),)
    why = f"QEMU emulates no other CPU above {target.isa_level} than {target.machine.cpu}"
    return (Case(name="above", outcome="skipped", reason=why, code="no-cpu-above"),)
