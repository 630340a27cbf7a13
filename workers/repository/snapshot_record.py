"""What a snapshot is: the record of one publication, and what it shows.

No file below a snapshot changes after it appeared (:mod:`workers.repository.snapshot`).
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
"""Seconds a file stays readable after the index forgot it. Mirrors synchronise every 3 hours."""

_ISO = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class SnapshotRecord:
    """``snapshot.json``: one publication of the whole distribution."""

    number: int
    made: str
    """When: ISO 8601, UTC."""
    what: str
    """In words: what this publication changed."""
    content_of: int
    """The number whose content this is: its own, or the one a rollback went back to."""
    repositories: Sequence[str]
    """Every repository folder below the distribution's root."""
    retired: Mapping[str, float]
    """Data file (``REPOSITORY/NAME``) that no index names any more → when it left (s since 1970). It stays for a while."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """Repository → SHA-256 of its repomd.xml, by which a change by hand is found."""
    shown: Mapping[str, float] = field(default_factory=dict)
    """Repository → since when users see this index of it (s since 1970)."""
    version: int = 1


@dataclass(frozen=True)
class Snapshot:
    """One publication."""

    folder: Path
    """Holds the ``repodata`` folders: ``BaseOS/aarch64/os/repodata``."""
    tree: Path
    """The distribution's root, as users see it now; the packages of every kept snapshot are there."""
    record: SnapshotRecord
    _catalogue: Path

    def changed_by_hand(self) -> list[str]:
        """Repositories whose repomd.xml is not the one that was published: an index that no client accepts."""
        return [name for name, checksum in self.record.indexes.items() if _checksum(self.index(name)) != checksum]

    def require_unchanged(self) -> None:
        """Refuse to go on with an index that is not the one that was published.

        :raises CannotRun: naming the first that is not.
        """
        for repository in self.changed_by_hand():
            what = (
                f"{self.index(repository)} was changed by hand: it is not what publication {self.record.number} wrote"
            )
            raise CannotRun(what, f"kitten rollback --to {self.record.number} writes it anew")

    def index(self, repository: str) -> Path:
        """A repository's repomd.xml."""
        return self.folder / repository / "repodata" / "repomd.xml"

    def published(self) -> dict[tuple[str, str], PublishedRecord]:
        """(package, target) → what is published of it."""
        return {(record.package, record.target): record for record in self._records(None)}

    def published_of(self, package: str) -> dict[str, PublishedRecord]:
        """Target → what is published of a package there."""
        return {record.target: record for record in self._records(package)}

    def _records(self, package: str | None) -> Iterator[PublishedRecord]:
        from workers.repository.records import PublishedRecord

        with Catalogue.open(self._catalogue) as catalogue:
            found = catalogue.published(self.record.number, package)
        return map(PublishedRecord.model_validate_json, found)


def _checksum(path: Path) -> str:
    """SHA-256 of a file; "" if there is none."""
    return sha256_of(path) if path.is_file() else ""


def utc(time: float) -> str:
    """ISO 8601 of a time in seconds since 1970."""
    return datetime.fromtimestamp(time, UTC).strftime(_ISO)


def seconds(text: str) -> int:
    """The reverse."""
    return int(datetime.fromisoformat(text).timestamp())
