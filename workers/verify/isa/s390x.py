"""Instructions of z/Architecture above a level. The first two bits of an instruction give its size: 2, 4, 4 or 6 bytes.

Formats and operation codes: z/Architecture Principles of Operation (SA22-7832), chapter 5, "Instruction Formats".
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from workers.formats.elf_records import Code
from workers.verify.isa.gnu import Tools, disassemble
from workers.verify.isa.levels import Level
from workers.verify.isa.reduce import Reduction
from workers.verify.isa.shapes import Scale, Verdict, needs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Encodings = NDArray[np.uint64]
    Places = NDArray[np.intp]

_SIZES = (2, 4, 4, 6)
"""Bytes of an instruction, by its first two bits."""
_WIDTH = 256  # halfwords of a row; many rows of code are walked together
_RESTART = 4  # marks a halfword at which an instruction begins, whatever is before it
_CHUNK = 1 << 20  # halfwords in one step, so that intermediate arrays stay small

# First byte → the bits that make the kind: the operation code and, if masks among the operands select the instruction,
# these masks. For a first byte that is not listed, this byte is the operation code of an instruction of 4 or 6 bytes.
_KEPT = {
    **dict.fromkeys(range(0x40), "ffff 0000 0000"),  # RR, E
    **dict.fromkeys((0xA5, 0xA7, 0xC0, 0xC2, 0xC4, 0xC6, 0xC8, 0xCC), "ff0f 0000 0000"),  # RI, RIL, SSF
    0xB2: "ffff ffff 0000",  # S, RRE, RRF
    **dict.fromkeys((0xB3, 0xB9), "ffff ff00 0000"),  # RRE, RRF: all but the last two registers
    0xE5: "ffff 0000 0000",  # SIL, SSE
    **dict.fromkeys((0xE3, 0xEB, 0xEC, 0xED), "ff00 0000 00ff"),  # RXY, RSY, RIE, RXE …
    **dict.fromkeys((0xE6, 0xE7), "ff0f ffff f0ff"),  # vectors
}
_KEPT_OTHERWISE = "ff00 0000 0000"
# In vector loads and stores (VRX: VLEB … VST), displacements take the place of masks.
_VECTOR_STORAGE = (*range(0x0C), 0x0E)
_KEPT_VECTOR_STORAGE = 0xFF000000_F0FF0000

_REGISTER = re.compile(r"(%[acfrv])\d+")
_PROCESSORS = ("z10", "z196", "zEC12", "z13", "z14", "z15", "z16", "z17")


class _Reduction:
    def __init__(self, codes: Sequence[Code], starts: Sequence[int]) -> None:
        import numpy as np

        self._codes = [(code, _begins(code, starts)) for code in codes]
        self.rest = 0
        sizes: Counter[int] = Counter()
        for code, begins in self._codes:
            whole = 0
            for _, encodings in _instructions(code, begins):
                kinds, counts = np.unique(_kinds(encodings), return_counts=True)
                for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
                    size = count * _SIZES[kind >> 62]
                    sizes[kind] += size
                    whole += size
            self.rest += len(code.data) - whole
        self.sizes = {_bytes(kind): size for kind, size in sizes.items()}

    def places(self, kinds: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        import numpy as np

        wanted = np.array([int.from_bytes(kind.ljust(8, b"\0"), "big") for kind in kinds], np.uint64)
        for code, begins in self._codes:
            for places, encodings in _instructions(code, begins):
                found = np.isin(_kinds(encodings), wanted)
                for place, encoding in zip(places[found].tolist(), encodings[found].tolist(), strict=True):
                    yield code.address + 2 * place, _bytes(encoding)


def reduction(codes: Sequence[Code], starts: Sequence[int], _tools: Tools) -> Reduction:
    """Return the distinct instructions of code."""
    return _Reduction(codes, starts)


def _bytes(encoding: int) -> bytes:
    return encoding.to_bytes(8, "big")[: _SIZES[encoding >> 62]]


def _begins(code: Code, starts: Sequence[int]) -> Bytes:
    """Return for each halfword whether an instruction begins there: at each start, and behind each instruction.

    An instruction begins where the one before it ends, so everything depends on the code from the last start on. To
    walk the rows of halfwords together, each row is walked from all three states in which it may be entered. The state
    is the number of halfwords that are left of an instruction. Then the rows are chained, which gives the real state of
    each row, and the rows are walked once more.
    """
    import numpy as np

    count = len(code.data) // 2
    first = np.frombuffer(code.data, np.uint8, count=2 * count)[::2]
    left = np.array([size // 2 - 1 for size in _SIZES], np.uint8)[first >> 6]
    inner = starts[bisect_left(starts, code.address) : bisect_left(starts, code.end)]
    restarts = [(start - code.address) // 2 for start in inner if start % 2 == code.address % 2]
    left[[place for place in restarts if place < count]] |= _RESTART
    grid = np.ascontiguousarray(np.pad(left, (0, -count % _WIDTH)).reshape(-1, _WIDTH).T)

    states = np.repeat(np.arange(3, dtype=np.uint8)[:, None], grid.shape[1], axis=1)
    for column in grid:
        states = _step(states, column)[1]
    entered = [0]
    for row in states.T.tolist():
        entered.append(row[entered[-1]])
    state = np.array(entered[:-1], np.uint8)
    begins = np.empty(grid.shape, np.uint8)
    for number, column in enumerate(grid):
        begins[number], state = _step(state, column)
    return np.ascontiguousarray(begins.T).reshape(-1)[:count]


def _step(state: Bytes, column: Bytes) -> tuple[NDArray[np.bool_], Bytes]:
    """Return whether instructions begin at these halfwords, and the states behind them."""
    import numpy as np

    begins = (state == 0) | (column >= _RESTART)
    return begins, np.where(begins, column & 3, state - np.uint8(1))


def _instructions(code: Code, begins: Bytes) -> Iterator[tuple[Places, Encodings]]:
    """Yield places (in halfwords) and encodings of the complete instructions, in chunks.

    An encoding is a 64-bit number: the first byte is the highest, and zeros follow the last one.
    """
    import numpy as np

    halfwords = np.pad(np.frombuffer(code.data, ">u2", count=len(begins)), (0, 2)).astype(np.uint64)
    for low in range(0, len(begins), _CHUNK):
        high = min(low + _CHUNK, len(begins))
        places = np.flatnonzero(begins[low : high + 3]) + low
        behind = np.append(places[1:], len(begins) if high + 3 >= len(begins) else places[-1])
        first = halfwords[places]
        size = np.array(_SIZES)[first >> np.uint64(14)] // 2
        whole = (behind - places == size) & (places < high)
        places, first, size = places[whole], first[whole], size[whole]
        encodings = first << np.uint64(48)
        encodings |= np.where(size > 1, halfwords[places + 1], 0) << np.uint64(32)
        encodings |= np.where(size > 2, halfwords[places + 2], 0) << np.uint64(16)
        yield places, encodings


@functools.cache
def _masks() -> Encodings:
    import numpy as np

    texts = [_KEPT.get(first, _KEPT_OTHERWISE) for first in range(256)]
    masks: Encodings = np.array([int.from_bytes(bytes.fromhex(text), "big") << 16 for text in texts], np.uint64)
    return masks


def _kinds(encodings: Encodings) -> Encodings:
    import numpy as np

    kinds: Encodings = encodings & _masks()[encodings >> np.uint64(56)]
    vectors = np.flatnonzero(encodings >> np.uint64(56) == 0xE7)
    storage = vectors[np.isin(encodings[vectors] >> np.uint64(16) & np.uint64(0xFF), _VECTOR_STORAGE)]
    kinds[storage] = encodings[storage] & np.uint64(_KEPT_VECTOR_STORAGE)
    return kinds


def verdicts(encodings: Sequence[bytes], level: Level, tools: Tools) -> list[Verdict]:
    """Return what each instruction needs beyond the level."""
    # Register 0 replaces all registers: in data, a pair may begin with an odd one, which the assembler always refuses.
    texts = [_REGISTER.sub(r"\g<1>0", text) for text in disassemble(tools, encodings)]
    return needs(tools, texts, _scale(level))


@functools.cache
def _scale(level: Level) -> Scale:
    """Return the scale above a level: the later processors."""
    later = _PROCESSORS[_PROCESSORS.index(level.name) + 1 :]
    return Scale(level.assembler[0], tuple((name, f"-march={name}") for name in later))
