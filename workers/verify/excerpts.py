"""The disassembly around what breaks a rule, for the people who mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workers.results import Check, Place
from workers.verify.elf import Code, Elf
from workers.verify.evidence import Item, mapped
from workers.verify.header import MalformedError
from workers.verify.isa import excerpt
from workers.verify.pe import MAGIC as PE_MAGIC
from workers.verify.pe import Pe
from workers.verify.rules import frames, isa

SHOWN = 20
"""Functions of one finding that are shown with their code."""


def with_excerpts(checks: Sequence[Check], items: Mapping[str, Item]) -> tuple[Check, ...]:
    """The same checks; the first places of those that are violated carry the code around them.

    :param items: the name of each file, as its checks call it → the item.
    """
    return tuple(_shown(check, items.get(check.file)) for check in checks)


def _shown(check: Check, item: Item | None) -> Check:
    if item is None or check.outcome != "violated" or check.rule not in (frames.RULE, isa.RULE):
        return check
    try:
        codes, machine = _code(item)
    except MalformedError:  # named where the file is judged
        return check
    size_matters = check.rule == isa.RULE
    shown: list[Place] = []
    for place in check.places[:SHOWN]:
        code = next((code for code in codes if code.address <= place.address < code.end), None)
        begin = place.function_address or place.address
        lines = excerpt(code, begin, place.address, place.size if size_matters else 0, machine) if code else ()
        shown.append(place.model_copy(update={"excerpt": lines}))
    return check.model_copy(update={"places": (*shown, *check.places[SHOWN:])})


def _code(item: Item) -> tuple[Sequence[Code], str]:
    data = mapped(item.content, item.offset, item.size)
    file = Pe(data) if bytes(data[:2]) == PE_MAGIC else Elf(data)
    return file.code, file.machine
