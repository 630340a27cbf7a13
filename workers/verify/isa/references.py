"""Search for places where x86 code may refer to given addresses, at every offset. It misses no direct reference.

It also finds other places, because any four bytes can look like the distance to a function. So callers decode each one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from workers.formats.elf import Elf
from workers.formats.elf_records import PT_LOAD

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Pairs = tuple[NDArray[np.uint32 | np.int64], NDArray[np.uint32 | np.int64]]

_PIECE = 1 << 20  # bytes searched in one step, so that intermediate arrays stay small
_TRAILING = (0, 1, 2, 4)  # bytes of an immediate operand after a distance, which counts from the end of the instruction
_HIGHEST = 1 << 62  # no code has a higher address; 64-bit integers could overflow
_UNSORTED = 20  # searches in unsorted arrays; sorting those of a large file takes as long as so many searches
_REACH = 130  # bytes: a signed byte, from the end of its instruction
# JMP, Jcc, LOOP, JRCXZ with a distance of one byte. A match may overlap the next one.
_SHORT = re.compile(rb"[\xeb\x70-\x7f\xe0-\xe3](?=(.))", re.DOTALL)


class References:
    """The places in a file's code that look like a distance or an address; they are searched once."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf

    def to(self, ranges: Iterable[tuple[int, int]], *, operands: bool = False) -> Iterator[tuple[int, int]]:
        """Return (place of the distance or address, target) for each possible reference to the ranges, by place.

        :param ranges: (first address, address behind the last).
        :param operands: whether the ranges are data; an immediate operand may follow a distance to data.
        """
        bounds = _merge(ranges)
        if not bounds:
            return iter(())
        direct, relative = self._found
        found = [*self._near(bounds), *direct.to(bounds, 0)]
        for extra in _TRAILING if operands else (0,):
            found += relative.to(bounds, extra)
        return iter(sorted(found))

    def _near(self, bounds: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield distances of one byte, whose targets are near them."""
        for code in self._elf.code:
            for low, high in zip(bounds[::2], bounds[1::2], strict=True):
                first = max(low - _REACH, code.address) - code.address
                for match in _SHORT.finditer(code.data[first : max(high + _REACH - code.address, first)]):
                    place = code.address + first + match.start() + 1
                    lead = place + 1 + int.from_bytes(match[1], "little", signed=True)
                    if low <= lead < high:
                        yield place, lead

    @cached_property
    def _found(self) -> tuple[_Leads, _Leads]:
        """Absolute addresses, and distances of four bytes, if their targets are in the file."""
        import numpy as np

        loaded = [s for s in self._elf.segments if s.type == PT_LOAD]
        lowest = min((s.address for s in loaded), default=0)
        highest = max((s.address + s.memory_size for s in loaded), default=0)
        if self._elf.type == "ET_REL":  # it is not loaded: addresses are offsets in the file
            lowest, highest = 0, len(self._elf.data)
        fixed = self._elf.type == "ET_EXEC" and highest < 1 << 32
        codes = [code for code in self._elf.code if code.end <= _HIGHEST]
        # Offsets from the lowest address fit into four bytes in nearly all files. A large file has millions of them.
        origin = min([lowest - _TRAILING[-1], *(code.address for code in codes)])
        extent = max([highest, *(code.end for code in codes)]) - origin
        kind = np.uint32 if extent < 1 << 32 else np.int64
        direct: list[_Pairs] = []
        relative: list[_Pairs] = []
        for code in codes:
            whole = np.frombuffer(code.data, dtype=np.uint8)
            for start in range(0, len(whole), _PIECE):
                piece = whole[max(start - 2, 0) : start + _PIECE + 4]
                base = code.address + max(start - 2, 0)
                if len(piece) < 6:
                    continue
                words = _words(piece)
                before, earlier = piece[1:-4], piece[:-5]
                # CALL, JMP; Jcc; a ModRM with mod 00 and r/m 101.
                likely = (before & 0xFE == 0xE8) | ((before & 0xF0 == 0x80) & (earlier == 0x0F)) | (before & 0xC7 == 5)
                places = np.flatnonzero(likely) + 2
                leads = words[places].view(np.int32) + (places + base + 4)
                inside = (leads >= lowest - _TRAILING[-1]) & (leads < highest)
                relative.append(
                    ((places[inside] + (base - origin)).astype(kind), (leads[inside] - origin).astype(kind))
                )
                if fixed:
                    places = np.flatnonzero((words >= lowest) & (words < highest))
                    leads = words[places].astype(np.int64) - origin
                    direct.append(((places + (base - origin)).astype(kind), leads.astype(kind)))
        return _Leads(direct, origin), _Leads(relative, origin)


class _Leads:
    """Places and their targets. The first searches go through all of them; before further ones, they are sorted."""

    def __init__(self, parts: Sequence[_Pairs], origin: int) -> None:
        """Store them.

        :param parts: places and targets, both relative to ``origin``.
        """
        import numpy as np

        nothing = np.zeros(0, parts[0][0].dtype if parts else np.int64)
        self._places = np.concatenate([nothing, *(part[0] for part in parts)])
        self._leads = np.concatenate([nothing, *(part[1] for part in parts)])
        self._origin = origin
        self._searches = 0

    def to(self, bounds: Sequence[int], extra: int) -> Iterator[tuple[int, int]]:
        """Yield (place, target) for targets that are, with ``extra`` bytes added, in one of the ranges.

        :param bounds: start, end, start, end … of the ranges, in order.
        """
        import numpy as np

        self._searches += 1
        highest = int(np.iinfo(self._leads.dtype).max)
        edges = np.array([min(max(b - extra - self._origin, 0), highest) for b in bounds], dtype=self._leads.dtype)
        if self._searches <= _UNSORTED:
            near = np.flatnonzero((self._leads >= edges[0]) & (self._leads < edges[-1]))
            inside = near[np.searchsorted(edges, self._leads[near], side="right") & 1 == 1]
            yield from self._pairs(inside, extra)
            return
        if self._searches == _UNSORTED + 1:
            order = np.argsort(self._leads, kind="stable")
            self._places, self._leads = self._places[order], self._leads[order]
        cuts = np.searchsorted(self._leads, edges, side="left").tolist()
        for first, last in zip(cuts[::2], cuts[1::2], strict=True):
            yield from self._pairs(slice(first, last), extra)

    def _pairs(self, which: NDArray[np.int64] | slice, extra: int) -> Iterator[tuple[int, int]]:
        for place, lead in zip(self._places[which].tolist(), self._leads[which].tolist(), strict=True):
            yield place + self._origin, lead + self._origin + extra


def _words(piece: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the number in the four bytes from each place on."""
    import numpy as np

    words = np.empty(len(piece) - 3, dtype=np.uint32)
    for shift in range(4):  # one view for each alignment is four times as fast as an index array
        count = (len(piece) - shift) // 4
        words[shift::4] = np.frombuffer(piece[shift : shift + 4 * count].tobytes(), dtype="<u4")
    return words


def _merge(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Return the starts and ends of the ranges, in order. Ranges that overlap or touch become one."""
    bounds: list[int] = []
    for start, end in sorted(ranges):
        if start < 0 or end > _HIGHEST:
            continue
        if bounds and start <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        elif end > start:
            bounds += [start, end]
    return bounds
