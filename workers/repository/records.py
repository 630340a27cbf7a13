"""What a publication leaves behind for those that ask later: where each published file came from.

The records lie in the stage's catalogue, each valid for the snapshots that show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from workers.results import OverrideRecord, Record


@dataclass(frozen=True)
class Arrival:
    """A version that came to a stage on a target, and may have gone since."""

    package: str
    nevr: str
    evr: str
    """``epoch:version-release`` of the source package."""
    published: str
    """When: ISO 8601, UTC."""


class PublishedFile(Record):
    """One file of a published package."""

    name: str
    repository: str
    """Folder below the distribution's root: ``BaseOS/aarch64/os``."""
    path: str
    """Place in that folder: ``Packages/b/bzip2-1.0.8-1.el10.aarch64.rpm``."""
    unsigned_sha256: str
    """Checksum of the package as it was built: what the proofs speak of; of a document, its own."""
    sha256: str
    """Checksum of the package as it is published, signature included."""
    size: int
    """Bytes, as published."""


class PublishedRecord(Record):
    """Which build of a package users of a target see."""

    version: Literal[1] = 1
    package: str
    target: str
    nevr: str
    evr: str
    """``epoch:version-release`` of the source package."""
    commit: str = ""
    identity: str = ""
    build: str = ""
    """fsspec URL of the build's folder."""
    snapshot: int
    """The publication that brought it."""
    published: str
    """When: ISO 8601, UTC."""
    files: tuple[PublishedFile, ...]
    documents: tuple[PublishedFile, ...] = ()
    """What lies beside them: the statement of provenance and the bill of materials, each with its signature."""
    passed: tuple[str, ...] = ()
    """Rules of the stage's gate that held for it, by name."""
    overrides: tuple[OverrideRecord, ...] = ()
    """Rules that somebody let it pass, with who and why."""

    @property
    def unsigned(self) -> Mapping[str, str]:
        """File name → checksum as built."""
        return {file.name: file.unsigned_sha256 for file in self.files}
