"""The records of a push to object storage: the publication, the bucket's mark, and the result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.base.errors import CannotRun
from workers.results import Record


@dataclass(frozen=True)
class File:
    """A file that users can download."""

    local: Path
    sha256: str
    since: int
    """The publication that added the file, or added it again. A push skips files of publications in the bucket."""


@dataclass(frozen=True)
class Index:
    """A local repodata folder, read once."""

    repomd: bytes
    """repomd.xml."""
    signature: bytes | None
    """repomd.xml.asc, if it exists."""
    metadata: Mapping[str, File]
    """The files that it names, by their paths below the URL."""

    @staticmethod
    def read(repository: str, folder: Path) -> Index:
        """Read the repodata folder of a repository.

        :raises CannotRun: if it cannot be read, or names files that would overwrite those of the index before.
        """
        import createrepo_c

        try:
            repomd, asc = (folder / "repomd.xml").read_bytes(), folder / "repomd.xml.asc"
            records = createrepo_c.Repomd(str(folder / "repomd.xml")).records
            signature = asc.read_bytes() if asc.is_file() else None
        except (OSError, RuntimeError) as error:
            raise CannotRun(
                f"cannot read the index in {folder}: {error}", "publish again; nothing was pushed"
            ) from None
        metadata = {}
        for record in records:
            name = record.location_href.removeprefix("repodata/")
            # Files of two indexes are in one folder for a while, so their names must change with their content.
            if "/" in name or record.checksum_type != "sha256" or record.checksum not in name:
                raise CannotRun(
                    f"{folder}/repomd.xml names {record.location_href!r}; its SHA-256 must be part of the name",
                    "write the index with unique names; nothing was pushed",
                )
            metadata[f"{repository}/repodata/{name}"] = File(folder / name, record.checksum, 0)
        return Index(repomd, signature, metadata)

    @property
    def sha256(self) -> str:
        """Return the checksum of repomd.xml."""
        return hashlib.sha256(self.repomd).hexdigest()


@dataclass(frozen=True)
class Publication:
    """All that one local publication shows to users, so that a push needs no earlier push."""

    number: int
    made: str
    """Time of the publication: ISO 8601, UTC."""
    publisher: str
    """:func:`workers.mirrors.remote.publisher_of` the stage's folder; no other may push to the bucket."""
    repositories: Mapping[str, Path]
    """Folder below the URL (``10-kitten/BaseOS/x86_64/os``) → local ``repodata`` folder, which does not change any
    more. They are in the order of their switches: sources, debuginfo, BaseOS, then repositories that need these."""
    files: Mapping[str, File]
    """All files that the indexes name and all files beside them, by path below the URL."""
    retired: frozenset[str] = frozenset()
    """Paths below the URL that were published, and are not in this publication."""

    def indexes(self) -> dict[str, Index]:
        """Return each repository's index, in the same order.

        :raises CannotRun: if one cannot be read.
        """
        return {name: Index.read(name, folder) for name, folder in self.repositories.items()}


class Repository(Record):
    """A repository in the mark."""

    repomd_sha256: str
    metadata: tuple[str, ...]
    """Paths below the URL of the files that its index names."""
    since: float = 0.0
    """Time since which the bucket shows this index, by the publisher's clock (s since 1970)."""


class Claim(Record):
    """A push that has begun. It stays if the command dies; then only the same publisher can continue."""

    publisher: str
    number: int
    token: str
    """Random name of this run."""
    metadata: tuple[str, ...]
    """Metadata that this run, and unfinished runs before it, may have uploaded."""


class Mark(Record):
    """``publication.json``: the last complete publication in the bucket, and the push that runs now."""

    version: int = 1
    number: int = 0
    """The last complete publication."""
    made: str = ""
    publisher: str
    repositories: Mapping[str, Repository] = {}
    retired: Mapping[str, float] = {}
    """Path that no index names any more → the time since when (s since 1970)."""
    pushing: Claim | None = None


@dataclass(frozen=True)
class Pushed:
    """The result of a push."""

    number: int
    uploaded: int
    bytes: int
    switched: tuple[str, ...]
    """Repositories whose index changed."""
    deleted: int

    def __str__(self) -> str:
        if not self.switched and not self.uploaded:
            return f"publication {self.number} is there already; {self.deleted} objects deleted"
        what = f"{self.uploaded} objects ({self.bytes / 1e6:.1f} MB), {len(self.switched)} repositories switched"
        return f"publication {self.number}: {what}, {self.deleted} objects deleted"
