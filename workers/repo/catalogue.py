"""What each snapshot of a set of repositories holds, in SQLite, so that a publication costs its change and not the whole.

Every row is valid from the snapshot that brought it up to the one that took it away, [since, until). A publication
writes rows of the next number and commits before anything is shown; readers ask for the number they see. A publication
that was killed before the switch left rows of a number nobody sees: :meth:`Catalogue.recover` takes them back.

The metadata of packages is kept as the XML that goes into the index, in groups of neighbours. Each group is one
compressed frame of each data file, so that a change compresses its own groups only; zstd and its readers take
concatenated frames for one stream (RFC 8878, 3).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import CannotRun

KINDS = ("primary", "filelists", "other")
"""The data files of an index that speak of packages."""
GROUP_PACKAGES = 96
GROUP_BYTES = 512 * 1024
"""A group takes no more packages when it has so many, or so many bytes of XML."""
LEVEL = 6  # of zstd: a group takes 1 ms; 9 saves 3 % of bytes for twice the time

_TABLES = """
CREATE TABLE IF NOT EXISTS published (package TEXT, target TEXT, since INTEGER, until INTEGER, record TEXT);
CREATE TABLE IF NOT EXISTS files (
    repository TEXT, path TEXT, since INTEGER, until INTEGER, retired REAL,
    sha256 TEXT, unsigned_sha256 TEXT, size INTEGER, name TEXT, evr TEXT, arch TEXT, source TEXT,
    grp INTEGER, primary_xml TEXT, filelists_xml TEXT, other_xml TEXT
);
CREATE TABLE IF NOT EXISTS frames (
    repository TEXT, grp INTEGER, kind TEXT, since INTEGER, until INTEGER, packages INTEGER, size INTEGER, data BLOB
);
CREATE TABLE IF NOT EXISTS extras (repository TEXT, kind TEXT, since INTEGER, until INTEGER, data BLOB);
CREATE TABLE IF NOT EXISTS errata (repository TEXT, package TEXT, since INTEGER, until INTEGER, xml TEXT);
CREATE INDEX IF NOT EXISTS errata_by_repository ON errata (repository, package);
CREATE INDEX IF NOT EXISTS published_by_package ON published (package, target);
CREATE INDEX IF NOT EXISTS published_until ON published (until);
CREATE INDEX IF NOT EXISTS files_by_path ON files (repository, path);
CREATE INDEX IF NOT EXISTS files_by_group ON files (repository, grp);
CREATE INDEX IF NOT EXISTS files_by_name ON files (name);
CREATE INDEX IF NOT EXISTS files_by_source ON files (source);
CREATE INDEX IF NOT EXISTS files_since ON files (since);
CREATE INDEX IF NOT EXISTS files_until ON files (until);
CREATE INDEX IF NOT EXISTS frames_by_group ON frames (repository, kind, grp);
CREATE INDEX IF NOT EXISTS frames_until ON frames (until);
CREATE INDEX IF NOT EXISTS extras_by_kind ON extras (repository, kind);
"""
_VERSION = 1
_NAMES = ("published", "files", "frames", "extras", "errata")
_COLUMNS = {
    "published": ("package", "target", "record"),
    "files": (
        *("repository", "path", "sha256", "unsigned_sha256", "size", "name", "evr", "arch", "source"),
        *("grp", "primary_xml", "filelists_xml", "other_xml"),
    ),
    "extras": ("repository", "kind", "data"),
    "errata": ("repository", "package", "xml"),
}


@dataclass(frozen=True)
class Metadata:
    """What an index says of a package."""

    name: str
    evr: str
    """``[epoch:]version-release``."""
    arch: str
    source: str
    """Name of the source package it was made from; of a source package, its own."""
    xml: tuple[str, str, str]
    """What stands in each of :data:`KINDS`."""


@dataclass(frozen=True)
class File:
    """A file of a repository; a package has metadata, a document that lies beside one has none."""

    repository: str
    """Folder below the distribution's root; empty where there is one repository only."""
    path: str
    """Place in that folder."""
    sha256: str
    size: int
    unsigned_sha256: str = ""
    """Of a package before it was signed."""
    metadata: Metadata | None = None


@dataclass(frozen=True)
class Frame:
    """A compressed group of a data file."""

    packages: int
    size: int
    """Bytes before compression."""
    data: bytes


