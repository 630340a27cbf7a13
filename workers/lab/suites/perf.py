"""The ``perf`` suite: a profiler follows frame pointers from the innermost function to ``main``.

The control consists of two programs that differ only in frame pointers (``programs/frames-*.s``; on POWER and s390x, in
the back chain). With frame pointers perf must find main → middle → leaf. Without them it must not: the negative
control.

A package adds tests/perf/*.sh. Such a script runs a program of the package for a second or two. A comment names
functions that must be found one inside the other, the outermost first. Other functions may be between them:

    # kitten: stack main BZ2_bzWrite BZ2_compressBlock

They must be found in half of the samples that contain the packages' code. Not in all, because functions of the C
library have no frames, and no function has one while it begins or returns. The compiler gives no frame to a leaf
function that does not use the stack: then its caller is missing in the samples, so do not name that caller. To name
functions, the suite needs the debuginfo package.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.models import Target
from workers.base.errors import CannotRun
from workers.formats.rpm_file import header_of
from workers.formats.rpm_payload import Entry
from workers.lab import rpms
from workers.lab.guest import file_system, profiler, programs, saved
from workers.lab.judge import judge
from workers.lab.suites import Report, Request
from workers.lab.suites.package_files import unpack_with_needs
from workers.results import Case

PLACE = "perf/"
"""The folder of the scripts for the profiler, below a package's tests."""

