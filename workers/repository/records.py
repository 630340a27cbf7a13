"""The records of publications: the build and the commit that each published file comes from.

The records are stored in the stage's catalogue; each is valid for the snapshots that have its package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from workers.results import OverrideRecord, Record


@dataclass(frozen=True)
class Arrival:
    """A version that came to a stage on a target, and may be gone."""

    package: str
    nevr: str
    evr: str
    """``epoch:version-release`` of the source package."""
    published: str
    """Time of the publication: ISO 8601, UTC."""


class PublishedFile(Record):
    """One file of a published package."""

    name: str
    repository: str
    """Folder below the distribution's root: ``BaseOS/aarch64/os``."""
    path: str
    """Place in that folder: ``Packages/b/bzip2-1.0.8-1.el10.aarch64.rpm``."""
    unsigned_sha256: str
    """Checksum of the package before it was signed, as the proofs name it; a document has only one checksum."""
    sha256: str
    """Checksum of the published file, with its signature."""
    size: int
    """Bytes of the published file."""


class PublishedRecord(Record):
    """The build of a package that users of a target see."""

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
    """Number of the publication that brought it."""
    published: str
    """Time of the publication: ISO 8601, UTC."""
    files: tuple[PublishedFile, ...]
    documents: tuple[PublishedFile, ...] = ()
    """The statement of provenance and the bill of materials beside the files, each with its signature."""
    passed: tuple[str, ...] = ()
    """Names of the rules of the stage's gate that it passed."""
    overrides: tuple[OverrideRecord, ...] = ()
    """Rules that a user overrode for it, with the user's name and reason."""

    @property
    def unsigned(self) -> Mapping[str, str]:
        """File name → checksum before signing."""
        return {file.name: file.unsigned_sha256 for file in self.files}
