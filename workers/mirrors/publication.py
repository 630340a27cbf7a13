"""What is pushed to object storage, what the bucket's mark says of it, and what a push did."""

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
    """The publication that brought it, or brought it back. One that the bucket committed already is not looked at."""


@dataclass(frozen=True)
class Index:
    """A local repodata folder, read once."""

    repomd: bytes
    """repomd.xml."""
    signature: bytes | None
    """repomd.xml.asc; None where there is none."""
    metadata: Mapping[str, File]
    """The files it names, by their paths below the URL."""

    @staticmethod
    def read(repository: str, folder: Path) -> Index:
        """Read it.

        :raises CannotRun: when it cannot be read, or names files that would overwrite those of the index before.
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
            # Only names that change with the content can lie beside those of the index before.
            if "/" in name or record.checksum_type != "sha256" or record.checksum not in name:
                raise CannotRun(
                    f"{folder}/repomd.xml names {record.location_href!r}, not a name that holds its SHA-256",
                    "write the index with unique names; nothing was pushed",
                )
            metadata[f"{repository}/repodata/{name}"] = File(folder / name, record.checksum, 0)
        return Index(repomd, signature, metadata)

    @property
    def sha256(self) -> str:
        """Checksum of repomd.xml."""
        return hashlib.sha256(self.repomd).hexdigest()


@dataclass(frozen=True)
class Publication:
    """What one local publication shows to users: all of it, so that any push can follow any other."""

    number: int
    made: str
    """When: ISO 8601, UTC."""
    publisher: str
    """Who may push there: :func:`workers.mirrors.remote.publisher_of` the stage's folder."""
    repositories: Mapping[str, Path]
    """Folder below the URL (``10-kitten/BaseOS/x86_64/os``) → local ``repodata`` folder that no longer changes, in the
    order they are switched: Source, debug, BaseOS, then what needs them."""
    files: Mapping[str, File]
    """Every file that the indexes name, and whatever lies beside them, by its path below the URL."""
    retired: frozenset[str] = frozenset()
    """Paths below the URL that were published and are no longer."""

    def indexes(self) -> dict[str, Index]:
        """Each repository's index, in the same order.

        :raises CannotRun: when one cannot be read.
        """
        return {name: Index.read(name, folder) for name, folder in self.repositories.items()}


class Repository(Record):
    """A repository as the mark knows it."""

    repomd_sha256: str
    metadata: tuple[str, ...]
    """Paths below the URL of the files its index names."""
    since: float = 0.0
    """When the bucket showed this index, by its publisher's clock (s since 1970)."""


class Claim(Record):
    """A push that began. It stays when the pusher dies; only the same publisher goes on from it."""

    publisher: str
    number: int
    token: str
    """Of this one run."""
    metadata: tuple[str, ...]
    """Metadata that it, and runs before it that did not end, may have uploaded."""


class Mark(Record):
    """``publication.json``: what the bucket holds for certain, and who is at work."""

    version: int = 1
    number: int = 0
    """The last publication that arrived whole."""
    made: str = ""
    publisher: str
    repositories: Mapping[str, Repository] = {}
    retired: Mapping[str, float] = {}
    """Path that no index names any more → when the bucket's last one forgot it (s since 1970)."""
    pushing: Claim | None = None


@dataclass(frozen=True)
class Pushed:
    """What a push did."""

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
