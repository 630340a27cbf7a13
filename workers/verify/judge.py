"""The verdicts: pure functions from the facts of the packages, the target and its promises to ``Check`` records.

Three layers prove a file: the declared flags (package header, compile units), the frame pointers and instructions in
its code, and how it was linked. A file that cannot be read fails. A skip carries its reason. The rules are the modules
of :mod:`workers.verify.rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.exemptions import Exemptions
from workers.results import Check, FileProof
from workers.verify.evidence import Evidence
from workers.verify.promise import Observed, Promise, answer
from workers.verify.rules import declared, frames, isa
from workers.verify.rules.link import judge_traits

_GRADES = ("BAD", "VERIFY", "INFO", "OK")
_FIRST = (frames.RULE, isa.RULE, declared.RULE)  # among findings of equal grade, these are shown first


def judge(
    promise: Promise, evidence: Evidence, observed: Sequence[Observed], further: Sequence[Check] = ()
) -> tuple[tuple[Check, ...], tuple[FileProof, ...]]:
    """Return every check, findings first, and the counts of each file.

    :param further: checks that belong to no single file: the hardware list, the comparison with the published build.
    """
    checks = [*evidence.broken, *further]
    proofs = []
    for name, header in evidence.headers.items():
        checks += declared.judge_header(promise, name, header)
    for file in observed:
        of_file, proof = judge_file(promise, file, evidence.installed)
        checks += of_file
        proofs.append(proof)
    if all(check.outcome == "skipped" for check in checks):
        checks.append(Check(rule="proof", file="", outcome="failed", detail="nothing was checked"))
    checks += exemption_checks(promise.exceptions)
    if promise.opted_out:
        opted = Check(
            rule=frames.RULE, file="", outcome="skipped", reason="opted-out-in-spec", detail=promise.opted_out
        )
        checks.append(opted)
    return tuple(sorted(checks, key=_rank)), tuple(proofs)


def _rank(check: Check) -> tuple[int, int]:
    return _GRADES.index(check.grade), _FIRST.index(check.rule) if check.rule in _FIRST else len(_FIRST)


def judge_file(
    promise: Promise, file: Observed, installed: frozenset[str] = frozenset()
) -> tuple[tuple[Check, ...], FileProof]:
    """Check one file with code by every rule.

    :param installed: every path of the packages of the same build, for rules about paths that the file names.
    """
    target, item, facts = promise.target, file.item, file.facts
    # 32-bit firmware can start a 64-bit system: shim and GRUB have EFI files for such machines.
    machines = target.architecture.machines if facts.format == "efi" else (target.architecture.machine,)
    fits = facts.machine in [machine.elf_name for machine in machines]
    checks = [Check(rule="elf", file=item.name, outcome="failed", detail=problem) for problem in facts.problems]
    checks.append(answer("elf-machine", item.name, fits, f"{facts.machine}; {target.name} is {target.elf_machine}"))
    checks += judge_traits(target, item.name, facts, installed)
    units = declared.verdicts(promise, file)
    checks += declared.judge_declared(promise, file, units)
    checks = [promise.apply_exceptions(item, check) for check in checks]
    unframed, above = frames.unframed_functions(promise, file), isa.functions_above(promise, file)
    checks += frames.judge_frames(promise, file, unframed)
    checks += isa.judge_isa(promise, file, above)
    framing = facts.framing
    return tuple(checks), FileProof(
        file=item.name,
        build_id=facts.traits.build_id,
        level=file.level,
        units=sum(unit.outcome == "passed" for unit in units),
        functions=framing.functions if framing else 0,
        framed=framing.framed if framing else 0,
        leaf=framing.leaf if framing else 0,
        unframed=len(unframed.broken),
        excused=unframed.excused_count,
        code_bytes=facts.isa.code_bytes if facts.isa else 0,
        above=len(above.broken),
        dispatched=len(above.dispatched),
    )


def exemption_checks(exemptions: Exemptions) -> Iterator[Check]:
    """Yield a check for each exemption: in use, unused or expired."""
    for number, entry in enumerate(exemptions.entries):
        where = f"{exemptions.package}: {entry.rule} at {entry.where}"
        if number in exemptions.used:
            detail = f"in force until {entry.until}: {entry.reason}"
            yield Check(rule="exception", file=where, outcome="passed", level="INFO", detail=detail)
        elif number in exemptions.expired_used:
            detail = f"expired on {entry.until}: fix what it excuses, or give it a new date ({entry.reason})"
            yield Check(rule="exception", file=where, outcome="failed", detail=detail)
        else:
            detail = "covers nothing here: remove it, if it covers nothing on any target"
            yield Check(rule="exception", file=where, outcome="passed", level="INFO", detail=detail)
