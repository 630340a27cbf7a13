"""Where x86 code may refer to given addresses: a search over the bytes, at every offset, that misses no direct reference.

It finds too much (any four bytes may happen to be the distance to a function): what it finds is decoded before it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from workers.verify.elf import PT_LOAD, Elf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PIECE = 1 << 20  # bytes searched at once, so that what is computed of them stays small
_TRAILING = (0, 1, 2, 4)  # bytes of an immediate operand behind a distance: it counts from the end of the instruction
_HIGHEST = 1 << 62  # addresses above are no code's, and would not fit the arithmetic
# JMP, Jcc, LOOP, JRCXZ with a distance of one byte.
_SHORT = [0xEB, *range(0x70, 0x80), *range(0xE0, 0xE4)]


class References:
    """The places of a file's code that look like a distance or an address, found once."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf

    def to(self, ranges: Iterable[tuple[int, int]], *, operands: bool = False) -> Iterator[tuple[int, int]]:
        """(place of the distance or address, where it leads) of whatever may refer to one of the ranges.

        :param ranges: (first address, address behind the last).
        :param operands: the ranges are data, whose distance an immediate operand may follow.
        """
        import numpy as np

        bounds = _disjoint(ranges)
        if not bounds:
            return
        edges = np.array(bounds, dtype=np.int64)
        places, targets, relative = self._found
        for extra in _TRAILING if operands else (0,):
            leads = targets + extra * relative
            near = np.flatnonzero((leads >= bounds[0]) & (leads < bounds[-1]))
            inside = near[np.searchsorted(edges, leads[near], side="right") & 1 == 1]
            yield from zip(places[inside].tolist(), leads[inside].tolist(), strict=True)

    @cached_property
    def _found(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Places, where they lead, and 1 for each that is a distance of four bytes (0: of one byte, or an address)."""
        import numpy as np

        loaded = [s for s in self._elf.segments if s.type == PT_LOAD]
        lowest = min((s.address for s in loaded), default=0)
        highest = max((s.address + s.memory_size for s in loaded), default=0)
        fixed = self._elf.type == "ET_EXEC" and highest < 1 << 32
        short = np.zeros(256, dtype=bool)
        short[_SHORT] = True
        parts: list[tuple[NDArray[np.int64], NDArray[np.int64], int]] = []
        for code in self._elf.code:
            if code.end > _HIGHEST:
                continue
            whole = np.frombuffer(code.data, dtype=np.uint8)
            for start in range(0, len(whole), _PIECE):
                piece = whole[max(start - 2, 0) : start + _PIECE + 4]
                base = code.address + max(start - 2, 0)
                jumps = np.flatnonzero(short[piece[:-1]])
                parts.append((jumps + base + 1, jumps + base + 2 + piece[jumps + 1].view(np.int8), 0))
                if len(piece) < 6:
                    continue
                before, earlier = piece[1:-4], piece[:-5]
                # CALL, JMP; Jcc; a ModRM with mod 00 and r/m 101.
                likely = (before & 0xFE == 0xE8) | ((before & 0xF0 == 0x80) & (earlier == 0x0F)) | (before & 0xC7 == 5)
                places = np.flatnonzero(likely) + 2
                parts.append((places + base, _words(piece, places).view(np.int32) + (places + base + 4), 1))
                if fixed:
                    places = np.arange(2, len(piece) - 3)
                    words = _words(piece, places)
                    places = places[(words >= lowest) & (words < highest)]
                    parts.append((places + base, _words(piece, places).astype(np.int64), 0))
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        flags = [np.full(len(places), flag, np.int64) for places, _, flag in parts]
        return np.concatenate([part[0] for part in parts]), np.concatenate([p[1] for p in parts]), np.concatenate(flags)


def _words(piece: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.uint32]:
    import numpy as np

    words = np.zeros(len(places), dtype=np.uint32)
    for number in range(4):
        words |= piece[places + number].astype(np.uint32) << np.uint32(8 * number)
    return words


def _disjoint(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """The ranges' starts and ends, in order, what overlaps or touches made one."""
    bounds: list[int] = []
    for start, end in sorted(ranges):
        if start < 0 or end > _HIGHEST:
            continue
        if bounds and start <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        elif end > start:
            bounds += [start, end]
    return bounds