_PROGRAMS = {"framed": ("--defsym=FRAMES=1",), "unframed": ()}
_CONTROL = ("main", "middle", "leaf")
_SHARE_OF_CONTROL = 0.9  # the control spends its time in one loop
_SHARE = 0.5
_FEWEST = 30  # samples that make a share meaningful; 100 ms of work give 100 samples
_SCRIPT = Path(__file__).parents[1] / "guest" / "profile.sh"
_NUMBER = re.compile(r"[0-9]{1,9}")
_STACK = re.compile(r"^\s*#\s*kitten:\s*stack\s+(.*\S)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Frame:
    """One function of a stack."""

    function: str
    """``[unknown]`` if no symbol table names it."""
    file: str
    """Path in the guest."""


@dataclass(frozen=True)
class Profile:
    """The samples of one command."""

    status: int | None
    """The exit status of the command; None if the report has none."""
    stacks: tuple[tuple[int, tuple[Frame, ...]], ...]
    """Number of samples and stack, the innermost function first."""


def profiles(text: str, commands: Collection[str]) -> Mapping[str, Profile]:
    """Parse the report of ``profile.sh``.

    :param commands: the names of the profiled commands. A test can print any other name, so these are left out.
    :returns: name of the command → its profile.
    """
    statuses: dict[str, int] = {}
    stacks: dict[str, list[tuple[int, tuple[Frame, ...]]]] = {}
    name = ""
    for line in text.splitlines():
        match line.split():
            case ["profile", command]:
                name = command if command in commands else ""
                if name:
                    stacks[name] = []
                    statuses.pop(name, None)
            case ["status", command, status] if name and command == name and _NUMBER.fullmatch(status):
                statuses[name] = int(status)
            case ["stack", count, *frames] if name and _NUMBER.fullmatch(count):
                stacks[name].append((int(count), tuple(Frame(*frame.rpartition("@")[::2]) for frame in frames)))
            case _:
                pass
    return {name: Profile(statuses.get(name), tuple(found)) for name, found in stacks.items()}


def is_inside(wanted: Sequence[str], stack: Sequence[Frame]) -> bool:
    """Check whether a stack contains these functions in this order; other functions may be between them.

    A part or a clone that the compiler makes of a function (``.part.0``, ``.constprop.1``) counts as that function.

    :param wanted: the outermost function first.
    """
    names = iter([re.sub(r"(?<=.)[.@].*", "", frame.function) for frame in reversed(stack)])
    return all(name in names for name in wanted)


def restrict_to(profile: Profile, files: Collection[str]) -> Profile:
    """The profile with only the stacks that contain code of one of these files."""
    stacks = tuple((count, stack) for count, stack in profile.stacks if any(frame.file in files for frame in stack))
    return Profile(profile.status, stacks)


def share_case(name: str, profile: Profile | None, wanted: Sequence[str], least: float, most: float = 1.0) -> Case:
    """Check the share of the samples that contain these functions.

    :param profile: with only the files that count; None if the guest did not report it.
    :param least: the smallest allowed share, 0 to 1.
    :param most: the largest allowed share, 0 to 1.
    """
    if profile is None or profile.status is None:
        return Case(name=name, outcome="failed", reason="the report of its profile is not complete")
    if profile.status:
        return Case(name=name, outcome="failed", reason=f"exit status {profile.status}")
    total = sum(count for count, _ in profile.stacks)
    found = sum(count for count, stack in profile.stacks if is_inside(wanted, stack))
    detail = "\n".join(folded_lines(profile)[:5])
    if total < _FEWEST:
        why = f"only {total} samples contain the code to check, at least {_FEWEST} are needed: let it run longer"
        return Case(name=name, outcome="failed", reason=why, detail=detail)
    if least <= found / total <= most:
        return Case(name=name, outcome="passed", detail=detail)
    bound = f"at least {least:.0%}" if found / total < least else f"at most {most:.0%}"
    why = f"found in {found} of {total} samples, expected: {bound}"
    return Case(name=name, outcome="failed", reason=why, detail=detail)


def folded_lines(profile: Profile) -> list[str]:
    """The lines of a profile for flamegraph.pl and speedscope: one for each stack, the outermost function first."""
    joined: Counter[str] = Counter()
    for count, stack in profile.stacks:
        joined[";".join(frame.function for frame in reversed(stack))] += count
    return [f"{names} {count}" for names, count in joined.most_common()]


def wanted_stacks(tests: Mapping[str, bytes]) -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """The stacks that a package's scripts for the profiler name.

    :returns: file name of the script → its stacks, each with the outermost function first.
    :raises CannotRun: if a script names no stack, or only one function.
    """
    found = {}
    for name, data in sorted(tests.items()):
        if not name.startswith(PLACE) or not name.endswith(".sh") or "/" in name.removeprefix(PLACE):
            continue
        lines = tuple(tuple(line.split()) for line in _STACK.findall(data.decode(errors="replace")))
        if not lines or any(len(functions) < 2 for functions in lines):
            raise CannotRun(
                f"tests/{name} does not name the functions that call each other",
                "add a line such as: # kitten: stack main BZ2_bzWrite BZ2_compressBlock",
            )
        found[name.removeprefix(PLACE)] = lines
    return found


def run(request: Request) -> Report:
    """Profile the control, and the scripts in tests/perf of the packages.

    :raises CannotRun: if a script names no stack, a package is for another target, or QEMU, the guest kernel or perf is
        missing.
    """
    target = request.target
    wanted = wanted_stacks(request.tests) if request.packages else {}
    payloads: Sequence[Sequence[Entry]] = ()
    if wanted:
        payloads = unpack_with_needs(
            request.site, target, request.state, request.packages, request.scratch, request.extra
        )
    files = {entry.path for payload in payloads for entry in payload if entry.kind == "file"}
    symbols = _symbols(request) if wanted else ()
    tests = {name: data for name, data in request.tests.items() if name.startswith(PLACE)} if wanted else {}
    base = file_system.base(target)
    limit = request.suite.timeout_seconds * saved.time_factor(base)
    archive = file_system.payload_archive(
        [*payloads, symbols], {**tests, _SCRIPT.name: _SCRIPT.read_bytes()}, _tools(target)
    )
    with saved.start_guest(base, archive, request.logs) as running:
        talk = running.finish(limit)
    own = {name: {f"{profiler.FOLDER}/{name}"} for name in _PROGRAMS}
    reported = profiles(talk.tap.decode(errors="replace"), (*_PROGRAMS, *wanted))
    found = {name: restrict_to(profile, own.get(name, files)) for name, profile in reported.items()}
    for name, profile in found.items():
        (request.logs / f"{name}.folded").write_text("".join(f"{line}\n" for line in folded_lines(profile)))
    cases = [
        *(case for case in judge(talk, limit) if case.outcome != "passed"),
        *_control_cases(found),
        *(
            share_case(f"{name}: {' → '.join(functions)}", found.get(name), functions, _SHARE)
            for name, lines in wanted.items()
            for functions in lines
        ),
    ]
    if request.packages and not wanted:
        why = "the package has no tests/perf/*.sh: only the control was profiled"
        cases.append(Case(name="package", outcome="skipped", reason=why, code="no-perf-script"))
    return Report.of_guests(base, cases)


def _control_cases(found: Mapping[str, Profile]) -> tuple[Case, ...]:
    chain = " → ".join(_CONTROL)
    framed, unframed = (found.get(name) for name in _PROGRAMS)
    return (
        share_case(f"with frame pointers: {chain}", framed, _CONTROL, _SHARE_OF_CONTROL),
        share_case(f"without frame pointers: no {chain}", unframed, _CONTROL, 0.0, 0.0),
        share_case("without frame pointers: leaf alone", unframed, ("leaf",), _SHARE_OF_CONTROL),
    )


def _tools(target: Target) -> dict[str, bytes | Path]:
    """The profiler and the programs of the control."""
    control = {
        f"{profiler.FOLDER}/{name}": programs.assemble(target, "frames", *options, symbols=True)
        for name, options in _PROGRAMS.items()
    }
    return {**profiler.files(target), **control}


def _symbols(request: Request) -> tuple[Entry, ...]:
    """The files of the debuginfo packages, which name the functions.

    :raises CannotRun: if a package is damaged.
    """
    found: list[Entry] = []
    for number, path in enumerate(request.packages):
        header = header_of(path)
        if header.is_debug:
            entries = rpms.unpack_package(path, header, request.scratch / "debuginfo" / str(number))
            found += [entry for entry in entries if entry.path.startswith("/usr/lib/debug/")]
    return tuple(found)
