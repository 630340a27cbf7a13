"""The addresses of a unit's code, and the unit of an address (DWARF 5, 2.17 and 7.25; DWARF 4, 2.17.3)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

from workers.base.errors import MalformedError
from workers.formats.dwarf.sections import DebugSection
from workers.formats.facts import Unit

Ranges = tuple[tuple[int, int], ...]

_END, _BASE_INDEX, _INDEX_INDEX, _INDEX_LENGTH, _OFFSETS, _BASE, _START_END, _START_LENGTH = range(8)  # DW_RLE_…
_MAX_RANGES = 2_000_000  # of one file; the largest libraries in use have some hundred thousand functions


class RangeLists:
    """A reader of a file's range lists. It has a budget: units of a hostile file may all refer to one long list."""

    def __init__(self, pairs: DebugSection | None, lists: DebugSection | None) -> None:
        """Take ``.debug_ranges`` (up to DWARF 4) and ``.debug_rnglists`` (DWARF 5)."""
        self._pairs = pairs
        self._lists = lists
        self._budget = _MAX_RANGES

    def debug_ranges(self, offset: int, base: int, size: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of the list at ``offset`` of ``.debug_ranges``.

        :param base: address that they are relative to.
        :param size: bytes of an address.
        """
        section = _require(self._pairs, ".debug_ranges")
        selects_base = (1 << 8 * size) - 1
        while True:
            self._spend()
            start, start_is_real = section.relocated_number(offset, size)
            end, end_is_real = section.relocated_number(offset + size, size)
            offset += 2 * size
            if start == selects_base:
                base = end
            elif start or end or start_is_real or end_is_real:
                # A relocation gives the address itself; the base does not count.
                yield (start if start_is_real else base + start), (end if end_is_real else base + end)
            else:
                return

    def list_offset(self, table: int, index: int, offset_size: int) -> int:
        """Return the offset of the list that a DW_FORM_rnglistx names.

        :param table: DW_AT_rnglists_base.
        """
        section = _require(self._lists, ".debug_rnglists")
        return table + section.number(table + index * offset_size, offset_size)

    def debug_rnglists(
        self, offset: int, base: int, size: int, address: Callable[[int], int]
    ) -> Iterator[tuple[int, int]]:
        """Yield the ranges of the list at ``offset`` of ``.debug_rnglists``.

        :param address: returns the entry of ``.debug_addr`` with an index.
        """
        section = _require(self._lists, ".debug_rnglists")
        while True:
            self._spend()
            kind, offset = section.number(offset, 1), offset + 1
            if kind == _END:
                return
            if kind == _BASE:
                base, offset = section.number(offset, size), offset + size
                continue
            if kind in (_START_END, _START_LENGTH):
                first, offset = section.number(offset, size), offset + size
            elif kind in (_BASE_INDEX, _INDEX_INDEX, _INDEX_LENGTH, _OFFSETS):
                first, offset = section.uleb(offset)
                first = base + first if kind == _OFFSETS else address(first)
            else:
                raise section.damage(offset - 1)
            if kind == _BASE_INDEX:
                base = first
                continue
            if kind == _START_END:
                second, offset = section.number(offset, size), offset + size
            else:
                second, offset = section.uleb(offset)
            if kind in (_INDEX_LENGTH, _START_LENGTH):
                second += first
            elif kind == _OFFSETS:
                second += base
            elif kind == _INDEX_INDEX:
                second = address(second)
            yield first, second

    def _spend(self) -> None:
        self._budget -= 1
        if self._budget < 0:
            raise MalformedError(f"damaged debug data: more than {_MAX_RANGES} address ranges")


def _require(section: DebugSection | None, name: str) -> DebugSection:
    if section is None:
        raise MalformedError(f"damaged debug data: a unit refers to {name}, which is not there")
    return section


def merged_ranges(ranges: Iterator[tuple[int, int]] | Ranges, size: int) -> Ranges:
    """Return ranges in order, with adjacent ones joined.

    Ranges of functions that the linker dropped are left out: they are empty, or begin at 0 or at the end of the address
    space (GNU ld writes 0 or 1, LLVM's linker -1 or -2).

    :param size: bytes of an address.
    """
    tombstone = (1 << 8 * size) - 2
    found: list[tuple[int, int]] = []
    for start, end in sorted(r for r in ranges if 0 < r[0] < r[1] and r[0] < tombstone):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


class UnitTable:
    """Compile units by address: made once for a file, searched once for each function."""

    def __init__(self, units: Iterable[Unit]) -> None:
        rows = sorted(
            ((start, end, unit) for unit in units for start, end in unit.ranges), key=lambda row: (row[0], row[1])
        )
        self._starts = [start for start, _, _ in rows]
        self._rows = rows
        # Ranges overlap if the linker folds equal functions of several units. For each row: the index of the range, of
        # this and all earlier ones, that ends last. If any of these ranges has an address, that range has it.
        self._reach: list[int] = []
        for index, (_, end, _) in enumerate(rows):
            best = self._reach[-1] if self._reach else index
            self._reach.append(index if end > rows[best][1] else best)

    def at(self, address: int) -> Unit | None:
        """Return the unit whose code has an address, or ``None``. It prefers the range that begins last."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        for candidate in (index, self._reach[index]):
            if address < self._rows[candidate][1]:
                return self._rows[candidate][2]
        return None
