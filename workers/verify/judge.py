"""The verdicts. Pure functions: what was read of the packages, the target and its promises in; ``Check`` records out.

Three layers prove a file: the flags it was declared to be compiled with (header, compile units), frame pointers and
instructions as they are in its code, and how it was linked. What could not be looked at is a violation; what is excused
carries its reason. Each rule is a module of :mod:`workers.verify.rules`.
"""

from __future__ import annotations

from collections.abc import Sequence

from workers.results import Check, FileProof
from workers.verify.evidence import Evidence
from workers.verify.exceptions import exemption_checks
from workers.verify.promise import Observed, Promise, answer
from workers.verify.rules import declared, frames, isa
from workers.verify.rules.headers import judge_header
from workers.verify.rules.link import judge_traits

_GRADES = ("BAD", "VERIFY", "INFO", "OK")
_FIRST = (frames.RULE, isa.RULE, declared.RULE)  # of equal grade, what a person wants to know first


def judge(
    promise: Promise, evidence: Evidence, observed: Sequence[Observed], further: Sequence[Check] = ()
) -> tuple[tuple[Check, ...], tuple[FileProof, ...]]:
    """Every check, findings first; and what was counted in each file.

    :param further: checks of what is not a file's own: the hardware list, the comparison with the published build.
    """
    checks = [*evidence.broken, *further]
    proofs = []
    for name, header in evidence.headers.items():
        checks += judge_header(promise, name, header)
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
    """One file with code, by every rule.

    :param installed: every path of the packages it came with, for rules about what it refers to.
    """
    target, item, facts = promise.target, file.item, file.facts
    # 32-bit firmware starts 64-bit systems, too: the EFI files of shim and GRUB for such machines.
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
