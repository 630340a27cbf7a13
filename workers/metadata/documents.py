"""The documents beside a published package: the statement of provenance and the bill of materials.

Pure. The caller signs each with the distribution's key (detached, ``NAME.asc``) and puts it into the folder that
:func:`document_place` names, before clients can see the package.
"""

from __future__ import annotations

from collections.abc import Mapping

from config.models import Site, SourcePackage, Target
from workers.metadata.evidence import Evidence
from workers.metadata.provenance import statement
from workers.metadata.sbom import sbom
from workers.repository.packages import is_installed
from workers.repository.placement import Place, place_in
from workers.repository.protocols import IndexedPackage
from workers.repository.records import PublishedRecord

PROVENANCE = ".intoto.json"
BILL = ".cdx.json"


def document_names(record: PublishedRecord, target: Target) -> tuple[str, str]:
    """Return the file names of statement and bill: ``zlib-1.3-1.el10.x86_64.intoto.json``, ``….cdx.json``."""
    stem = f"{record.nevr}.{target.rpm_arch}"
    return f"{stem}{PROVENANCE}", f"{stem}{BILL}"


def document_place(record: PublishedRecord, file: str) -> Place:
    """Return the place of a document, or of its signature: the repository of the package's binaries.

    If the binaries are in several repositories, it is the one with most of them.
    """
    binaries = [file for file in record.files if is_installed(file.name)]
    repositories = [file.repository for file in binaries or record.files]
    most = min(set(repositories), key=lambda repository: (-repositories.count(repository), repository))
    return place_in(most, file)


def documents(
    site: Site,
    target: Target,
    package: SourcePackage,
    record: PublishedRecord,
    evidence: Evidence,
    packages: Mapping[str, IndexedPackage],
    providers: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Return a published package's documents: file name → content.

    :param record: the record to publish, with the checksums of signed files.
    :param evidence: from :func:`workers.metadata.evidence.evidence_at` of ``record.build``.
    :param packages: file name → header of the signed package.
    :param providers: see :func:`workers.metadata.sbom.sbom`.
    :raises CannotRun: evidence or packages belong to another record.
    """
    provenance, bill = document_names(record, target)
    return {
        provenance: statement(site, target, package, record, evidence),
        bill: sbom(site, record, packages, providers),
    }
