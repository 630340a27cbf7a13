"""The tables of a catalogue (:mod:`workers.repository.catalogue`), and the types of their rows.

Every row is valid from the snapshot that brought it to the one that removed it: [since, until). Every query of a
publication uses an index of SQLite; none reads a whole table.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("primary", "filelists", "other")
"""The data files of an index with a part for each package."""

VERSION = 2
NAMES = ("published", "files", "frames", "extras", "errata")
COLUMNS = {
    "published": ("package", "target", "record"),
    "files": (
        *("repository", "path", "sha256", "unsigned_sha256", "size", "name", "evr", "arch", "source"),
        *("grp", "primary_xml", "filelists_xml", "other_xml"),
    ),
    "frames": ("repository", "grp", "kind", "packages", "data"),
    "extras": ("repository", "kind", "data"),
    "errata": ("repository", "package", "xml"),
}
"""The columns that a writer gives, besides ``since``."""

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS published (package TEXT, target TEXT, since INTEGER, until INTEGER, record TEXT);
CREATE TABLE IF NOT EXISTS files (
    repository TEXT, path TEXT, since INTEGER, until INTEGER, retired REAL,
    sha256 TEXT, unsigned_sha256 TEXT, size INTEGER, name TEXT, evr TEXT, arch TEXT, source TEXT,
    grp INTEGER, primary_xml TEXT, filelists_xml TEXT, other_xml TEXT
);
CREATE TABLE IF NOT EXISTS frames (
    repository TEXT, grp INTEGER, kind TEXT, since INTEGER, until INTEGER, packages INTEGER, data BLOB
);
CREATE TABLE IF NOT EXISTS extras (repository TEXT, kind TEXT, since INTEGER, until INTEGER, data BLOB);
CREATE TABLE IF NOT EXISTS errata (repository TEXT, package TEXT, since INTEGER, until INTEGER, xml TEXT);
CREATE TABLE IF NOT EXISTS arrivals (package TEXT, target TEXT, since INTEGER, nevr TEXT, evr TEXT, came TEXT);
CREATE INDEX IF NOT EXISTS arrivals_by_package ON arrivals (package, target);
CREATE INDEX IF NOT EXISTS arrivals_since ON arrivals (since);
CREATE INDEX IF NOT EXISTS published_by_package ON published (package, target);
CREATE INDEX IF NOT EXISTS files_by_path ON files (path, repository);
CREATE INDEX IF NOT EXISTS files_by_group ON files (repository, grp);
CREATE INDEX IF NOT EXISTS files_by_name ON files (repository, name, until);
CREATE INDEX IF NOT EXISTS files_by_source ON files (repository, source);
CREATE INDEX IF NOT EXISTS frames_by_group ON frames (repository, kind, grp);
CREATE INDEX IF NOT EXISTS extras_by_kind ON extras (repository, kind);
CREATE INDEX IF NOT EXISTS errata_by_package ON errata (repository, package);
{"".join(f"CREATE INDEX IF NOT EXISTS {name}_{end} ON {name} ({end});" for name in NAMES for end in ("since", "until"))}
PRAGMA user_version = {VERSION};
"""


@dataclass(frozen=True)
class Metadata:
    """The metadata of a package in an index."""

    name: str
    evr: str
    """``[epoch:]version-release``."""
    arch: str
    source: str
    """Name of the source package it was made from; a source package has its own name here."""
    xml: tuple[str, str, str]
    """Its part of each of :data:`KINDS`."""


@dataclass(frozen=True)
class File:
    """A file of a repository; a package has metadata, a document beside a package has none."""

    repository: str
    """Folder below the distribution's root; empty in a catalogue of one repository."""
    path: str
    """Place in that folder."""
    sha256: str
    size: int
    unsigned_sha256: str = ""
    """SHA-256 of a package before it was signed."""
    metadata: Metadata | None = None


@dataclass(frozen=True)
class Frame:
    """A compressed group of a data file."""

    packages: int
    data: bytes


def valid(at: int) -> str:
    """The SQL condition for the rows of a snapshot."""
    return f"since <= {at:d} AND (until IS NULL OR until > {at:d})"


def insert(table: str) -> str:
    """The SQL statement that adds a row: ``since``, then :data:`COLUMNS`."""
    columns = ("since", *COLUMNS[table])
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({','.join('?' * len(columns))})"  # noqa: S608 - ours
