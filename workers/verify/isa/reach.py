"""x86 functions that only allowed code reaches: by calls, jumps and pointers, directly or through such functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from workers.formats.elf import Elf
from workers.formats.elf_records import SHT_DYNSYM
from workers.formats.facts import Function
from workers.verify.functions import FunctionTable
from workers.verify.isa.bodies import LARGEST
from workers.verify.isa.guards import Guards
from workers.verify.isa.pointers import Pointers
from workers.verify.isa.x86 import LONGEST

_ROUNDS = 4  # length of a chain of calls from allowed code: helpers of helpers
_MOST_FUNCTIONS = 2_000
_MOST_CODE = 256 << 20
"""Bytes searched for references in all rounds together."""
_TABLE = 64  # bytes before a pointer in data: an instruction may use the start of the table that contains it


@dataclass(frozen=True, slots=True)
class _Reference:
    """A call, a jump or a pointer that leads to a function."""

    source: Function | None
    """``None``: unknown (another file, or data that no known code reads)."""
    guard: str = ""
    """The test before it, which alone allows it; or empty."""


class Reach:
    """Finds references among a file's functions, on demand."""

    def __init__(self, elf: Elf, functions: FunctionTable, pointers: Pointers, guards: Guards) -> None:
        self._elf, self._functions, self._pointers, self._guards = elf, functions, pointers, guards
        self._exported = {
            symbol.address
            for section in elf.sections
            if section.type == SHT_DYNSYM
            for symbol in elf.symbols_of(section)
            if symbol.section and symbol.binding
        }

    def reasons(self, rest: Sequence[Function], allowed: Set[Function], never: Set[int]) -> dict[Function, str]:
        """Return the functions of ``rest`` that only allowed code reaches, each with its reason.

        :param never: addresses of functions that the system calls: ``main``, initialisers.
        """
        if self._elf.type == "ET_REL":  # its references are still relocations for the linker
            return {}
        sources: dict[Function, list[_Reference]] = {}
        budget = _MOST_CODE
        wanted = [function for function in rest if function.address not in never]
        for _ in range(_ROUNDS):
            budget -= sum(len(code.data) for code in self._elf.code)
            if not wanted or budget < 0 or len(sources) + len(wanted) > _MOST_FUNCTIONS:
                break
            found = self._references(wanted)
            sources.update({function: found.get(function, []) for function in wanted})
            open_ends = {
                reference.source
                for function in self._hopeful(sources, allowed, never)
                for reference in sources[function]
                if reference.source and not reference.guard and reference.source not in allowed
            }
            wanted = sorted(open_ends - sources.keys(), key=lambda function: function.address)
        if self._guards.exhausted:
            return {}
        reached = self._reached(sources, allowed)
        return {function: self._reason(sources[function]) for function in rest if function in reached}

    def is_data(self, function: Function) -> bool:
        """Return whether bytes between functions are a table: hand-written code often has its constants beside it.

        No direct call or jump leads there or from there to a function, and some of its bytes are no instruction.
        """
        end = self._guards.end_of(function)
        body = self._guards.body(function)
        known = set(self._functions.starts)
        if not body.undecoded or any(target in known for _, target in body.goes):
            return False
        entered = self._from_code([(function.address, end)], data=False)
        return not any(
            place for source, place, _ in entered if source != function and self._guards.is_jump(source, place)
        )

    @staticmethod
    def _hopeful(
        sources: Mapping[Function, Sequence[_Reference]], allowed: Set[Function], never: Set[int]
    ) -> set[Function]:
        """Return the functions that, as far as is known, no other code reaches, directly or through others."""

        def is_lost(reference: _Reference) -> bool:
            if reference.guard or reference.source in allowed:
                return False
            source = reference.source
            return source is None or source.address in never or (source in sources and source not in hopeful)

        hopeful = set(sources)
        while lost := {function for function in hopeful if any(map(is_lost, sources[function]))}:
            hopeful -= lost
        return hopeful

    @staticmethod
    def _reached(sources: dict[Function, list[_Reference]], allowed: Set[Function]) -> set[Function]:
        """Return the functions whose references all come from allowed code or from each other, with an allowed root."""

        def is_root(reference: _Reference) -> bool:
            return bool(reference.guard) or reference.source in allowed

        closed = set(sources)
        while True:  # remove functions that other code reaches, and then the functions that these reach
            gone = {f for f in closed if not all(is_root(r) or r.source in closed for r in sources[f])}
            if not gone:
                break
            closed -= gone
        rooted = {f for f in closed if any(map(is_root, sources[f]))}
        while more := {f for f in closed - rooted if any(r.source in rooted for r in sources[f])}:
            rooted |= more
        return rooted

    @staticmethod
    def _reason(references: Iterable[_Reference]) -> str:
        guards = [f"{each.source}, which {each.guard}" for each in references if each.guard]
        others = [str(each.source) for each in references if not each.guard]
        names = list(dict.fromkeys([*others, *guards]))
        return "reached: only from " + "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _references(self, wanted: Sequence[Function]) -> dict[Function, list[_Reference]]:
        """Return the references to each function. A reference from unknown code has no source."""
        found: dict[Function, list[_Reference]] = defaultdict(list)
        slots: dict[int, Function] = {}
        for function in wanted:
            if function.address in self._exported:
                found[function].append(_Reference(None))
                continue
            for slot in self._pointers.slots_of(function.address):
                slots[slot] = function
        inside = [(f.address, max(self._guards.end_of(f), f.address + 1)) for f in wanted if f not in found]
        for source, place, target in self._from_code(inside, data=False):
            function = self._functions.at(target)
            if source != function:
                found[function].append(_Reference(source, self._guard(source, place)))
        read: dict[int, list[_Reference]] = defaultdict(list)
        for source, place, target in self._from_code([(slot - _TABLE, slot + 1) for slot in slots], data=True):
            near = [slot for slot in range(target, target + _TABLE + 1) if slot in slots]
            for slot in near:
                read[slot].append(_Reference(source, self._guard(source, place)))
        for slot, function in slots.items():
            found[function] += read.get(slot) or [_Reference(None)]
        return found

    def _guard(self, source: Function, place: int) -> str:
        return self._guards.guard_before(source, [place], pointer=not self._guards.is_jump(source, place))

    def _from_code(self, ranges: Sequence[tuple[int, int]], *, data: bool) -> Iterable[tuple[Function, int, int]]:
        """Yield (function, place, target) for each instruction that leads into the ranges. Candidates are decoded."""
        seen = set()
        for at, target in self._guards.references.to(ranges, operands=data):
            source = self._functions.at(at)
            if at - source.address > LARGEST - LONGEST:  # not decoded: it may be a reference, so it counts
                yield source, at, target
                continue
            for place in self._guards.body(source).leads.get(target, ()):
                if place < at <= place + LONGEST and (place, target) not in seen:
                    seen.add((place, target))
                    yield source, place, target
