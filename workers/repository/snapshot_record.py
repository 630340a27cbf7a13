"""One snapshot: the record of a publication, its indexes, and the packages that it has.

No file below a snapshot changes after the snapshot appears (:mod:`workers.repository.snapshot`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.repository.catalogue import Catalogue

if TYPE_CHECKING:
    from workers.repository.records import PublishedRecord

READABLE = 24 * 3600.0
"""Seconds a file stays readable after no index names it any more. Mirrors synchronise every 3 hours."""

_ISO = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class SnapshotRecord:
    """``snapshot.json``: one publication of the whole distribution."""

    number: int
    made: str
    """Time of the publication: ISO 8601, UTC."""
    what: str
    """A phrase: what this publication changed."""
    content_of: int
    """Number of the snapshot with this content: its own number, or the one that a rollback restored."""
    repositories: Sequence[str]
    """Every repository folder below the distribution's root."""
    retired: Mapping[str, float]
    """Data file (``REPOSITORY/NAME``) that no index names any more → when it left (s since 1970)."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """Repository → SHA-256 of its repomd.xml, which shows a change by hand."""
    shown: Mapping[str, float] = field(default_factory=dict)
    """Repository → time from which users see this index of it (s since 1970)."""
    version: int = 1


@dataclass(frozen=True)
class Snapshot:
    """One publication."""

    folder: Path
    """Folder with the ``repodata`` folders: ``BaseOS/aarch64/os/repodata``."""
    tree: Path
    """The distribution's root as users see it now, with the packages of every kept snapshot."""
    record: SnapshotRecord
    _catalogue: Path

    def changed_by_hand(self) -> list[str]:
        """Repositories whose repomd.xml is not the published one: clients do not accept such an index."""
        return [name for name, checksum in self.record.indexes.items() if _checksum(self.index(name)) != checksum]

    def require_unchanged(self) -> None:
        """Check that every index is the published one.

        :raises CannotRun: for the first index that is not.
        """
        for repository in self.changed_by_hand():
            what = f"{self.index(repository)} was changed by hand: publication {self.record.number} wrote another one"
            raise CannotRun(what, f"kitten rollback --to {self.record.number} writes it again")

    def index(self, repository: str) -> Path:
        """A repository's repomd.xml."""
        return self.folder / repository / "repodata" / "repomd.xml"

    def published(self) -> dict[tuple[str, str], PublishedRecord]:
        """(package, target) → its record."""
        return {(record.package, record.target): record for record in self._records(None)}

    def published_of(self, package: str) -> dict[str, PublishedRecord]:
        """Target → the record of a package there."""
        return {record.target: record for record in self._records(package)}

    def _records(self, package: str | None) -> Iterator[PublishedRecord]:
        from workers.repository.records import PublishedRecord

        with Catalogue.open(self._catalogue) as catalogue:
            found = catalogue.published(self.record.number, package)
        return map(PublishedRecord.model_validate_json, found)


def _checksum(path: Path) -> str:
    """SHA-256 of a file; "" if it does not exist."""
    return sha256_of(path) if path.is_file() else ""


def utc(time: float) -> str:
    """The ISO 8601 text of a time in seconds since 1970."""
    return datetime.fromtimestamp(time, UTC).strftime(_ISO)


def seconds(text: str) -> int:
    """Seconds since 1970 of an ISO 8601 text."""
    return int(datetime.fromisoformat(text).timestamp())
