"""The ``perf`` suite: a profiler finds its way from the innermost function to ``main`` by frame pointers.

Always asked are two programs that differ in nothing else (``programs/frames-*.s``): with frame pointers (on POWER and s390x
with the back chain) perf must find main → middle → leaf, and without them it must not: the negative control.

A package adds tests/perf/*.sh. Such a script lets a program of the package work for a second or two, and names in a comment
the functions that must be found one inside the other, the outermost first; further ones may lie between them:

    # kitten: stack main BZ2_bzWrite BZ2_compressBlock

They must be found so in half of all samples that meet the packages' code at all: the C library's functions have no frames, nor
has any function while it is entered and left, and a compiler gives none to a leaf that leaves the stack alone: then its caller
is missing, so do not name that one. Names need the package's debuginfo package among the packages.
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
"""Where a package's scripts for the profiler lie in its tests."""

_PROGRAMS = {"framed": ("--defsym=FRAMES=1",), "unframed": ()}
_CONTROL = ("main", "middle", "leaf")
_SHARE_OF_CONTROL = 0.9  # it spends its time in one loop
_SHARE = 0.5
_FEWEST = 30  # samples from which a share says something; a hundred milliseconds of work give a hundred
_SCRIPT = Path(__file__).parents[1] / "guest" / "profile.sh"
_STACK = re.compile(r"^\s*#\s*kitten:\s*stack\s+(.*\S)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Frame:
    """One function of a stack."""

    function: str
    """``[unknown]`` where no symbol table names it."""
    file: str
    """Path in the guest."""


@dataclass(frozen=True)
class Profile:
    """What perf saw of one command."""

    status: int | None
    """Its exit status; none where it was not told."""
    stacks: tuple[tuple[int, tuple[Frame, ...]], ...]
    """How often each stack was met; the innermost function first."""


def profiles(text: str) -> Mapping[str, Profile]:
    """What ``profile.sh`` told, by name."""
    found: dict[str, Profile] = {}
    name = ""
    for line in text.splitlines():
        match line.split():
            case ["profile", name]:
                found[name] = Profile(None, ())
            case ["status", told, status] if told == name and status.isdecimal():
                found[name] = Profile(int(status), found[name].stacks)
            case ["stack", count, *frames] if name and count.isdecimal():
                stack = tuple(Frame(*frame.rpartition("@")[::2]) for frame in frames)
                found[name] = Profile(found[name].status, (*found[name].stacks, (int(count), stack)))
            case _:
                pass
    return found


def is_inside(wanted: Sequence[str], stack: Sequence[Frame]) -> bool:
    """Whether these functions, the outermost first, lie in this order in a stack, others between them or not.

    What a compiler splits off a function or clones of it (``.part.0``, ``.constprop.1``) counts as that function.
    """
    names = iter([re.sub(r"(?<=.)[.@].*", "", frame.function) for frame in reversed(stack)])
    return all(name in names for name in wanted)


def restrict_to(profile: Profile, files: Collection[str]) -> Profile:
    """What of it meets any of these files."""
    stacks = tuple((count, stack) for count, stack in profile.stacks if any(frame.file in files for frame in stack))
    return Profile(profile.status, stacks)


def share_case(name: str, profile: Profile | None, wanted: Sequence[str], least: float, most: float = 1.0) -> Case:
    """Whether the share of samples in which these functions were found lies within bounds.

    :param profile: of the files that count; none where nothing was told.
    :param least: share, 0 to 1.
    :param most: likewise.
    """
    if profile is None or profile.status is None:
        return Case(name=name, outcome="failed", reason="it was not profiled to its end")
    if profile.status:
        return Case(name=name, outcome="failed", reason=f"exit status {profile.status}")
    total = sum(count for count, _ in profile.stacks)
    found = sum(count for count, stack in profile.stacks if is_inside(wanted, stack))
    detail = "\n".join(folded_lines(profile)[:5])
    if total < _FEWEST:
        why = f"{total} samples meet the code in question, and {_FEWEST} must at least: let it work longer"
        return Case(name=name, outcome="failed", reason=why, detail=detail)
    if least <= found / total <= most:
        return Case(name=name, outcome="passed", detail=detail)
    bound = f"at least {least:.0%}" if found / total < least else f"at most {most:.0%}"
    why = f"found in {found} of {total} samples; it should be {bound}"
    return Case(name=name, outcome="failed", reason=why, detail=detail)


def folded_lines(profile: Profile) -> list[str]:
    """A line for each stack, the outermost function first, as flamegraph.pl and speedscope read it."""
    joined: Counter[str] = Counter()
    for count, stack in profile.stacks:
        joined[";".join(frame.function for frame in reversed(stack))] += count
    return [f"{names} {count}" for names, count in joined.most_common()]


def wanted_stacks(tests: Mapping[str, bytes]) -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """The package's scripts for the profiler, by file name, with the functions they name.

    :raises CannotRun: when one names none, or only one function.
    """
    found = {}
    for name, data in sorted(tests.items()):
        if not name.startswith(PLACE) or not name.endswith(".sh") or "/" in name.removeprefix(PLACE):
            continue
        lines = tuple(tuple(line.split()) for line in _STACK.findall(data.decode(errors="replace")))
        if not lines or any(len(functions) < 2 for functions in lines):
            raise CannotRun(
                f"tests/{name} does not say which functions lie inside which",
                "add a line such as: # kitten: stack main BZ2_bzWrite BZ2_compressBlock",
            )
        found[name.removeprefix(PLACE)] = lines
    return found


def run(request: Request) -> Report:
    """Profile the control, and with packages what they have in tests/perf.

    :raises CannotRun: a script that names no stack, another target's package, no QEMU, no guest kernel, no perf.
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
    with saved.ready(base, archive, request.logs) as running:
        talk = running.finish(limit)
    own = {name: {f"{profiler.FOLDER}/{name}"} for name in _PROGRAMS}
    told = profiles(talk.tap.decode(errors="replace"))
    seen = {name: restrict_to(profile, own.get(name, files)) for name, profile in told.items()}
    for name, profile in seen.items():
        (request.logs / f"{name}.folded").write_text("".join(f"{line}\n" for line in folded_lines(profile)))
    cases = [
        *(case for case in judge(talk, limit) if case.outcome != "passed"),
        *_control(seen),
        *(
            share_case(f"{name}: {' → '.join(functions)}", seen.get(name), functions, _SHARE)
            for name, lines in wanted.items()
            for functions in lines
        ),
    ]
    if request.packages and not wanted:
        why = "the package has no tests/perf/*.sh: only the control was profiled"
        cases.append(Case(name="package", outcome="skipped", reason=why, code="no-perf-script"))
    return Report.on(base, cases)


def _control(seen: Mapping[str, Profile]) -> tuple[Case, ...]:
    chain = " → ".join(_CONTROL)
    framed, unframed = (seen.get(name) for name in _PROGRAMS)
    return (
        share_case(f"with frame pointers: {chain}", framed, _CONTROL, _SHARE_OF_CONTROL),
        share_case(f"without frame pointers: no {chain}", unframed, _CONTROL, 0.0, 0.0),
        share_case("without frame pointers: leaf alone", unframed, ("leaf",), _SHARE_OF_CONTROL),
    )


def _tools(target: Target) -> dict[str, bytes | Path]:
    """The profiler and the programs of the control."""
    made = {
        f"{profiler.FOLDER}/{name}": programs.assemble(target, "frames", *options, symbols=True)
        for name, options in _PROGRAMS.items()
    }
    return {**profiler.files(target), **made}


def _symbols(request: Request) -> tuple[Entry, ...]:
    """The files of the debuginfo packages that name functions.

    :raises CannotRun: for a damaged package.
    """
    found: list[Entry] = []
    for number, path in enumerate(request.packages):
        header = header_of(path)
        if header.is_debug:
            entries = rpms.unpacked(path, header, request.scratch / "debuginfo" / str(number))
            found += [entry for entry in entries if entry.path.startswith("/usr/lib/debug/")]
    return tuple(found)
