"""The disassembly around what breaks a rule, for the people who mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workers.base.errors import MalformedError
from workers.formats.elf import Code, Elf
from workers.formats.pe import MAGIC as PE_MAGIC
from workers.formats.pe import Pe
from workers.results import Check, Place
from workers.verify.evidence import Item, map_file
from workers.verify.isa import excerpt
from workers.verify.rules import frames, isa

SHOWN = 20
"""Functions of one finding that are shown with their code."""
SHOWN_IN_ALL = 200
"""Of all findings: outside x86 each is a run of objdump."""
LISTED_IN_ALL = 10_000
"""Functions that a result lists. A compiler without frame pointers has forty thousand, a kernel's modules some thousands
each; every finding tells how many there are."""


def add_excerpts(checks: Sequence[Check], items: Mapping[str, Item]) -> tuple[Check, ...]:
    """The same checks, the first first: as many functions as people can read, the first of them with their code.

    :param items: the name of each file, as its checks call it → the item.
    """
    shown, listed = SHOWN_IN_ALL, LISTED_IN_ALL
    answers = []
    for check in checks:
        places = check.places[:listed]
        listed -= len(places)
        if check.outcome == "failed" and check.rule in (frames.RULE, isa.RULE) and check.file in items:
            count = min(SHOWN, shown, len(places))
            shown -= count
            places = (*_shown(check.rule, places[:count], items[check.file]), *places[count:])
        answers.append(check if places == check.places else check.model_copy(update={"places": places}))
    return tuple(answers)


def _shown(rule: str, places: Sequence[Place], item: Item) -> tuple[Place, ...]:
    if not places:
        return ()
    try:
        codes, machine = _code(item)
    except MalformedError:  # named where the file is judged
        return tuple(places)
    found: list[Place] = []
    for place in places:
        code = next((code for code in codes if code.address <= place.address < code.end), None)
        begin = place.function_address or place.address
        lines = excerpt(code, begin, place.address, place.size if rule == isa.RULE else 0, machine) if code else ()
        found.append(place.model_copy(update={"excerpt": lines}))
    return tuple(found)


def _code(item: Item) -> tuple[Sequence[Code], str]:
    data = map_file(item.content, item.offset, item.size)
    file = Pe(data) if bytes(data[:2]) == PE_MAGIC else Elf(data)
    return file.code, file.machine
