"""What each snapshot of a set of repositories holds, in SQLite, so that a publication costs its change and not the whole.

A publication writes rows of the next number (:mod:`workers.repository.tables`) and commits before anything is shown; readers
ask for the number they see. A publication that was killed before the switch left rows of a number nobody sees:
:meth:`Catalogue.recover` takes them back. The metadata of packages is kept as the XML that goes into the index, and
again compressed, group by group (:mod:`workers.repository.frames`).
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
    """The rows. Reading needs no lock of the caller's; a writer holds the repositories' own, and is the only one."""

    def __init__(self, path: Path) -> None:
        """Open the catalogue, made if it is not there.

        :raises CannotRun: when it is of another version or cannot be opened.
        """
        self._path = path
        with self._words():
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            empty = path.stat().st_size == 0
            if version != VERSION and not empty:
                raise CannotRun(f"{path} is of version {version}, not {VERSION}", "use the kitten that wrote it")
            if empty:
                self._db.execute("PRAGMA page_size = 16384")  # a frame has some thousand bytes
                self._db.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        self.frames = Frames(self._db)
        """The compressed metadata of each repository."""

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Catalogue]:
        """Use a catalogue and close it; what was not committed is taken back."""
        catalogue = cls(path)
        try:
            with catalogue._words():
                yield catalogue
        finally:
            catalogue._db.close()

    @contextlib.contextmanager
    def _words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            hint = "free some room, then run it again" if "full" in str(error) else "run it again"
            raise CannotRun(f"cannot use {self._path}: {error}", hint) from None

    # ------------------------------------------------------------------------------------------------------- reading

    def published(self, at: int, package: str | None = None) -> list[str]:
        """The records (JSON) of a snapshot, in order of target and package."""
        which, names = ("AND package = ?", (package,)) if package else ("", ())
        rows = self._db.execute(
            f"SELECT record FROM published WHERE {valid(at)} {which} ORDER BY target, package",  # noqa: S608 - ours
            names,
        )
        return [row[0] for row in rows]

    def arrivals(self, up_to: int, package: str | None = None) -> list[tuple[str, str, str, str, str]]:
        """Every version that came up to a snapshot, the oldest first: package, target, NEVR, EVR, and when (ISO 8601)."""
        which, names = ("AND package = ?", (package,)) if package else ("", ())
        query = f"SELECT package, target, nevr, evr, came FROM arrivals WHERE since <= ? {which} ORDER BY since"  # noqa: S608
        return self._db.execute(query, (up_to, *names)).fetchall()

    def file(self, at: int, repository: str, path: str) -> File | None:
        """A file of a snapshot."""
        found = self._files(f"repository = ? AND path = ? AND {valid(at)}", (repository, path))
        return next(iter(found), None)

    def related_files(self, at: int, repository: str, source: str, names: Sequence[str]) -> list[File]:
        """The packages of a repository that were made from a source package, or have one of some names."""
        rows, marks = "SELECT rowid FROM files WHERE repository = ?", ",".join("?" * len(names))
        either = (
            f"{rows} AND source = ? UNION {rows} AND name IN ({marks})"  # an index for each; OR would read them all
        )
        condition = f"rowid IN ({either}) AND {valid(at)} ORDER BY path"
        return self._files(condition, (repository, source, repository, *names))

    def files(self, at: int, repository: str) -> list[tuple[str, str, int]]:
        """Path and checksum of every file of a repository in a snapshot, and the snapshot that brought it."""
        rows = self._db.execute(
            f"SELECT path, sha256, since FROM files WHERE repository = ? AND {valid(at)}",  # noqa: S608 - ours
            (repository,),
        )
        return rows.fetchall()

    def owners(self, at: int, repositories: Sequence[str], names: Sequence[str]) -> list[tuple[str, str, str]]:
        """Name, source package and ``[epoch:]version-release`` of the binary packages of some names in a snapshot."""
        found = []
        places = ",".join("?" * len(repositories))
        for name in names:  # one by one: there may be more than SQLite takes at once
            rows = self._db.execute(
                f"SELECT name, source, evr FROM files WHERE name = ? AND arch != 'src' AND {valid(at)} "  # noqa: S608
                f"AND repository IN ({places}) AND path NOT LIKE '%.src.rpm'",
                (name, *repositories),
            )
            found += rows.fetchall()
        return found

    def retired_files(self, at: int) -> list[tuple[str, str]]:
        """Repository and path of what was published once, is kept, and no index of a snapshot names."""
        rows = self._db.execute("SELECT repository, path FROM files WHERE until <= ?", (at,))
        return list(dict.fromkeys(rows.fetchall()))

    def file_at(self, repository: str, path: str) -> File | None:
        """What lies at a place, whether an index names it or no longer does."""
        return next(iter(self._files("repository = ? AND path = ?", (repository, path))), None)

    def extras(self, repository: str) -> dict[str, bytes]:
        """Further data files (``group``, ``updateinfo``) as the next snapshot has them: kind → uncompressed content."""
        rows = self._db.execute(
            "SELECT kind, data FROM extras WHERE repository = ? AND until IS NULL ORDER BY kind", (repository,)
        )
        return dict(rows.fetchall())

    def errata(self, repository: str) -> list[str]:
        """``<update>`` elements of a repository, as the next snapshot has them."""
        rows = self._db.execute(
            "SELECT xml FROM errata WHERE repository = ? AND until IS NULL ORDER BY package", (repository,)
        )
        return [row[0] for row in rows]

    def names(self, repository: str) -> set[str]:
        """Names of a repository's packages, as the next snapshot has them."""
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
        """Take back what a publication wrote that was never shown; the places that only it had files at."""
        unseen = self._db.execute("SELECT repository, path FROM files WHERE since > ?", (current,)).fetchall()
        with self.writing():
            for table in NAMES:
                self._db.execute(f"DELETE FROM {table} WHERE since > ?", (current,))  # noqa: S608 - ours
                retired = ", retired = NULL" if table == "files" else ""
                self._db.execute(f"UPDATE {table} SET until = NULL{retired} WHERE until > ?", (current,))  # noqa: S608
            self._db.execute("DELETE FROM arrivals WHERE since > ?", (current,))
        return [place for place in dict.fromkeys(unseen) if self.file_at(*place) is None]

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """All of it, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def set_record(self, number: int, package: str, target: str, record: str) -> None:
        """Put a record in place of the one there is."""
        self._db.execute(
            "UPDATE published SET until = ? WHERE package = ? AND target = ? AND until IS NULL",
            (number, package, target),
        )
        self._insert("published", number, (package, target, record))

    def add_arrival(self, number: int, package: str, target: str, nevr: str, evr: str, came: str) -> None:
        """Remember that a version came. That outlives every snapshot: how long a target is behind is counted from it."""
        values = (package, target, number, nevr, evr, came)
        self._db.execute("INSERT INTO arrivals (package, target, since, nevr, evr, came) VALUES (?,?,?,?,?,?)", values)

    def add(self, number: int, file: File) -> None:
        """Add a file to a repository."""
        said: tuple[object, ...] = (None,) * 8
        if (m := file.metadata) is not None:
            group = self.frames.room(file.repository, sum(map(len, m.xml)))
            said = (m.name, m.evr, m.arch, m.source, group, *m.xml)
        values = (file.repository, file.path, file.sha256, file.unsigned_sha256, file.size, *said)
        self._insert("files", number, values)

    def retire(self, number: int, repository: str, path: str, now: float) -> None:
        """Take a file out of a repository. It stays readable for a while."""
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
        """Set a further data file of a repository, or take it away."""
        self._db.execute(
            "UPDATE extras SET until = ? WHERE repository = ? AND kind = ? AND until IS NULL",
            (number, repository, kind),
        )
        if data is not None:
            self._insert("extras", number, (repository, kind, data))

    def set_erratum(self, number: int, repository: str, package: str, xml: str | None) -> None:
        """Set what users of a repository are told of a package's update, or take it away."""
        self._db.execute(
            "UPDATE errata SET until = ? WHERE repository = ? AND package = ? AND until IS NULL",
            (number, repository, package),
        )
        if xml is not None:
            self._insert("errata", number, (repository, package, xml))

    def compress(self, number: int) -> None:
        """Make the compressed metadata of what changed anew; to be called once all of it is said."""
        self.frames.compress(number)

    def restore(self, number: int, to: int, now: float) -> set[str]:
        """Give the next snapshot the content of an earlier one; the repositories that differ."""
        # A plus keeps SQLite from an index: the other condition names fewer rows.
        newer, older = f"since > {to:d} AND +until IS NULL", f"until > {to:d} AND +since <= {to:d}"
        different: set[str] = set()
        for table in ("published", "files", "extras", "errata"):
            if table != "published":
                place = "repository, grp" if table == "files" else "repository, NULL"
                select = f"SELECT {place} FROM {table} WHERE"  # noqa: S608 - ours
                places = self._db.execute(f"{select} {newer} UNION {select} {older}").fetchall()
                different |= {repository for repository, _ in places}
                self.frames.touch((repository, group) for repository, group in places if group is not None)
            back = self._db.execute(f"SELECT {', '.join(COLUMNS[table])} FROM {table} WHERE {older}").fetchall()  # noqa: S608
            retired = f", retired = {now!r}" if table == "files" else ""
            self._db.execute(f"UPDATE {table} SET until = {number:d}{retired} WHERE {newer}")  # noqa: S608 - ours
            for row in back:
                self._insert(table, number, row)
        return different

    def prune(self, oldest: int, unreadable: float) -> Iterator[tuple[str, str, str]]:
        """Forget what is older than the oldest snapshot that is kept.

        Yields the places of files that left every index before ``unreadable`` (s since 1970), with the checksum before
        signing; the caller removes each, and then it is forgotten.
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
        with self.writing():
            self._db.executemany("DELETE FROM files WHERE rowid = ?", gone)
            for table in ("published", "frames", "extras", "errata"):
                self._db.execute(f"DELETE FROM {table} WHERE until <= ?", (oldest,))  # noqa: S608 - ours

    def holds(self, path: str, unsigned_sha256: str) -> bool:
        """Whether a file of any kept snapshot was made from an unsigned package.

        :param path: its place in a repository, which is the same in each of them.
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
