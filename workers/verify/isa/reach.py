"""Which x86 functions only lawful code reaches: by calls, jumps and pointers, through others that are reached so alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from workers.formats.elf import SHT_DYNSYM, Elf
from workers.formats.facts import Function
from workers.verify.functions import FunctionTable
from workers.verify.isa.bodies import LARGEST
from workers.verify.isa.guards import Guards
from workers.verify.isa.pointers import Pointers
from workers.verify.isa.x86 import LONGEST

_ROUNDS = 4  # calls between lawful code and what it alone reaches: helpers of helpers
_MOST_FUNCTIONS = 2_000
_MOST_CODE = 256 << 20
"""Bytes searched for references, all rounds together."""
_TABLE = 64  # bytes before a pointer in data at which an instruction that reads the pointer's table may begin


@dataclass(frozen=True, slots=True)
class _Reference:
    """Something that leads to a function. ``guard`` says why that alone is lawful."""

    source: Function | None
    """``None``: from elsewhere (another file, data that no code is seen to read)."""
    guard: str = ""


class Reach:
    """The references among a file's functions, as far as they are asked for."""

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
        """Those of the rest that are reached only from lawful code, each with its reason.

        :param never: addresses of functions that the system itself calls: ``main``, initialisers.
        """
        if self._elf.type == "ET_REL":  # its references are relocations still, to be made by the linker
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
        held = self._held(sources, allowed)
        return {function: self._reason(sources[function]) for function in rest if function in held}

    def is_data(self, function: Function) -> bool:
        """Whether bytes between functions are a table: hand-written code keeps its constants beside it.

        No direct call or jump leads there, none leads from there to a function, and it is not instructions from end to end.
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
        """The functions not yet known to be reached from elsewhere, directly or through others."""

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
    def _held(sources: dict[Function, list[_Reference]], allowed: Set[Function]) -> set[Function]:
        """The functions all whose references come from lawful code or from one another, with a lawful one at the root."""

        def is_root(reference: _Reference) -> bool:
            return bool(reference.guard) or reference.source in allowed

        held = set(sources)
        while True:  # what is reached from elsewhere goes, and then what it reaches
            gone = {f for f in held if not all(is_root(r) or r.source in held for r in sources[f])}
            if not gone:
                break
            held -= gone
        rooted = {f for f in held if any(map(is_root, sources[f]))}
        while more := {f for f in held - rooted if any(r.source in rooted for r in sources[f])}:
            rooted |= more
        return rooted

    @staticmethod
    def _reason(references: Iterable[_Reference]) -> str:
        guards = [f"{each.source}, which {each.guard}" for each in references if each.guard]
        others = [str(each.source) for each in references if not each.guard]
        names = list(dict.fromkeys([*others, *guards]))
        return "reached: only from " + "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _references(self, wanted: Sequence[Function]) -> dict[Function, list[_Reference]]:
        """What leads to each function. One reached from elsewhere has a reference without a source."""
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
        """(function, place, target) of the instructions that lead into the ranges: candidates, each held against decoding."""
        seen = set()
        for at, target in self._guards.references.to(ranges, operands=data):
            source = self._functions.at(at)
            if at - source.address > LARGEST - LONGEST:  # not read: it may be a reference, so it counts as one
                yield source, at, target
                continue
            for place in self._guards.body(source).leads.get(target, ()):
                if place < at <= place + LONGEST and (place, target) not in seen:
                    seen.add((place, target))
                    yield source, place, target
