"""The documents that lie beside a published package: where it comes from, and what it is made of.

Pure. The caller signs each (detached, the distribution's key, ``NAME.asc``) and places it in
the folder that :func:`document_place` names, before the switch that shows the package.
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
    """File names of a package's statement and of its bill: ``zlib-1.3-1.el10.x86_64.intoto.json``, ``….cdx.json``."""
    stem = f"{record.nevr}.{target.rpm_arch}"
    return f"{stem}{PROVENANCE}", f"{stem}{BILL}"


def document_place(record: PublishedRecord, file: str) -> Place:
    """Where one of the documents, or its signature, lies: in the repository of the package's binaries.

    A package whose parts lie in several has its documents in the one that holds most of them.
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
    """A published package's documents, by file name.

    :param record: what is about to be shown; checksums as signed.
    :param evidence: of :func:`workers.metadata.evidence.evidence_at`, read from ``record.build``.
    :param packages: file name → header of the package as signed.
    :param providers: see :func:`workers.metadata.sbom.sbom`.
    :raises CannotRun: when evidence or packages are not this record's.
    """
    provenance, bill = document_names(record, target)
    return {
        provenance: statement(site, target, package, record, evidence),
        bill: sbom(site, record, packages, providers),
    }
