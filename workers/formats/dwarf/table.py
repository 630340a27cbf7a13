"""Which compile unit an address belongs to."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from workers.formats.facts import Unit


class UnitTable:
    """Compile units by address: made once for a file, asked once for each function."""

    def __init__(self, units: Iterable[Unit]) -> None:
        rows = sorted(
            ((start, end, unit) for unit in units for start, end in unit.ranges), key=lambda row: (row[0], row[1])
        )
        self._starts = [start for start, _, _ in rows]
        self._rows = rows
        # Ranges overlap where linkers fold equal functions of several units. For each row, the one among it and those
        # before that reaches furthest: if any of them holds an address behind, that one does.
        self._reach: list[int] = []
        for index, (_, end, _) in enumerate(rows):
            best = self._reach[-1] if self._reach else index
            self._reach.append(index if end > rows[best][1] else best)

    def at(self, address: int) -> Unit | None:
        """The unit whose code holds an address, or ``None``; of several, the one whose range begins last if it may be."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        for candidate in (index, self._reach[index]):
            if address < self._rows[candidate][1]:
                return self._rows[candidate][2]
        return None
