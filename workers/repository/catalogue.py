"""Store the content of each snapshot in SQLite: the cost of a publication depends on its changes only.

A publication writes rows of the next number (:mod:`workers.repository.tables`) and commits them before users see it.
Readers ask for the number that they see. A publication that was killed before the switch leaves rows of a number that
no reader sees; :meth:`Catalogue.recover` removes them. The metadata of packages is stored as the XML of the index, and
a second time compressed, group by group (:mod:`workers.repository.frames`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workers.base.errors import CannotRun
from workers.repository.frames import Frames
from workers.repository.tables import COLUMNS, NAMES, SCHEMA, VERSION, File, Metadata, insert, valid


class Catalogue:
    """The rows. Reading needs no lock; the only writer holds the lock of the repositories."""

    def __init__(self, path: Path) -> None:
        """Open the catalogue; create it if it does not exist.

        :raises CannotRun: if it has another version or cannot be opened.
        """
        self._path = path
        with self._errors():
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            empty = path.stat().st_size == 0
            if version != VERSION and not empty:
                raise CannotRun(f"{path} has version {version}, not {VERSION}", "use the kitten that wrote it")
            if empty:
                self._db.execute("PRAGMA page_size = 16384")  # a frame has some thousand bytes
                self._db.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        self.frames = Frames(self._db)
        """The compressed metadata of each repository."""

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Catalogue]:
        """Use a catalogue and close it; changes that were not committed are rolled back."""
        catalogue = cls(path)
        try:
            with catalogue._errors():
                yield catalogue
        finally:
            catalogue._db.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            hint = "free some room, then run it again" if "full" in str(error) else "run it again"
            raise CannotRun(f"cannot use {self._path}: {error}", hint) from None

    # ------------------------------------------------------------------------------------------------------- reading

    def published(self, at: int, package: str | None = None) -> list[str]:
        """The records (JSON) of a snapshot, sorted by target and package."""
        which, names = ("AND package = ?", (package,)) if package else ("", ())
        rows = self._db.execute(
            f"SELECT record FROM published WHERE {valid(at)} {which} ORDER BY target, package",  # noqa: S608 - ours
            names,
        )
        return [row[0] for row in rows]

    def arrivals(self, up_to: int, package: str | None = None) -> list[tuple[str, str, str, str, str]]:
        """Every version that came up to a snapshot, oldest first: package, target, NEVR, EVR and time (ISO 8601)."""
        which, names = ("AND package = ?", (package,)) if package else ("", ())
        columns = "package, target, nevr, evr, came"
        query = f"SELECT {columns} FROM arrivals WHERE since <= ? {which} ORDER BY since"  # noqa: S608 - ours
        return self._db.execute(query, (up_to, *names)).fetchall()

    def file(self, at: int, repository: str, path: str) -> File | None:
        """The file at a place in a snapshot."""
        found = self._files(f"repository = ? AND path = ? AND {valid(at)}", (repository, path))
        return next(iter(found), None)

    def related_files(self, at: int, repository: str, source: str, names: Sequence[str]) -> list[File]:
        """The packages of a repository that were made from a source package or have one of the names."""
        rows, marks = "SELECT rowid FROM files WHERE repository = ?", ",".join("?" * len(names))
        # SQLite uses an index for each SELECT; for OR it would read all rows.
        either = f"{rows} AND source = ? UNION {rows} AND name IN ({marks})"
        condition = f"rowid IN ({either}) AND {valid(at)} ORDER BY path"
        return self._files(condition, (repository, source, repository, *names))

    def files(self, at: int, repository: str) -> list[tuple[str, str, int]]:
        """Path, checksum and first snapshot of every file of a repository in a snapshot."""
        rows = self._db.execute(
            f"SELECT path, sha256, since FROM files WHERE repository = ? AND {valid(at)}",  # noqa: S608 - ours
            (repository,),
        )
        return rows.fetchall()

    def owners(self, at: int, repositories: Sequence[str], names: Sequence[str]) -> list[tuple[str, str, str]]:
        """Name, source package and ``[epoch:]version-release`` of a snapshot's binary packages with these names."""
        found = []
        places = ",".join("?" * len(repositories))
        for name in names:  # one by one: SQLite limits the number of values in a statement
            rows = self._db.execute(
                f"SELECT name, source, evr FROM files WHERE name = ? AND arch != 'src' AND {valid(at)} "  # noqa: S608
                f"AND repository IN ({places}) AND path NOT LIKE '%.src.rpm'",
                (name, *repositories),
            )
            found += rows.fetchall()
        return found

    def retired_files(self, at: int) -> list[tuple[str, str]]:
        """Repository and path of the files that were published, still exist, and are in no index of a snapshot."""
        rows = self._db.execute("SELECT repository, path FROM files WHERE until <= ?", (at,))
        return list(dict.fromkeys(rows.fetchall()))

    def file_at(self, repository: str, path: str) -> File | None:
        """The file at a place, even if no index names it any more."""
        return next(iter(self._files("repository = ? AND path = ?", (repository, path))), None)

    def extras(self, repository: str) -> dict[str, bytes]:
        """Further data files (``group``, ``updateinfo``) of the next snapshot: kind → uncompressed content."""
        rows = self._db.execute(
            "SELECT kind, data FROM extras WHERE repository = ? AND until IS NULL ORDER BY kind", (repository,)
        )
        return dict(rows.fetchall())

    def errata(self, repository: str) -> list[str]:
        """``<update>`` elements of a repository in the next snapshot."""
        rows = self._db.execute(
            "SELECT xml FROM errata WHERE repository = ? AND until IS NULL ORDER BY package", (repository,)
        )
        return [row[0] for row in rows]

    def names(self, repository: str) -> set[str]:
        """Names of a repository's packages in the next snapshot."""
        rows = self._db.execute(
            "SELECT DISTINCT name FROM files WHERE repository = ? AND name IS NOT NULL AND until IS NULL", (repository,)
        )
        return {row[0] for row in rows}

    def _files(self, condition: str, values: Sequence[object]) -> list[File]:
        rows = self._db.execute(
            "SELECT repository, path, sha256, size, unsigned_sha256, "  # noqa: S608 - ours
            f"name, evr, arch, source, primary_xml, filelists_xml, other_xml FROM files WHERE {condition}",
            values,
        )
        return [_file(row) for row in rows]

    # ------------------------------------------------------------------------------------------------------- writing

    def recover(self, current: int) -> list[tuple[str, str]]:
        """Remove the rows of a publication that users never saw, and return the places of files that only it had."""
        unseen = self._db.execute("SELECT repository, path FROM files WHERE since > ?", (current,)).fetchall()
        with self.transaction():
            for table in NAMES:
                self._db.execute(f"DELETE FROM {table} WHERE since > ?", (current,))  # noqa: S608 - ours
                retired = ", retired = NULL" if table == "files" else ""
                self._db.execute(f"UPDATE {table} SET until = NULL{retired} WHERE until > ?", (current,))  # noqa: S608
            self._db.execute("DELETE FROM arrivals WHERE since > ?", (current,))
        return [place for place in dict.fromkeys(unseen) if self.file_at(*place) is None]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes of the block, or none if it raises."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def set_record(self, number: int, package: str, target: str, record: str) -> None:
        """Replace the record of a package on a target."""
        self._db.execute(
            "UPDATE published SET until = ? WHERE package = ? AND target = ? AND until IS NULL",
            (number, package, target),
        )
        self._insert("published", number, (package, target, record))

    def add_arrival(self, number: int, package: str, target: str, nevr: str, evr: str, came: str) -> None:
        """Store that a version came. This outlives every snapshot: the lag of a target is counted from it."""
        values = (package, target, number, nevr, evr, came)
        self._db.execute("INSERT INTO arrivals (package, target, since, nevr, evr, came) VALUES (?,?,?,?,?,?)", values)

    def add(self, number: int, file: File) -> None:
        """Add a file to a repository."""
        columns: tuple[object, ...] = (None,) * 8
        if (m := file.metadata) is not None:
            group = self.frames.room(file.repository, sum(map(len, m.xml)))
            columns = (m.name, m.evr, m.arch, m.source, group, *m.xml)
        values = (file.repository, file.path, file.sha256, file.unsigned_sha256, file.size, *columns)
        self._insert("files", number, values)

    def retire(self, number: int, repository: str, path: str, now: float) -> None:
        """Remove a file from a repository's index. The file stays readable for a while."""
        where = "repository = ? AND path = ? AND until IS NULL"
        groups = self._db.execute(
            f"SELECT repository, grp FROM files WHERE {where} AND grp IS NOT NULL",  # noqa: S608 - no value
            (repository, path),
        )
        self.frames.touch(groups.fetchall())
        self._db.execute(
            f"UPDATE files SET until = ?, retired = ? WHERE {where}",  # noqa: S608 - ours
            (number, now, repository, path),
        )

    def set_extra(self, number: int, repository: str, kind: str, data: bytes | None) -> None:
        """Set a further data file of a repository, or remove it."""
        self._db.execute(
            "UPDATE extras SET until = ? WHERE repository = ? AND kind = ? AND until IS NULL",
            (number, repository, kind),
        )
        if data is not None:
            self._insert("extras", number, (repository, kind, data))

    def set_erratum(self, number: int, repository: str, package: str, xml: str | None) -> None:
        """Set the erratum of a package in a repository, or remove it."""
        self._db.execute(
            "UPDATE errata SET until = ? WHERE repository = ? AND package = ? AND until IS NULL",
            (number, repository, package),
        )
        if xml is not None:
            self._insert("errata", number, (repository, package, xml))

    def compress(self, number: int) -> None:
        """Compress the metadata of the groups that changed again; call it after all other changes."""
        self.frames.compress(number)

    def restore(self, number: int, to: int, now: float) -> set[str]:
        """Give the next snapshot the content of an earlier one, and return the repositories that differ."""
        # The plus stops SQLite from using an index of that column: the other condition selects fewer rows.
        newer, older = f"since > {to:d} AND +until IS NULL", f"until > {to:d} AND +since <= {to:d}"
        different: set[str] = set()
        for table in ("published", "files", "extras", "errata"):
            if table != "published":
                place = "repository, grp" if table == "files" else "repository, NULL"
                select = f"SELECT {place} FROM {table} WHERE"  # noqa: S608 - ours
                places = self._db.execute(f"{select} {newer} UNION {select} {older}").fetchall()
                different |= {repository for repository, _ in places}
                self.frames.touch((repository, group) for repository, group in places if group is not None)
            columns = ", ".join(COLUMNS[table])
            back = self._db.execute(f"SELECT {columns} FROM {table} WHERE {older}").fetchall()  # noqa: S608 - ours
            retired = f", retired = {now!r}" if table == "files" else ""
            self._db.execute(f"UPDATE {table} SET until = {number:d}{retired} WHERE {newer}")  # noqa: S608 - ours
            for row in back:
                self._insert(table, number, row)
        return different

    def prune(self, oldest: int, unreadable: float) -> Iterator[tuple[str, str, str]]:
        """Remove the rows that are older than the oldest kept snapshot.

        Yield the places of files that left every index before ``unreadable`` (s since 1970), each with its checksum
        before signing. The caller removes the file; then its row goes.
        """
        rows = self._db.execute(
            "SELECT rowid, repository, path, unsigned_sha256 FROM files WHERE until <= ? AND retired < ?",
            (oldest, unreadable),
        ).fetchall()
        gone = []
        for row, repository, path, unsigned in rows:
            others = (
                "SELECT 1 FROM files WHERE repository = ? AND path = ? AND (until IS NULL OR until > ? OR retired >= ?)"
            )
            if not self._db.execute(others, (repository, path, oldest, unreadable)).fetchone():
                yield repository, path, unsigned
            gone.append((row,))
        with self.transaction():
            self._db.executemany("DELETE FROM files WHERE rowid = ?", gone)
            for table in ("published", "frames", "extras", "errata"):
                self._db.execute(f"DELETE FROM {table} WHERE until <= ?", (oldest,))  # noqa: S608 - ours

    def has_signed(self, path: str, unsigned_sha256: str) -> bool:
        """Return whether a kept snapshot has the signed file of an unsigned package.

        :param path: its place in a repository, the same in all repositories.
        """
        found = self._db.execute(
            "SELECT 1 FROM files WHERE path = ? AND unsigned_sha256 = ? LIMIT 1", (path, unsigned_sha256)
        )
        return found.fetchone() is not None

    def _insert(self, table: str, number: int, values: Sequence[object]) -> None:
        self._db.execute(insert(table), (number, *values))


def _file(row: tuple[Any, ...]) -> File:
    repository, path, checksum, size, unsigned, name, evr, arch, source, *xml = row
    metadata = None if name is None else Metadata(name, evr, arch, source, (xml[0], xml[1], xml[2]))
    return File(repository, path, checksum, size, unsigned, metadata)
