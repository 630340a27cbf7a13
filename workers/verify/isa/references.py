"""Where x86 code may refer to given addresses: a search over the bytes, at every offset, that misses no direct reference.

It finds too much (any four bytes may happen to be the distance to a function): what it finds is decoded before it counts.
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

_PIECE = 1 << 20  # bytes searched at once, so that what is computed of them stays small
_TRAILING = (0, 1, 2, 4)  # bytes of an immediate operand behind a distance: it counts from the end of the instruction
_HIGHEST = 1 << 62  # addresses above are no code's, and would not fit the arithmetic
_UNSORTED = 20  # questions; to put all of a large file in order takes as long as to look through it so often
_REACH = 130  # bytes: a signed byte, counted from the end of its instruction
# JMP, Jcc, LOOP, JRCXZ with a distance of one byte. The next may begin within what looks like one.
_SHORT = re.compile(rb"[\xeb\x70-\x7f\xe0-\xe3](?=(.))", re.DOTALL)


class References:
    """The places of a file's code that look like a distance or an address, found once."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf

    def to(self, ranges: Iterable[tuple[int, int]], *, operands: bool = False) -> Iterator[tuple[int, int]]:
        """(place of the distance or address, where it leads) of whatever may refer to one of the ranges, by place.

        :param ranges: (first address, address behind the last).
        :param operands: the ranges are data, whose distance an immediate operand may follow.
        """
        bounds = _disjoint(ranges)
        if not bounds:
            return iter(())
        direct, relative = self._found
        found = [*self._near(bounds), *direct.to(bounds, 0)]
        for extra in _TRAILING if operands else (0,):
            found += relative.to(bounds, extra)
        return iter(sorted(found))

    def _near(self, bounds: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Distances of one byte: what they lead to lies around them."""
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
        """Addresses, and distances of four bytes, as far as they lead to a place within the file."""
        import numpy as np

        loaded = [s for s in self._elf.segments if s.type == PT_LOAD]
        lowest = min((s.address for s in loaded), default=0)
        highest = max((s.address + s.memory_size for s in loaded), default=0)
        if self._elf.type == "ET_REL":  # nothing is loaded yet: addresses are offsets in the file
            lowest, highest = 0, len(self._elf.data)
        fixed = self._elf.type == "ET_EXEC" and highest < 1 << 32
        codes = [code for code in self._elf.code if code.end <= _HIGHEST]
        # Counted from the lowest address, nearly all files' fit four bytes; of a large file there are millions.
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
    """Places by where they lead: looked through for the first few questions, and put in order for more."""

    def __init__(self, parts: Sequence[_Pairs], origin: int) -> None:
        """Take them.

        :param parts: places and where they lead, both counted from ``origin``.
        """
        import numpy as np

        nothing = np.zeros(0, parts[0][0].dtype if parts else np.int64)
        self._places = np.concatenate([nothing, *(part[0] for part in parts)])
        self._leads = np.concatenate([nothing, *(part[1] for part in parts)])
        self._origin = origin
        self._asked = 0

    def to(self, bounds: Sequence[int], extra: int) -> Iterator[tuple[int, int]]:
        """(place, where it leads) of those that lead, ``extra`` bytes further, into one of the ranges.

        :param bounds: start and end of each range, in turn and in order.
        """
        import numpy as np

        self._asked += 1
        highest = int(np.iinfo(self._leads.dtype).max)
        edges = np.array([min(max(b - extra - self._origin, 0), highest) for b in bounds], dtype=self._leads.dtype)
        if self._asked <= _UNSORTED:
            near = np.flatnonzero((self._leads >= edges[0]) & (self._leads < edges[-1]))
            inside = near[np.searchsorted(edges, self._leads[near], side="right") & 1 == 1]
            yield from self._pairs(inside, extra)
            return
        if self._asked == _UNSORTED + 1:
            order = np.argsort(self._leads, kind="stable")
            self._places, self._leads = self._places[order], self._leads[order]
        cuts = np.searchsorted(self._leads, edges, side="left").tolist()
        for first, last in zip(cuts[::2], cuts[1::2], strict=True):
            yield from self._pairs(slice(first, last), extra)

    def _pairs(self, which: NDArray[np.int64] | slice, extra: int) -> Iterator[tuple[int, int]]:
        for place, lead in zip(self._places[which].tolist(), self._leads[which].tolist(), strict=True):
            yield place + self._origin, lead + self._origin + extra


def _words(piece: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The four bytes from each place on, as a number."""
    import numpy as np

    words = np.empty(len(piece) - 3, dtype=np.uint32)
    for shift in range(4):  # a view for each alignment: four times as fast as to gather them
        count = (len(piece) - shift) // 4
        words[shift::4] = np.frombuffer(piece[shift : shift + 4 * count].tobytes(), dtype="<u4")
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