class Catalogue:
    """The rows. Reading needs no lock of the caller's; a writer holds the repositories' own, and is the only one."""

    def __init__(self, path: Path) -> None:
        """Open the catalogue, made if it is not there.

        :raises CannotRun: when it is of another version or cannot be opened.
        """
        self._path = path
        self._touched: set[tuple[str, int]] = set()
        self._open: dict[str, dict[int, tuple[int, int]]] = {}
        with self._words():
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            empty = path.stat().st_size == 0
            if version != _VERSION and not empty:
                raise CannotRun(f"{path} is of version {version}, not {_VERSION}", "use the kitten that wrote it")
            if empty:
                self._db.execute("PRAGMA page_size = 16384")  # a frame has some thousand bytes
                self._db.executescript(f"BEGIN;{_TABLES}PRAGMA user_version = {_VERSION};COMMIT;")

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator[Catalogue]:
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
            mend = "free some room, then run it again" if "full" in str(error) else "run it again"
            raise CannotRun(f"cannot use {self._path}: {error}", mend) from None

    # ------------------------------------------------------------------------------------------------------- reading

    def published(self, at: int, package: str | None = None) -> list[str]:
        """The records (JSON) of a snapshot, in order of target and package."""
        which, names = ("AND package = ?", (package,)) if package else ("", ())
        rows = self._db.execute(
            f"SELECT record FROM published WHERE {_valid(at)} {which} ORDER BY target, package",  # noqa: S608 - ours
            names,
        )
        return [row[0] for row in rows]

    def file(self, at: int, repository: str, path: str) -> File | None:
        """A file of a snapshot."""
        found = self._files(f"repository = ? AND path = ? AND {_valid(at)}", (repository, path))
        return next(iter(found), None)

    def related(self, at: int, repository: str, source: str, names: Sequence[str]) -> list[File]:
        """The packages of a repository that were made from a source package, or have one of some names."""
        marks = ",".join("?" * len(names))
        condition = f"repository = ? AND (source = ? OR name IN ({marks})) AND {_valid(at)} ORDER BY path"
        return self._files(condition, (repository, source, *names))

    def listed(self, at: int, repository: str) -> list[tuple[str, str, int]]:
        """Path and checksum of every file of a repository in a snapshot, and the snapshot that brought it."""
        rows = self._db.execute(
            f"SELECT path, sha256, since FROM files WHERE repository = ? AND {_valid(at)}",  # noqa: S608 - ours
            (repository,),
        )
        return rows.fetchall()

    def owners(self, at: int, repositories: Sequence[str], names: Sequence[str]) -> list[tuple[str, str, str]]:
        """Name, source package and ``[epoch:]version-release`` of the binary packages of some names in a snapshot."""
        found = []
        places = ",".join("?" * len(repositories))
        for name in names:  # one by one: there may be more than SQLite takes at once
            rows = self._db.execute(
                f"SELECT name, source, evr FROM files WHERE name = ? AND arch != 'src' AND {_valid(at)} "  # noqa: S608
                f"AND repository IN ({places}) AND path NOT LIKE '%.src.rpm'",
                (name, *repositories),
            )
            found += rows.fetchall()
        return found

    def retired(self, at: int) -> list[tuple[str, str]]:
        """Repository and path of what was published once, is kept, and no index of a snapshot names."""
        rows = self._db.execute("SELECT DISTINCT repository, path FROM files WHERE until <= ?", (at,))
        return rows.fetchall()

    def known(self, repository: str, path: str) -> File | None:
        """What lies at a place, whether an index names it or no longer does."""
        return next(iter(self._files("repository = ? AND path = ?", (repository, path))), None)

    def frames(self, repository: str, kind: str) -> list[Frame]:
        """The groups of a data file, as the next snapshot has them."""
        rows = self._db.execute(
            "SELECT packages, size, data FROM frames WHERE repository = ? AND kind = ? AND until IS NULL ORDER BY grp",
            (repository, kind),
        )
        return [Frame(*row) for row in rows]

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
            for table in _NAMES:
                self._db.execute(f"DELETE FROM {table} WHERE since > ?", (current,))  # noqa: S608 - ours
                retired = ", retired = NULL" if table == "files" else ""
                self._db.execute(f"UPDATE {table} SET until = NULL{retired} WHERE until > ?", (current,))  # noqa: S608
        return [place for place in dict.fromkeys(unseen) if self.known(*place) is None]

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

    def note(self, number: int, package: str, target: str, record: str) -> None:
        """Put a record in place of the one there is."""
        self._db.execute(
            "UPDATE published SET until = ? WHERE package = ? AND target = ? AND until IS NULL",
            (number, package, target),
        )
        self._insert("published", number, (package, target, record))

    def add(self, number: int, file: File) -> None:
        """Add a file to a repository."""
        said: tuple[object, ...] = (None,) * 8
        if (m := file.metadata) is not None:
            group = self._group(file.repository, sum(map(len, m.xml)))
            self._touched.add((file.repository, group))
            said = (m.name, m.evr, m.arch, m.source, group, *m.xml)
        values = (file.repository, file.path, file.sha256, file.unsigned_sha256, file.size, *said)
        self._insert("files", number, values)

    def retire(self, number: int, repository: str, path: str, now: float) -> None:
        """Take a file out of a repository. It stays readable for a while."""
        where = "repository = ? AND path = ? AND until IS NULL"
        for (group,) in self._db.execute(f"SELECT grp FROM files WHERE {where}", (repository, path)).fetchall():  # noqa: S608
            if group is not None:
                self._touched.add((repository, group))
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
        """Make the frames of the groups that changed anew."""
        import zstandard

        compressor = zstandard.ZstdCompressor(level=LEVEL)
        for repository, group in sorted(self._touched):
            rows = self._db.execute(
                "SELECT primary_xml, filelists_xml, other_xml FROM files "
                "WHERE repository = ? AND grp = ? AND until IS NULL ORDER BY path",
                (repository, group),
            ).fetchall()
            for column, kind in enumerate(KINDS):
                self._db.execute(
                    "UPDATE frames SET until = ? WHERE repository = ? AND kind = ? AND grp = ? AND until IS NULL",
                    (number, repository, kind, group),
                )
                if rows:
                    data = "".join(row[column] for row in rows).encode()
                    values = (repository, group, kind, number, len(rows), len(data), compressor.compress(data))
                    self._db.execute(
                        "INSERT INTO frames (repository, grp, kind, since, packages, size, data) VALUES (?,?,?,?,?,?,?)",
                        values,
                    )
        self._touched.clear()
        self._open.clear()

    def restore(self, number: int, to: int, now: float) -> set[str]:
        """Give the next snapshot the content of an earlier one; the repositories that differ."""
        newer, older = f"until IS NULL AND since > {to:d}", f"{_valid(to)} AND until IS NOT NULL"
        different: set[str] = set()
        for table, columns in _COLUMNS.items():
            if table != "published":
                rows = self._db.execute(f"SELECT DISTINCT repository FROM {table} WHERE ({newer}) OR ({older})")  # noqa: S608
                different |= {row[0] for row in rows}
            if table == "files":
                groups = f"SELECT DISTINCT repository, grp FROM files WHERE grp IS NOT NULL AND (({newer}) OR ({older}))"  # noqa: S608
                self._touched |= set(self._db.execute(groups).fetchall())
            back = self._db.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE {older}").fetchall()  # noqa: S608
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
            others = "SELECT 1 FROM files WHERE repository = ? AND path = ? AND (until IS NULL OR until > ? OR retired >= ?)"
            if not self._db.execute(others, (repository, path, oldest, unreadable)).fetchone():
                yield repository, path, unsigned
            gone.append((row,))
        with self.writing():
            self._db.executemany("DELETE FROM files WHERE rowid = ?", gone)
            for table in ("published", "frames", "extras", "errata"):
                self._db.execute(f"DELETE FROM {table} WHERE until <= ?", (oldest,))  # noqa: S608 - ours

    def holds(self, unsigned_sha256: str) -> bool:
        """Whether a file of any kept snapshot was made from that unsigned package."""
        found = self._db.execute("SELECT 1 FROM files WHERE unsigned_sha256 = ? LIMIT 1", (unsigned_sha256,))
        return found.fetchone() is not None

    def _insert(self, table: str, number: int, values: Sequence[object]) -> None:
        columns = ("since", *_COLUMNS[table])
        marks = ",".join("?" * len(columns))
        self._db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", (number, *values))  # noqa: S608

    def _group(self, repository: str, size: int) -> int:
        """A group with room: one that changes anyway, or the newest; else a new one."""
        open_groups = self._open.setdefault(repository, {})
        if not open_groups:
            last = self._db.execute("SELECT max(grp) FROM files WHERE repository = ?", (repository,)).fetchone()[0]
            touched = {group for name, group in self._touched if name == repository}
            for group in sorted(touched | ({0} if last is None else {int(last)})):
                open_groups[group] = self._filled(repository, group)
        for group, (count, taken) in list(open_groups.items()):
            if (count < GROUP_PACKAGES and taken + size <= GROUP_BYTES) or not count:
                open_groups[group] = (count + 1, taken + size)
                return group
            if len(open_groups) > 1:
                del open_groups[group]
        last = self._db.execute("SELECT max(grp) FROM files WHERE repository = ?", (repository,)).fetchone()[0]
        open_groups.clear()
        open_groups[int(last) + 1] = (1, size)
        return int(last) + 1

    def _filled(self, repository: str, group: int) -> tuple[int, int]:
        """Packages of a group, and bytes of their XML."""
        count, taken = self._db.execute(
            "SELECT count(*), total(length(primary_xml) + length(filelists_xml) + length(other_xml)) "
            "FROM files WHERE repository = ? AND grp = ? AND until IS NULL",
            (repository, group),
        ).fetchone()
        return int(count), int(taken)


def _file(row: tuple[Any, ...]) -> File:
    repository, path, checksum, size, unsigned, name, evr, arch, source, *xml = row
    metadata = None if name is None else Metadata(name, evr, arch, source, (xml[0], xml[1], xml[2]))
    return File(repository, path, checksum, size, unsigned, metadata)


def _valid(at: int) -> str:
    return f"since <= {at:d} AND (until IS NULL OR until > {at:d})"

