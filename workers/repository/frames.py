"""The metadata of packages in groups: each group is one compressed frame of every data file of an index.

zstd reads concatenated frames as one stream (RFC 8878, section 3). So an index is a sequence of frames, and a change
compresses only the groups that it touches. A new package goes to a group that changes anyway, or else to the newest
group; the order of packages in an index has no meaning.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from workers.repository.tables import KINDS, Frame, insert

GROUP_PACKAGES = 96
GROUP_XML = 512 * 1024
"""A group is full when it has this many packages, or this many characters of XML."""
LEVEL = 6  # of zstd: a group takes 1 ms; 9 saves 3 % of bytes for twice the time


def compressed(data: bytes) -> bytes:
    """One zstd frame with the data."""
    import zstandard

    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


class Frames:
    """The groups of a catalogue in its next snapshot."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._touched: set[tuple[str, int]] = set()
        self._open: dict[str, dict[int, tuple[int, int]]] = {}
        """Repository → group with room → its packages and characters of XML."""

    def read(self, repository: str, kind: str) -> list[Frame]:
        """The frames of a data file, in order."""
        rows = self._db.execute(
            "SELECT packages, data FROM frames WHERE repository = ? AND kind = ? AND until IS NULL ORDER BY grp",
            (repository, kind),
        )
        return [Frame(*row) for row in rows]

    def touch(self, groups: Iterable[tuple[str, int]]) -> None:
        """Mark groups (repository, number) as changed."""
        self._touched.update(groups)

    def room(self, repository: str, size: int) -> int:
        """The group for one more package: one that changes anyway, the newest, or a new one.

        :param size: characters of its XML.
        """
        if not (open_groups := self._open.setdefault(repository, {})):
            touched = {group for name, group in self._touched if name == repository}
            for group in sorted(touched | {self._newest(repository)}):
                open_groups[group] = self._filled(repository, group)
        for group, (count, taken) in list(open_groups.items()):
            if not count or (count < GROUP_PACKAGES and taken + size <= GROUP_XML):
                break
            if len(open_groups) > 1:
                del open_groups[group]
        else:
            open_groups.clear()
            group, count, taken = self._newest(repository) + 1, 0, 0
        open_groups[group] = (count + 1, taken + size)
        self._touched.add((repository, group))
        return group

    def compress(self, number: int) -> None:
        """Compress the changed groups again, for the snapshot of a number."""
        for repository, group in sorted(self._touched):
            # Without the plus, SQLite reads the whole repository in the order of its paths.
            rows = self._db.execute(
                "SELECT primary_xml, filelists_xml, other_xml FROM files "
                "WHERE repository = ? AND grp = ? AND until IS NULL ORDER BY +path",
                (repository, group),
            ).fetchall()
            for column, kind in enumerate(KINDS):
                self._db.execute(
                    "UPDATE frames SET until = ? WHERE repository = ? AND kind = ? AND grp = ? AND until IS NULL",
                    (number, repository, kind, group),
                )
                if rows:
                    data = compressed("".join(row[column] for row in rows).encode())
                    self._db.execute(insert("frames"), (number, repository, group, kind, len(rows), data))
        self._touched.clear()
        self._open.clear()

    def _newest(self, repository: str) -> int:
        last = self._db.execute("SELECT max(grp) FROM files WHERE repository = ?", (repository,)).fetchone()[0]
        return int(last or 0)

    def _filled(self, repository: str, group: int) -> tuple[int, int]:
        """Number of a group's packages, and of the characters of their XML."""
        count, taken = self._db.execute(
            "SELECT count(*), total(length(primary_xml) + length(filelists_xml) + length(other_xml)) "
            "FROM files WHERE repository = ? AND grp = ? AND until IS NULL",
            (repository, group),
        ).fetchone()
        return int(count), int(taken)
