"""Frame pointers, function by function: each that makes a frame keeps one, or has a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from workers.formats.facts import Unframed, Unit
from workers.results import Check, Place
from workers.verify.promise import LISTED, Observed, Promise, count_functions, skip

RULE = "frame-pointers"
_NAMED = 5  # functions that the detail names

# Hand-written code does what its author wrote. Go keeps frame pointers where its tool chain has them (x86_64 and aarch64)
# and nowhere else, whatever the flags.
_LANGUAGES = ("assembler", "go")


@dataclass
class UnframedFunctions:
    """The functions of a file without a frame pointer: those that break the rule, and the others by their reason."""

    broken: list[Unframed] = field(default_factory=list)
    excused: dict[str, list[tuple[Unframed, str]]] = field(default_factory=dict)

    @property
    def excused_count(self) -> int:
        """How many have a reason."""
        return sum(map(len, self.excused.values()))


def unframed_functions(promise: Promise, file: Observed) -> UnframedFunctions:
    """Divide the functions that keep no frame pointer."""
    found = UnframedFunctions()
    framing = file.facts.framing
    if framing is None:
        return found
    if not (file.facts.units or file.facts.traits.go_settings or promise.opted_out or promise.exceptions.entries):
        found.broken += framing.unframed
        return found
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
            found.excused.setdefault(reason, []).append((one, why))
        else:
            found.broken.append(one)
    return found


def _language(unit: Unit | None, file: Observed) -> str:
    if unit is not None:
        return unit.language
    return "go" if file.facts.traits.go_settings else ""


def judge_frames(promise: Promise, file: Observed, found: UnframedFunctions) -> Iterator[Check]:
    """The checks of one file.

    :param found: what :func:`unframed_functions` made of it.
    """
    item, facts, framing = file.item, file.facts, file.facts.framing
    if facts.format == "efi":
        yield skip(RULE, item, "efi")  # firmware runs before there is anything that could walk its stack
        return
    if not facts.has_code:
        yield skip(RULE, item, "no-code")
        return
    if framing is None or not framing.functions:
        if facts.problems or facts.machine != promise.target.elf_machine:
            return  # said already
        why = "no function could be judged: neither unwind tables nor symbols tell where one begins"
        yield promise.apply_exceptions(item, Check(rule=RULE, file=item.name, outcome="failed", detail=why))
        return
    for reason, places in sorted(found.excused.items()):
        listed = [_place(file, one, why) for one, why in places[:LISTED]]
        yield skip(RULE, item, reason, count_functions(len(places)), listed)
    wanted = framing.framed + len(framing.unframed)
    if found.broken:
        names = ", ".join(str(one.function) for one in found.broken[:_NAMED])
        more = " …" if len(found.broken) > _NAMED else ""
        detail = (
            f"{len(found.broken):,} of {count_functions(wanted)} that make a frame keep no frame pointer: {names}{more}"
        )
        listed = [_place(file, one) for one in found.broken[:LISTED]]
        yield Check(rule=RULE, file=item.name, outcome="failed", detail=detail, places=tuple(listed))
    else:
        detail = f"{framing.framed:,} framed of {wanted:,}, {count_functions(framing.leaf)} without a frame; {framing.evidence}"
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
