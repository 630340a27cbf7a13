"""The ``frame-pointers`` rule: each function that makes a frame keeps its frame pointer, or has a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from workers.formats.facts import Unframed, Unit
from workers.results import Check, Place
from workers.verify.promise import LISTED, Observed, Promise, count_functions, skip

RULE = "frame-pointers"
_NAMED = 5  # functions that the detail names

# No flag changes what hand-written code does. Go keeps frame pointers on x86_64 and aarch64 and on no other
# architecture, whatever the flags.
_LANGUAGES = ("assembler", "go")


@dataclass
class UnframedFunctions:
    """The functions of a file without a frame pointer: those that break the rule, and the excused ones."""

    broken: list[Unframed] = field(default_factory=list)
    excused: dict[str, list[tuple[Unframed, str]]] = field(default_factory=dict)
    """Reason of the skip → (function, explanation)."""

    @property
    def excused_count(self) -> int:
        """The number of excused functions."""
        return sum(map(len, self.excused.values()))


def unframed_functions(promise: Promise, file: Observed) -> UnframedFunctions:
    """Return the functions without a frame pointer, with the reasons of the excused ones."""
    result = UnframedFunctions()
    framing = file.facts.framing
    if framing is None:
        return result
    if not (file.facts.units or file.facts.traits.go_settings or promise.opted_out or promise.exceptions.entries):
        result.broken += framing.unframed
        return result
    for one in framing.unframed:
        reason, why = "", ""
        language = _language(file.units.at(one.function.address), file)
        if promise.opted_out:
            reason, why = "opted-out-in-spec", promise.opted_out
        elif language in _LANGUAGES:
            reason = f"language-{language}"
        elif promise.exceptions.entries:
            entry = promise.exceptions.cover(RULE, file.item.path, str(one.function))
            reason, why = ("exception", entry.reason) if entry else ("", "")
        if reason:
            result.excused.setdefault(reason, []).append((one, why))
        else:
            result.broken.append(one)
    return result


def _language(unit: Unit | None, file: Observed) -> str:
    if unit is not None:
        return unit.language
    return "go" if file.facts.traits.go_settings else ""


def judge_frames(promise: Promise, file: Observed, unframed: UnframedFunctions) -> Iterator[Check]:
    """Yield the checks of one file.

    :param unframed: as :func:`unframed_functions` returns them.
    """
    item, facts, framing = file.item, file.facts, file.facts.framing
    if facts.format == "efi":
        yield skip(RULE, item, "efi")  # firmware runs before any program that could walk its stack
        return
    if not facts.has_code:
        yield skip(RULE, item, "no-code")
        return
    if framing is None or not framing.functions:
        if facts.problems or facts.machine != promise.target.elf_machine:
            return  # another check reports it
        why = "no function could be judged: neither unwind tables nor symbols show where a function begins"
        yield promise.apply_exceptions(item, Check(rule=RULE, file=item.name, outcome="failed", detail=why))
        return
    for reason, places in sorted(unframed.excused.items()):
        listed = [_place(file, one, why) for one, why in places[:LISTED]]
        yield skip(RULE, item, reason, count_functions(len(places)), listed)
    wanted = framing.framed + len(framing.unframed)
    if unframed.broken:
        names = ", ".join(str(one.function) for one in unframed.broken[:_NAMED])
        more = " …" if len(unframed.broken) > _NAMED else ""
        count = f"{len(unframed.broken):,} of {count_functions(wanted)}"
        detail = f"{count} that make a frame keep no frame pointer: {names}{more}"
        listed = [_place(file, one) for one in unframed.broken[:LISTED]]
        yield Check(rule=RULE, file=item.name, outcome="failed", detail=detail, places=tuple(listed))
    else:
        leaf = count_functions(framing.leaf)
        detail = f"{framing.framed:,} framed of {wanted:,}, {leaf} without a frame; {framing.evidence}"
        yield Check(rule=RULE, file=item.name, outcome="passed", detail=detail)


def _place(file: Observed, one: Unframed, why: str = "") -> Place:
    function = one.function
    return Place(
        function=str(function),
        function_address=function.address,
        address=function.address,
        size=function.size,
        detail=why or one.why,
        compiled_by=file.compiled_by(function.address),
    )
