"""x86 instructions above a level: search all executable bytes, and decode the stretches that may have one.

A file is cut at the starts of its functions, so data or padding before a function does not mislead the decoder. Most
stretches have, at no offset, the op code of an instruction above the level (:mod:`workers.verify.isa.encodings`). The
others are decoded from their start, and again from every jump that lands inside an instruction.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from iced_x86 import (
    Code as Codes,
)
from iced_x86 import (
    CpuidFeature,
    Decoder,
    DecoderOptions,
    FlowControl,
    Formatter,
    FormatterSyntax,
    Instruction,
    OpCodeInfo,
)

from workers.formats.elf_records import Code
from workers.formats.facts import Hit, ScanResult
from workers.verify.isa.encodings import pattern
from workers.verify.isa.levels import Level

if TYPE_CHECKING:
    from iced_x86 import Code_, DecoderOptions_

LONGEST = 15
"""Bytes of the longest instruction: Intel's manual, volume 2, section 2.3.11."""

_CODES: Sequence[Code_] = tuple(value for name, value in vars(Codes).items() if name.isupper())
_FEATURE_NAMES = {value: name for name, value in vars(CpuidFeature).items() if isinstance(value, int)}
# Codes that need other features than iced lists for them. In 64-bit mode, LAHF and SAHF belong to x86-64-v2 (psABI,
# table 3.1). RDSSP is in the hint space: without shadow stacks it does not change its register (Intel's manual, volume
# 1, section 17.3.3).
_EXCEPTIONS: dict[int, tuple[str, ...]] = {
    Codes.LAHF: ("LAHF_SAHF",),
    Codes.SAHF: ("LAHF_SAHF",),
    Codes.RDSSPD_R32: (),
    Codes.RDSSPQ_R64: (),
}
_PREFIXES = {  # legacy prefixes, and REX; Intel's manual, volume 2, section 2.1.1
    32: frozenset(b"\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65"),
    64: frozenset(b"\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65") | frozenset(range(0x40, 0x50)),
}
_APART = 64
"""Bytes after a jump's target in which two readings of the same code are followed. They soon agree."""
_REACH = 130  # bytes: a signed byte, from the end of its instruction
# JMP, Jcc, LOOP, JRCXZ with a distance of one byte. A match may overlap the next one.
_SHORT_JUMP = re.compile(rb"[\xeb\x70-\x7f\xe0-\xe3](?=(.))", re.DOTALL)
_MARK, _NO_MARK = "=> ", "   "


@dataclass(frozen=True, slots=True)
class _Table:
    """The codes above one level in one mode of the processor."""

    beyond: dict[Code_, tuple[str, ...]]
    """Code → the features that it needs beyond the level."""
    notable: frozenset[Code_]
    """The codes that a scan keeps: those above the level, direct jumps, and invalid ones."""
    search: re.Pattern[bytes]
    options: DecoderOptions_


@functools.cache
def _table(features: frozenset[str], bits: int) -> _Table:
    beyond: dict[Code_, tuple[str, ...]] = {}
    jumps = set()
    # GCC emits "rep bsf", which a processor without BMI1 runs as BSF. BSF and TZCNT differ only for a source of zero,
    # for which the result of BSF is undefined. So below BMI1, it is read as such a processor reads it. LZCNT and BSR
    # have different results, so LZCNT is not read as BSR.
    plain = "BMI1" not in features
    for code in _CODES:
        info = OpCodeInfo(code)
        if info.decoder_option or not (info.mode64 if bits == 64 else info.mode32):
            continue  # of no processor in use: the decoder yields it only with a special option
        instruction = Instruction()
        instruction.code = code
        missing = tuple(sorted(set(_needs(code, instruction, bits)) - features))
        if missing and not (plain and missing == ("BMI1",) and info.instruction_string.startswith("TZCNT")):
            beyond[code] = missing
        elif instruction.flow_control in _BRANCHES:
            jumps.add(code)
    notable = frozenset([*beyond, *jumps, Codes.INVALID])
    options = DecoderOptions.NO_MPFX_0FBC if plain else DecoderOptions.NONE
    return _Table(beyond, notable, pattern(beyond), options)


_BRANCHES = (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)


def _needs(code: int, instruction: Instruction, bits: int) -> tuple[str, ...]:
    if code in _EXCEPTIONS and (bits == 64 or not _EXCEPTIONS[code]):
        return _EXCEPTIONS[code]
    return tuple(_FEATURE_NAMES[feature] for feature in instruction.cpuid_features())


def scan(codes: Sequence[Code], starts: Sequence[int], level: Level, bits: int = 64) -> ScanResult:
    """Find every instruction above a level. A pure function; the parts of a large file can be scanned separately.

    :param starts: addresses of functions, in order.
    :param bits: 64, or 32 for code of i686.
    """
    table = _table(level.features, bits)
    hits: list[Hit] = []
    undecoded = 0
    for code in codes:
        first, last = bisect_right(starts, code.address), bisect_left(starts, code.end)
        cuts = [0, *(start - code.address for start in starts[first:last]), len(code.data)]
        reader = _Reader(bytes(code.data), code.address, bits, table)
        for (start, end), places in reader.suspects(cuts).items():
            found, strange = reader.above(start, end, places)
            hits += found
            undecoded += strange
    return ScanResult(tuple(sorted(hits, key=attrgetter("address"))), undecoded)


