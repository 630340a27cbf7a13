"""Decisions of an x86 function on an answer, and the instructions that only one side of a decision reaches.

The order of addresses proves nothing: code behind a test need not depend on it. So the answer is followed through
registers and flags to the conditional jump that uses it. A place is behind that jump if every path to it takes the same
side.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import combinations

from iced_x86 import Code as Codes
from iced_x86 import (
    FlowControl,
    Instruction,
    InstructionInfoFactory,
    Mnemonic,
    OpAccess,
    Register,
    RegisterExt,
)

_FOLLOWED = 96  # instructions that are read after an answer; compilers test it within a dozen
_MOST_INSTRUCTIONS = 20_000  # of a function whose paths are followed
_MOST_FOR_PAIRS = 4_000
_MOST_DECISIONS = 6
_WRITING = (OpAccess.WRITE, OpAccess.COND_WRITE, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE)
_READING = (OpAccess.READ, OpAccess.COND_READ, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE)
_SAVED = frozenset([Register.RBX, Register.RBP, Register.R12, Register.R13, Register.R14, Register.R15])
_CPUID_ANSWER = frozenset([Register.RAX, Register.RBX, Register.RCX, Register.RDX])
_ENDS = (FlowControl.RETURN, FlowControl.UNCONDITIONAL_BRANCH, FlowControl.INDIRECT_BRANCH, FlowControl.EXCEPTION)
_CALLS = (FlowControl.CALL, FlowControl.INDIRECT_CALL)
_NAMES = {value: name for name, value in vars(Mnemonic).items() if isinstance(value, int)}

_PADDING = (Mnemonic.NOP, Mnemonic.INT3)

Edge = tuple[int, int]
"""One side of a conditional jump: (place of the jump, target of this side)."""


class Decisions:
    """The paths through one function."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self._all = instructions[:_MOST_INSTRUCTIONS]
        self._places = [each.ip for each in self._all]
        self._info = InstructionInfoFactory()
        self._cuts: dict[frozenset[Edge], set[int]] = {}

    def upon(self, place: int) -> tuple[list[Edge], list[int]]:
        """Return what the function decides on the answer that an instruction gives.

        :returns: the sides of conditional jumps, and the places of conditional moves.
        """
        index = bisect_right(self._places, place) - 1
        if index < 0 or self._places[index] != place:
            return [], []
        edges: list[Edge] = []
        moves: list[int] = []
        answer: set[int] = set()
        flags = False
        for number, each in enumerate(self._all[index : index + _FOLLOWED]):
            name = _NAMES.get(each.mnemonic, "")
            if each.flow_control == FlowControl.CONDITIONAL_BRANCH and flags:
                edges += [(each.ip, each.near_branch_target), (each.ip, each.next_ip)]
            if name.startswith("CMOV") and flags:
                moves.append(each.ip)
            read, written = self._registers(each)
            carries = number == 0 or bool(read & answer) or (flags and bool(each.rflags_read))
            if number == 0 and each.code in (Codes.CPUID, Codes.XGETBV):
                written = _CPUID_ANSWER
            if each.flow_control in _CALLS:
                answer = {Register.RAX} if number == 0 else answer & _SAVED
                flags = False
                continue
            answer = answer | written if carries else answer - written
            if each.rflags_modified:
                flags = carries
            if len(edges) >= 2 * _MOST_DECISIONS or not (answer or flags):
                break
        return edges, moves

    def _registers(self, each: Instruction) -> tuple[frozenset[int], frozenset[int]]:
        """Return the full registers that an instruction reads and writes. ``xor eax, eax`` does not count as a read."""
        read, written = set(), set()
        for used in self._info.info(each).used_registers():
            whole = RegisterExt.full_register(used.register)
            if used.access in _READING:
                read.add(whole)
            if used.access in _WRITING:
                written.add(whole)
        return frozenset(read), frozenset(written - {Register.RSP})

    @cached_property
    def _ways(self) -> dict[int, tuple[int, ...]]:
        """Place → the next places within the function. Indirect jumps may go to any code that no other path reaches."""
        inside = set(self._places)
        ways: dict[int, tuple[int, ...]] = {}
        indirect = []
        for each in self._all:
            onward = [] if each.flow_control in _ENDS else [each.next_ip]
            if each.flow_control in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH):
                onward.append(each.near_branch_target)
            if each.flow_control == FlowControl.INDIRECT_BRANCH:
                indirect.append(each.ip)
            ways[each.ip] = tuple(place for place in onward if place in inside)
        entry = self._places[0]
        for source in indirect or [entry]:
            ways[source] += tuple(self._orphans(ways))
        missed = self._orphans(ways)  # landing pads, and code that the indirect jumps do not reach
        ways[entry] += tuple(missed)
        return ways

    def _orphans(self, ways: dict[int, tuple[int, ...]]) -> list[int]:
        """Return the first instruction of each stretch that no path from the entry reaches, except padding."""
        reached = self._reached(ways, frozenset())
        found = []
        for each in self._all:
            place = each.ip
            if place not in reached and each.mnemonic not in _PADDING:
                found.append(place)
                reached |= self._reached(ways, frozenset(), place)
        return found

    def _reached(
        self, ways: dict[int, tuple[int, ...]], without: frozenset[Edge], entry: int | None = None
    ) -> set[int]:
        start = self._places[0] if entry is None else entry
        seen, pending = {start}, [start]
        while pending:
            place = pending.pop()
            for onward in ways[place]:
                if onward not in seen and (place, onward) not in without:
                    seen.add(onward)
                    pending.append(onward)
        return seen

    def behind(self, edges: Iterable[Edge], places: Iterable[int]) -> bool:
        """Return whether every path to each place takes one given side, or one of two sides."""
        open_places = set(places)
        sides = list(dict.fromkeys(edges))
        open_places -= {place for place, _ in sides}  # a place that is itself such a jump is decided by it
        cuts: list[tuple[Edge, ...]] = [(side,) for side in sides]
        if len(self._places) <= _MOST_FOR_PAIRS:
            cuts += [pair for pair in combinations(sides, 2) if pair[0][0] != pair[1][0]]
        inside = set(self._places)
        for cut in cuts:
            open_places = {
                place for place in open_places if place not in inside or place in self._without(frozenset(cut))
            }
            if not open_places:
                return True
        return not open_places

    def _without(self, cut: frozenset[Edge]) -> set[int]:
        """Return the places that can be reached if some sides are never taken."""
        if cut not in self._cuts:
            self._cuts[cut] = self._reached(self._ways, cut)
        return self._cuts[cut]
