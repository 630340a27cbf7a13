"""The verdicts. Pure functions: what was read of the packages, the target and its flags in; ``Check`` records out.

A file that holds code is proven by compile units that carry the target's flags. One without any such unit was not
checked, and that is a violation; what is excused carries its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config.models import Site, Target
from workers.results import Check
from workers.verify.facts import Unit
from workers.verify.header import Header
from workers.verify.producers import judged, missing_flags


@dataclass(frozen=True)
class ElfFile:
    """One ELF file, or one member of a static archive."""

    machine: str
    type: str
    build_id: str
    has_code: bool
    has_debug_info: bool


@dataclass(frozen=True)
class CodeFile:
    """One ELF file (or one member of a static library) of a package that ships."""

    name: str
    """``package:/path`` or ``package:/path(member)``."""
    elf: ElfFile
    units: tuple[Unit, ...] = ()
    """Of debug data in the file itself, where it was not stripped."""


@dataclass(frozen=True)
class Evidence:
    """Everything that was read of a set of packages."""

    headers: Mapping[str, Header]
    """File name of the package → header."""
    files: tuple[CodeFile, ...]
    debug: Mapping[str, tuple[Unit, ...]]
    """Build-id → the compile units of its file in a debuginfo package."""
    broken: tuple[Check, ...] = ()
    """What could not be read."""


def judge(site: Site, target: Target, evidence: Evidence) -> tuple[Check, ...]:
    """Every check of a set of packages, findings first."""
    checks = list(evidence.broken)
    for name, header in evidence.headers.items():
        checks += judge_header(site, target, name, header)
    for file in evidence.files:
        checks += judge_file(target, file, evidence.debug.get(file.elf.build_id))
    if all(check.outcome == "skipped" for check in checks):
        checks.append(Check(rule="proof", file="", outcome="violated", detail="nothing was checked"))
    order = {"violated": 0, "skipped": 1, "held": 2}
    return tuple(sorted(checks, key=lambda check: order[check.outcome]))


def judge_header(site: Site, target: Target, name: str, header: Header) -> tuple[Check, ...]:
    """What a binary package says of itself: architecture, platform, and the flags rpmbuild was given."""
    if header.arch == "src":
        return (Check(rule="header-arch", file=name, outcome="skipped", reason="source-package"),)
    arch_fits = header.arch in (target.rpm_arch, "noarch")
    checks = [
        _check("header-arch", name, arch_fits, f"{header.arch}; {target.name} takes {target.rpm_arch} and noarch")
    ]
    if header.arch == "noarch":
        return (*checks, Check(rule="header-optflags", file=name, outcome="skipped", reason="noarch"))
    # A GNU triplet, in the distribution's or in the sandbox's spelling: ppc64le-redhat-linux-gnu, powerpc64le-linux-gnu.
    processors = {target.rpm_arch, target.machine_arch, target.toolchain.triplet.split("-")[0]}
    platform_fits = header.platform.split("-")[0] in processors
    checks.append(_check("header-platform", name, platform_fits, header.platform or "no PLATFORM in the header"))
    words = header.optflags.split()
    missing = missing_flags(words, (*site.build.optflags, *target.flags.compiler))
    detail = f"OPTFLAGS lacks {' '.join(missing)}: {header.optflags or '(empty)'}" if missing else header.optflags
    checks.append(_check("header-optflags", name, not missing, detail))
    return tuple(checks)


def judge_file(target: Target, file: CodeFile, debug: Sequence[Unit] | None) -> tuple[Check, ...]:
    """One file with code: its machine, its debug data, and the compile units in it."""
    fits = file.elf.machine == target.elf_machine
    machine = _check("elf-machine", file.name, fits, f"{file.elf.machine}; {target.name} is {target.elf_machine}")
    if not file.elf.has_code:
        return (machine, Check(rule="producer", file=file.name, outcome="skipped", reason="no-code"))
    units = (*file.units, *(debug or ()))
    if units:
        return (machine, *judge_units(target, file.name, units))
    if file.elf.type == "ET_REL" and not file.elf.build_id:
        # rpm strips objects and static libraries and keeps no debug data of them anywhere.
        return (machine, Check(rule="debuginfo", file=file.name, outcome="skipped", reason="stripped-object"))
    if not file.elf.build_id:
        why = "no build-id, so no debuginfo can belong to it"
    elif debug is None:
        why = f"no debuginfo package holds a file of its build-id {file.elf.build_id}"
    else:
        why = "its debuginfo holds no compile unit"
    return (machine, Check(rule="debuginfo", file=file.name, outcome="violated", detail=why))


def judge_units(target: Target, file: str, units: Sequence[Unit]) -> tuple[Check, ...]:
    """The compile units of one file: a check for each that lacks a flag, one for all that hold, one per excuse."""
    held = 0
    excused: Counter[str] = Counter()
    checks = []
    beside_go = any(unit.language == "go" for unit in units)
    for unit in units:
        verdict = judged(unit, target, beside_go)
        if verdict.outcome == "skipped":
            excused[verdict.reason] += 1
        elif verdict.outcome == "violated":
            checks.append(Check(rule="producer", file=file, outcome="violated", detail=verdict.detail))
        else:
            held += 1
    if held:
        checks.append(Check(rule="producer", file=file, outcome="held", detail=f"{held} compile units"))
    elif not checks and set(excused) <= {"lto-partition"}:
        checks.append(Check(rule="producer", file=file, outcome="violated", detail="no compile unit could be judged"))
    for reason, count in sorted(excused.items()):
        detail = f"{count} compile units"
        checks.append(Check(rule="producer", file=file, outcome="skipped", reason=reason, detail=detail))
    return tuple(checks)


def _check(rule: str, file: str, held: bool, detail: str) -> Check:
    return Check(rule=rule, file=file, outcome="held" if held else "violated", detail=detail)
