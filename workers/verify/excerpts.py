"""Excerpts of disassembly around findings, for the people who fix them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workers.base.errors import MalformedError
from workers.formats.elf import Elf
from workers.formats.elf_records import Code
from workers.formats.pe import MAGIC as PE_MAGIC
from workers.formats.pe import Pe
from workers.results import Check, Place
from workers.verify.evidence import Item, map_file
from workers.verify.isa import excerpt
from workers.verify.rules import frames, isa

SHOWN = 20
"""Functions of one finding that are shown with their code."""
SHOWN_IN_ALL = 200
"""The same for all findings together: outside x86, each needs one run of objdump."""
LISTED_IN_ALL = 10_000
"""Functions that a result lists. A compiler built without frame pointers has 40,000 of them, and each kernel module
can have some thousands. Every finding also gives their number."""


def add_excerpts(checks: Sequence[Check], items: Mapping[str, Item]) -> tuple[Check, ...]:
    """Shorten the lists of functions to what people can read, and add the code of the first functions.

    :param items: file name, as the checks give it → item.
    """
    shown, listed = SHOWN_IN_ALL, LISTED_IN_ALL
    kept = []
    for check in checks:
        places = check.places[:listed]
        listed -= len(places)
        if check.outcome == "failed" and check.rule in (frames.RULE, isa.RULE) and check.file in items:
            count = min(SHOWN, shown, len(places))
            shown -= count
            places = (*_places_with_code(check.rule, places[:count], items[check.file]), *places[count:])
        kept.append(check if places == check.places else check.model_copy(update={"places": places}))
    return tuple(kept)


def _places_with_code(rule: str, places: Sequence[Place], item: Item) -> tuple[Place, ...]:
    if not places:
        return ()
    try:
        codes, machine = _code(item)
    except MalformedError:  # another check of the file reports it
        return tuple(places)
    result: list[Place] = []
    for place in places:
        code = next((code for code in codes if code.address <= place.address < code.end), None)
        begin = place.function_address or place.address
        lines = excerpt(code, begin, place.address, place.size if rule == isa.RULE else 0, machine) if code else ()
        result.append(place.model_copy(update={"excerpt": lines}))
    return tuple(result)


def _code(item: Item) -> tuple[Sequence[Code], str]:
    data = map_file(item.content, item.offset, item.size)
    file = Pe(data) if bytes(data[:2]) == PE_MAGIC else Elf(data)
    return file.code, file.machine