class _Reader:
    """Reads one contiguous piece of code. *Places* are offsets in it."""

    def __init__(self, data: bytes, address: int, bits: int, table: _Table) -> None:
        self._data, self._address, self._bits, self._table = data, address, bits, table
        self._decoder = self._decoding(data, 0)
        self._format = Formatter(FormatterSyntax.GAS).format

    def _decoding(self, data: bytes, place: int) -> Decoder:
        return Decoder(self._bits, data, self._table.options, ip=self._address + place)

    def _at(self, place: int) -> Instruction:
        self._decoder.position, self._decoder.ip = place, self._address + place
        return self._decoder.decode()

    def suspects(self, cuts: Sequence[int]) -> dict[tuple[int, int], list[int]]:
        """Return the stretches between cuts that may have an instruction above the level, and the possible places.

        A stretch is left out if decoding from its start, or from the target of a short jump, reaches none of the
        places.
        """
        found: dict[tuple[int, int], list[int]] = {}
        for match in self._table.search.finditer(self._data):
            for place in self._beginnings(match.start()):
                index = bisect_right(cuts, place)
                found.setdefault((cuts[index - 1], cuts[index]), []).append(place)
        return {s: places for s, places in found.items() if any(self._is_read(place, *s) for place in places)}

    def _is_read(self, place: int, start: int, end: int) -> bool:
        """Return whether an instruction may begin at a place in a stretch; True if unsure."""
        if self._is_reached(place, start):
            return True
        first, last = max(start, place - _APART - _REACH), min(end, place + _REACH)
        for match in _SHORT_JUMP.finditer(self._data, first, last):
            jump = match.start()
            target = jump + 2 + int.from_bytes(match[1], "little", signed=True)
            near = place - _APART <= target <= place
            if near and self._leads((max(target, start),), place) != {False} and self._is_reached(jump, start):
                return True
        return False

    def _is_reached(self, place: int, start: int) -> bool:
        """Return whether decoding from the start of a stretch reaches a place; True if unsure.

        No instruction is longer than :data:`LONGEST`, so decoding reaches at least one of as many places before it.
        Readings from these places soon agree. If they do not, the whole stretch must be decoded.
        """
        first = place - _APART
        origins = range(first, first + LONGEST) if first > start else (start,)
        return self._leads(origins, place) != {False}

    def _leads(self, origins: Iterable[int], place: int) -> set[bool]:
        """Return whether decoding from some places reaches another one: one answer if all agree, otherwise both."""
        decoder, instruction = self._decoder, Instruction()
        passed: set[int] = set()  # places from which an earlier reading continued
        answers = set()
        for at in origins:
            decoder.position = at
            while at < place and at not in passed:
                passed.add(at)
                decoder.decode_out(instruction)
                at += instruction.len
            if at >= place:
                answers.add(at == place)
        return answers

    def _beginnings(self, escape: int) -> Iterator[int]:
        """Yield where an instruction above the level with this escape byte begins: at the byte, or at a prefix."""
        data, beyond = self._data, self._table.beyond
        for place in range(escape, max(escape - LONGEST, -1), -1):
            if place < escape and data[place] not in _PREFIXES[self._bits]:
                break
            if self._at(place).code in beyond:
                yield place

    def above(self, start: int, end: int, places: Sequence[int]) -> tuple[list[Hit], int]:
        """Return the hits in one stretch, and the number of its bytes that are no instructions.

        :param places: where an instruction would be above the level, if it begins there.
        """
        notable, beyond = self._table.notable, self._table.beyond
        decoder = self._decoding(self._data[start:end], start)
        found = [each for each in decoder if each.code in notable]
        undecoded = sum(each.len for each in found if each.code == Codes.INVALID)
        if found and found[-1].code == Codes.INVALID:
            # The start of the next function may cut an instruction: a label inside it must not hide it.
            found.append(self._at(found[-1].ip - self._address))
        hits = {each.ip: each for each in found if each.code in beyond}
        targets = sorted({each.near_branch_target - self._address for each in found})
        for place in places:
            if self._address + place not in hits and self._jumped_to(place, start, targets):
                hits[self._address + place] = self._at(place)
        return [Hit(each.ip, each.len, beyond[each.code], self._format(each)) for each in hits.values()], undecoded

    def _jumped_to(self, place: int, start: int, targets: Sequence[int]) -> bool:
        """Return whether the processor reads an instruction at a place after a jump into another instruction.

        Hand-written code may jump over a prefix, as glibc does over ``lock``; hostile code could hide an instruction
        so.
        """
        for target in targets[bisect_left(targets, place - _APART) : bisect_right(targets, place)]:
            at = max(target, start)
            while at < place:
                at += self._at(at).len
            if at == place:
                return True
        return False


def disassembly(
    code: bytes | memoryview, address: int, around: Hit, *, before: int = 4, after: int = 4, bits: int = 64
) -> tuple[str, ...]:
    """Return the instructions around a hit, one line each: address, bytes, text. The hit's line begins with ``=>``.

    :param code: the bytes from ``address``, where an instruction begins, to behind the hit; for example of a function.
    :param before: lines before the hit.
    :param after: lines after the hit.
    """
    end = around.address + around.size + after * LONGEST - address
    decoder = Decoder(bits, bytes(code[: max(end, 0)]), ip=address)
    text = Formatter(FormatterSyntax.GAS).format
    lead: deque[Instruction] = deque(maxlen=before)
    for each in decoder:
        if each.next_ip > around.address:
            break
        lead.append(each)
    if not 0 <= around.address - address < len(code):
        return ()
    decoder.position, decoder.ip = around.address - address, around.address
    lines = []
    for each in (*lead, *islice(decoder, after + 1)):
        raw = bytes(code[each.ip - address : each.next_ip - address]).hex(" ")
        mark = _MARK if each.ip == around.address else _NO_MARK
        lines.append(f"{mark}{each.ip:x}:  {raw:<{3 * 8}} {text(each)}")
    return tuple(lines)
