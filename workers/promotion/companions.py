"""Write what accompanies a published package: the signed documents beside it, and its erratum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from config.models import Site, SourcePackage, Target
from workers.base.files import flush
from workers.metadata.changelog import changelog, newer_entries
from workers.metadata.documents import document_place, documents
from workers.metadata.errata import erratum, to_xml, updated_files
from workers.metadata.evidence import evidence_at
from workers.promotion.unit import Signed
from workers.repository import index
from workers.repository.packages import is_installed, nevra_of_file
from workers.repository.protocols import IndexedPackage
from workers.repository.records import PublishedFile, PublishedRecord
from workers.repository.snapshot import Draft
from workers.repository.tables import File
from workers.signing.sign import Signer


@dataclass(frozen=True)
class Companions:
    """The documents and errata of one publication."""

    site: Site
    key: Signer
    work: Path
    """A folder for temporary files on the file system of the repositories; the caller empties it."""

    def add(
        self,
        draft: Draft,
        target: Target,
        package: SourcePackage,
        record: PublishedRecord,
        signed: Mapping[str, Signed],
        old: PublishedRecord | None,
    ) -> PublishedRecord:
        """Add a package's documents and its erratum to a draft, and return the record with the documents.

        :param signed: the result of :func:`workers.promotion.unit.read`.
        :param old: the target's record of the package so far.
        :raises CannotRun: if the evidence belongs to another record.
        """
        headers = {name: package.header for name, package in signed.items()}
        contents = documents(self.site, target, package, record, evidence_at(record.build), headers)
        placed = [file for name, content in contents.items() for file in self._place(draft, record, name, content)]
        fresh = {(file.repository, file.path) for file in placed}
        for file in old.documents if old else ():
            if (file.repository, file.path) not in fresh:
                draft.remove(file.repository, file.path)
        set_update(self.site, draft, target, record, headers, old)
        return record.model_copy(update={"documents": tuple(placed)})

    def _place(self, draft: Draft, record: PublishedRecord, name: str, content: bytes) -> list[PublishedFile]:
        """Add a document and its signature; if they were published before, they stay as they are."""
        place = document_place(record, name)
        signature = f"{place.path}.asc"
        there = [draft.document(place.repository, path) for path in (place.path, signature)]
        sources = [draft.tree / place.repository / path for path in (place.path, signature)]
        files = [file for file in there if file is not None]
        if len(files) != len(there):
            self.work.mkdir(parents=True, exist_ok=True)
            document = self.work / name
            document.write_bytes(content)
            flush(document)
            sources = [document, self.key.sign_detached(document)]
            files = [_file(place.repository, path, s) for path, s in zip((place.path, signature), sources, strict=True)]
        for file, source in zip(files, sources, strict=True):
            draft.add(file, source)
        return [
            PublishedFile(
                name=Path(file.path).name,
                repository=file.repository,
                path=file.path,
                unsigned_sha256=file.sha256,
                sha256=file.sha256,
                size=file.size,
            )
            for file in files
        ]


def set_update(
    site: Site,
    draft: Draft,
    target: Target,
    record: PublishedRecord,
    headers: Mapping[str, IndexedPackage],
    old: PublishedRecord | None,
) -> None:
    """Set the erratum of a package: what its update changes for users of the old version.

    :param headers: file name → signed package.
    :param old: the target's record of the package so far.
    """
    repositories = {file.repository for file in record.files if is_installed(file.name)}
    for file in old.files if old else ():
        if is_installed(file.name) and file.repository not in repositories:
            draft.set_erratum(file.repository, record.package, None)
    binaries = [file for file in record.files if is_installed(file.name)]
    if not binaries:
        return
    epochs = {headers[file.name].name: int(headers[file.name].epoch or 0) for file in binaries}
    first = headers[binaries[0].name]
    entries = changelog(first)
    before = next((f for f in old.files if nevra_of_file(f.name).name == first.name), None) if old else None
    kept = draft.document(before.repository, before.path) if before else None
    if old is not None and kept is not None and kept.metadata is not None:
        entries = newer_entries(changelog(index.package_of(kept.metadata)), entries, old.evr)
    elif old is None:
        entries = entries[:1]
    source = next((file for file in record.files if file.name.endswith(".src.rpm")), None)
    for repository in sorted(repositories):
        files = [file for file in binaries if file.repository == repository]
        update = erratum(
            f"{site.distribution.name}-{datetime.fromtimestamp(draft.now, UTC):%Y}:{record.nevr}",
            record.package,
            record.evr,
            entries,
            updated_files((*files, *((source,) if source else ())), epochs),
            datetime.fromtimestamp(draft.now, UTC),
            is_new=old is None,
            old_version=old.evr if old else "",
            release=site.distribution.title,
            contact=site.build.bugurl,
            collection=f"{repository.replace('/', '-')}-{target.name}",
        )
        draft.set_erratum(repository, record.package, to_xml(update))


def _file(repository: str, path: str, source: Path) -> File:
    content = source.read_bytes()
    return File(repository, path, sha256(content).hexdigest(), len(content))
