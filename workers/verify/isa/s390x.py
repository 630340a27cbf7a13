"""Instructions of z/Architecture above a level. The first two bits of an instruction say how long it is: 2, 4, 4 or 6 bytes.

Formats and operation codes: z/Architecture Principles of Operation (SA22-7832), chapter 5, "Instruction Formats".
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from workers.verify.elf import Code
from workers.verify.isa.gnu import Tools, disassembled
from workers.verify.isa.levels import Level
from workers.verify.isa.reduce import Reduction
from workers.verify.isa.shapes import Verdict, needs

# The last alternative takes what is left of an instruction that is cut at the end of its stretch.
_INSTRUCTION = re.compile(rb"[\x00-\x3f].|[\x40-\xbf]...|[\xc0-\xff].....|.{1,5}", re.DOTALL)
_SIZES = (2, 4, 4, 6)

# Which bits tell the kind, by the first byte: where the operation code lies and, where a mask among the operands chooses
# the instruction, that mask. Not named: the first byte of a 4 or 6 byte instruction is the operation code.
_WHOLE = b"\xff\xff\xff\xff\xff\xff"
_KEPT = {
    **dict.fromkeys(range(0x40), _WHOLE),
    **dict.fromkeys((0xA5, 0xA7, 0xC0, 0xC2, 0xC4, 0xC6, 0xC8, 0xCC), b"\xff\x0f\0\0\0\0"),  # RI, RIL, SSF
    0xB2: _WHOLE,
    **dict.fromkeys((0xB3, 0xB9), b"\xff\xff\xff\0\0\0"),  # RRE, RRF: all but the last two registers
    0xE5: b"\xff\xff\0\0\0\0",  # SIL, SSE
    **dict.fromkeys((0xE3, 0xEB, 0xEC, 0xED), b"\xff\0\0\0\0\xff"),  # RXY, RSY, RIE, RXE …
    **dict.fromkeys((0xE6, 0xE7), b"\xff\x0f\xff\xff\xf0\xff"),  # vectors: masks lie among the operands
}
_KEPT_OTHERWISE = b"\xff\0\0\0\0\0"
# Vector loads and stores (VRX: VLEB … VST): displacements where other vector instructions have masks.
_VECTOR_STORAGE = frozenset((*range(0x0C), 0x0E))
_KEPT_VECTOR_STORAGE = b"\xff\0\0\0\xf0\xff"

_RICHER = ("z10", "z196", "zEC12", "z13", "z14", "z15", "z16", "z17")


def _stretches(codes: Sequence[Code], starts: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Code between one start and the next: decoding begins anew at each, whatever data lay before."""
    for code in codes:
        data = bytes(code.data)
        inner = starts[bisect_left(starts, code.address + 1) : bisect_left(starts, code.end)]
        begins = [0, *(start - code.address for start in inner if start % 2 == 0)]
        for begin, end in zip(begins, [*begins[1:], len(data)], strict=True):
            yield code.address + begin, data[begin:end]


class _Reduction:
    def __init__(self, codes: Sequence[Code], starts: Sequence[int]) -> None:
        self._codes = codes
        self._starts = starts
        seen: Counter[bytes] = Counter()
        for _, data in _stretches(codes, starts):
            seen.update(_INSTRUCTION.findall(data))
        self._members: dict[bytes, list[bytes]] = {}
        self.sizes: dict[bytes, int] = {}
        self.rest = 0
        for encoding, count in seen.items():
            if len(encoding) != _SIZES[encoding[0] >> 6]:
                self.rest += count * len(encoding)
                continue
            kind = _kind_of(encoding)
            self.sizes[kind] = self.sizes.get(kind, 0) + count * len(encoding)
            self._members.setdefault(kind, []).append(encoding)

    def places(self, kinds: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        wanted = {encoding for kind in kinds for encoding in self._members[kind]}
        for address, data in _stretches(self._codes, self._starts):
            if not wanted.isdisjoint(_INSTRUCTION.findall(data)):
                for match in _INSTRUCTION.finditer(data):
                    if match[0] in wanted:
                        yield address + match.start(), match[0]


def reduction(codes: Sequence[Code], starts: Sequence[int], tools: Tools) -> Reduction:
    """The distinct instructions of code."""
    return _Reduction(codes, starts)


def _kind_of(encoding: bytes) -> bytes:
    kept = _KEPT.get(encoding[0], _KEPT_OTHERWISE)
    if encoding[0] == 0xE7 and encoding[5] in _VECTOR_STORAGE:
        kept = _KEPT_VECTOR_STORAGE
    return bytes(map(int.__and__, encoding, kept))


def verdicts(encodings: Sequence[bytes], level: Level, tools: Tools) -> list[Verdict]:
    """What each instruction needs beyond the level."""
    return needs(tools, list(disassembled(tools, encodings)), level.assembler[0], _richer(level.name))


@functools.cache
def _richer(level: str) -> tuple[tuple[str, str], ...]:
    """The processors after a level."""
    return tuple((name, f"-march={name}") for name in _RICHER[_RICHER.index(level) + 1 :])
