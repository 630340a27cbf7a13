"""Where x86 code may refer to given addresses: a search over the bytes, at every offset, that misses no direct reference.

It finds too much (any four bytes may happen to be the distance to a function): what it finds is decoded before it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from workers.verify.elf import Code

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PIECE = 1 << 20  # bytes searched at once: what is computed of them takes twenty times as many
_TRAILING = (0, 1, 2, 4)  # bytes of an immediate operand behind a distance: it counts from the end of the instruction
_HIGHEST = 1 << 62  # addresses above are no code's, and would not fit the arithmetic
# JMP, Jcc, LOOP, JRCXZ with a distance of one byte.
_SHORT = bytes([0xEB, *range(0x70, 0x80), *range(0xE0, 0xE4)])


def referring(
    codes: Sequence[Code], ranges: Iterable[tuple[int, int]], *, absolute: bool = False, operands: bool = False
) -> Iterator[tuple[int, int]]:
    """(address of the distance, address it leads to) of whatever may be a reference into one of the ranges.

    :param ranges: (first address, address behind the last).
    :param absolute: also addresses as such, of code that is not position independent.
    :param operands: the ranges are data, whose distance an immediate operand may follow.
    """
    import numpy as np

    bounds = _disjoint(ranges)
    if not bounds:
        return
    edges = numpy.array(bounds, dtype=numpy.int64)
    short = numpy.zeros(256, dtype=bool)
    short[list(_SHORT)] = True
    for code in codes:
        whole = numpy.frombuffer(code.data, dtype=numpy.uint8)
        for start in range(0, len(whole), _PIECE):
            piece = whole[start : start + _PIECE + 3]
            if len(piece) < 2:
                continue
            places = numpy.arange(len(piece), dtype=numpy.int64) + (code.address + start)
            nearby = places[:-1] + 2 + piece[1:].view(numpy.int8)
            jumps = short[piece[:-1]] & _inside(edges, nearby)
            yield from zip((places[:-1][jumps] + 1).tolist(), nearby[jumps].tolist(), strict=True)
            if len(piece) < 4:
                continue
            wide = piece.astype(numpy.uint32)
            words = wide[:-3] | wide[1:-2] << 8 | wide[2:-1] << 16 | wide[3:] << 24
            distances = words.view(numpy.int32).astype(numpy.int64) + places[:-3] + 4
            candidates = [distances + extra for extra in (_TRAILING if operands else (0,))]
            if absolute:
                candidates.append(words.astype(numpy.int64))
            for targets in candidates:
                found = numpy.flatnonzero(_inside(edges, targets))
                yield from zip(places[found].tolist(), targets[found].tolist(), strict=True)


def _inside(edges: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    import numpy as np

    near = np.flatnonzero((targets >= edges[0]) & (targets < edges[-1]))
    inside = np.zeros(len(targets), dtype=bool)
    inside[near] = np.searchsorted(edges, targets[near], side="right") & 1 == 1
    return inside


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
