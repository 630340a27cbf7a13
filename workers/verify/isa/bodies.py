"""What an x86 function does that matters to run-time dispatch: CPUID and similar, reads, writes, calls, pointers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from iced_x86 import (
    Code as Codes,
)
from iced_x86 import (
    Decoder,
    Instruction,
    InstructionInfoFactory,
    Mnemonic,
    OpAccess,
    OpKind,
    Register,
)

from workers.formats.elf import Elf
from workers.formats.elf_records import SHF_EXECINSTR, SHT_RELA
from workers.formats.facts import Function
from workers.verify.isa.decisions import Decisions
from workers.verify.isa.pointers import Pointers

LARGEST = 1 << 18
"""Bytes of a function that are read. One of the 45,000 functions of cc1 is larger."""
_MOST_READ = 16 << 20  # bytes of code of one file: some ten seconds
_MOST_KEPT = 2 << 20  # bytes of code whose instructions are kept; they need some thirty times this memory
_ASKING = frozenset([Codes.CPUID, Codes.XGETBV, Codes.RDSSPD_R32, Codes.RDSSPQ_R64])
_WRITES = (OpAccess.WRITE, OpAccess.COND_WRITE, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE)
_IMMEDIATES = (OpKind.IMMEDIATE32, OpKind.IMMEDIATE32TO64, OpKind.IMMEDIATE64)
# x86-64 psABI, table 4.9: relative to the place, absolute, through the GOT.
_PC_TYPES, _ABSOLUTE_TYPES, _GOT_TYPES = frozenset([2, 4]), frozenset([1, 10, 11]), frozenset([9, 41, 42])


@dataclass(slots=True)
class Body:
    """One function. A *place* is the address of an instruction."""

    asks: list[int] = field(default_factory=list)
    """Places of CPUID, XGETBV and RDSSP."""
    reads: list[tuple[int, int]] = field(default_factory=list)
    """(place, address) of words of data that are read."""
    writes: list[tuple[int, int]] = field(default_factory=list)
    """(place, address) of words of data that are written."""
    points: list[tuple[int, int]] = field(default_factory=list)
    """(place, address) of code or data whose address it takes, directly or from the GOT."""
    goes: list[tuple[int, int]] = field(default_factory=list)
    """(place, address) of direct calls and jumps."""
    names: list[tuple[int, str]] = field(default_factory=list)
    """(place, symbol) of symbols of other files that it uses."""

    instructions: list[Instruction] = field(default_factory=list)
    undecoded: int = 0
    """Bytes that are no instructions."""
    _decisions: Decisions | None = None
    _leads: dict[int, list[int]] = field(default_factory=dict)

    @property
    def decisions(self) -> Decisions:
        """The decisions of the function, and the paths through it."""
        if self._decisions is None:
            self._decisions = Decisions(self.instructions)
        return self._decisions

    @property
    def leads(self) -> Mapping[int, Sequence[int]]:
        """Address → the places that use it."""
        if not self._leads:
            for place, address in (*self.goes, *self.points, *self.reads, *self.writes):
                self._leads.setdefault(address, []).append(place)
        return self._leads


class Bodies:
    """The functions of one x86 file, each read on demand."""

    def __init__(self, elf: Elf, pointers: Pointers) -> None:
        self._elf, self._pointers = elf, pointers
        self._known: dict[int, Body] = {}
        self._info = InstructionInfoFactory()
        self._read_bytes = 0

    def of(self, function: Function, end: int) -> Body:
        """Return what a function does.

        :param end: the address behind its last byte.
        """
        if function.address not in self._known:
            end = min(end, function.address + LARGEST)
            self._read_bytes += end - function.address
            if self._read_bytes // _MOST_KEPT != (self._read_bytes - (end - function.address)) // _MOST_KEPT:
                self._known.clear()
            self._known[function.address] = Body() if self.exhausted else self._read(function.address, end)
        return self._known[function.address]

    @property
    def exhausted(self) -> bool:
        """Whether the limit of code to read is reached. Functions that are not read explain nothing."""
        return self._read_bytes > _MOST_READ

    @cached_property
    def _fixups(self) -> dict[int, tuple[int, int, str]]:
        """The relocations of an object: place → (type, address that it stands for, symbol of another file)."""
        fixups: dict[int, tuple[int, int, str]] = {}
        elf = self._elf
        if elf.type != "ET_REL":
            return fixups
        tables = {}
        for section, entry in elf.relocations:
            if section.info >= len(elf.sections) or section.link >= len(elf.sections) or section.type != SHT_RELA:
                continue
            target = elf.sections[section.info]
            if target.flags & SHF_EXECINSTR:
                if section.link not in tables:
                    tables[section.link] = tuple(elf.symbols_of(elf.sections[section.link]))
                if entry.symbol < len(tables[section.link]):
                    symbol = tables[section.link][entry.symbol]
                    address = symbol.address + entry.addend if symbol.section else 0
                    fixups[target.address + entry.offset] = (entry.type, address, "" if symbol.section else symbol.name)
        return fixups

    @cached_property
    def _fixup_places(self) -> list[int]:
        return sorted(self._fixups)

    def _read(self, start: int, end: int) -> Body:
        body = Body()
        code = next((c for c in self._elf.code if c.address <= start < c.end), None)
        if code is None:
            return body
        data = bytes(code.data[start - code.address : max(min(end, code.end), start) - code.address])
        fixed = self._elf.type == "ET_EXEC"
        for each in Decoder(self._elf.bits, data, ip=start):
            body.instructions.append(each)
            if each.code == Codes.INVALID:
                body.undecoded += each.len
            if each.code in _ASKING:
                body.asks.append(each.ip)
            if self._fixups and self._relocated(each, body):
                continue
            if each.near_branch_target:
                body.goes.append((each.ip, each.near_branch_target))
            elif (address := self._memory(each)) is not None:
                self._uses(each, address, body)
            if fixed:
                body.points += [
                    (each.ip, each.immediate(number) & 0xFFFFFFFF_FFFFFFFF)
                    for number in range(each.op_count)
                    if each.op_kind(number) in _IMMEDIATES
                ]
        return body

    def _memory(self, each: Instruction) -> int | None:
        """Return the address of an operand in memory, if no register except the instruction pointer is part of it."""
        if each.is_ip_rel_memory_operand:
            return each.ip_rel_memory_address
        alone = each.memory_base == Register.NONE and each.memory_index == Register.NONE
        if alone and each.memory_displacement and each.segment_prefix == Register.NONE and self._elf.type == "ET_EXEC":
            return each.memory_displacement
        return None

    def _uses(self, each: Instruction, address: int, body: Body) -> None:
        if each.mnemonic == Mnemonic.LEA:
            body.points.append((each.ip, address))
            return
        if any(memory.access in _WRITES for memory in self._info.info(each).used_memory()):
            body.writes.append((each.ip, address))
        else:
            body.reads.append((each.ip, address))
            if name := self._pointers.imported(address):
                body.names.append((each.ip, name))
            elif pointer := self._pointers.at(address):
                body.points.append((each.ip, pointer))

    def _relocated(self, each: Instruction, body: Body) -> bool:
        """Add what an instruction of an object uses, from the relocations in it; return ``False`` if it has none."""
        index = bisect_left(self._fixup_places, each.ip)
        places = self._fixup_places[index : index + 2]
        within = [place for place in places if each.ip <= place < each.next_ip]
        for place in within:
            kind, address, name = self._fixups[place]
            if name:
                body.names.append((each.ip, name))
            elif kind in _GOT_TYPES:
                body.points.append((each.ip, address + (each.next_ip - place)))
            elif kind in _ABSOLUTE_TYPES:
                body.points.append((each.ip, address))
            elif kind in _PC_TYPES:
                address += each.next_ip - place
                if each.near_branch_target:
                    body.goes.append((each.ip, address))
                else:
                    self._uses(each, address, body)
        return bool(within)
