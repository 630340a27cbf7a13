"""The unit of a publication: a package on one target, with the place of each of its files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from config.models import Site, SourcePackage, Target
from workers.artifacts.builds import Build
from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.formats.rpm_file import header_of
from workers.promotion.pool import Fetch
from workers.repository import index
from workers.repository.packages import check, check_header, nevra_of
from workers.repository.placement import BASE, Place, place, place_in
from workers.repository.protocols import IndexedPackage
from workers.repository.records import PublishedFile, PublishedRecord
from workers.repository.snapshot import Draft, utc
from workers.results import Artifact


@dataclass(frozen=True)
class Unit:
    """A package on a target, about to be published."""

    target: Target
    package: str
    nevr: str
    commit: str
    identity: str
    build: str
    files: Mapping[Place, Artifact]
    fetch: Fetch

    @property
    def unsigned(self) -> dict[str, str]:
        """File name → checksum before signing."""
        return {artifact.name: artifact.sha256 for artifact in self.files.values()}


def unit_of(site: Site, package: SourcePackage, target: Target, build: Build, published: Mapping[str, str]) -> Unit:
    """The unit of a build: its packages and its source package, without those of unpublished repositories.

    Its ``fetch`` checks each file against build.json and the target: no other file is ever signed.

    :param published: binary package → repository in which users have it.
    :raises CannotRun: if no file is left, or a repository does not exist.
    """
    result = build.result

    def fetch(artifact: Artifact, into: Path) -> Path:
        path = build.fetch(artifact, into)
        described = index.describe(path, artifact.name)
        check(described, artifact, target)
        index.catalogue_entry("", described)
        return path

    artifacts = (*result.rpms, *((result.srpm,) if result.srpm else ()))
    placed = ((place(site, package, target, artifact.name, published), artifact) for artifact in artifacts)
    files = {where: artifact for where, artifact in placed if where is not None}
    if not files:
        raise CannotRun(
            f"all packages of {package.name} belong to repositories that are not published",
            "use `kitten stage` alone for it",
        )
    return Unit(target, package.name, result.nevr, result.commit, result.identity, build.url, files, fetch)


def base_unit(site: Site, target: Target, rpm: Path) -> Unit:
    """The unit of the package for the base system.

    :raises CannotRun: if the file does not exist or is no RPM package, or the site has no repository for it.
    """
    if not rpm.is_file():
        raise CannotRun(f"there is no {rpm}", f"make it: kitten sandbox --base-rpm {target.name}")
    if BASE not in (repository.name for repository in site.repositories.repositories):
        raise CannotRun(f"{rpm.name} has no place: the site has no repository {BASE}", "leave out --base-rpm")
    nevra, checksum = header_of(rpm).nevra, sha256_of(rpm)
    folder = site.repositories.layout.packages.format(repository=BASE, arch=target.rpm_arch)
    artifact = Artifact(name=nevra.file, url=str(rpm.absolute()), sha256=checksum, size=rpm.stat().st_size)

    def fetch(artifact: Artifact, into: Path) -> Path:
        return shutil.copyfile(rpm, into / artifact.name)

    nevr = f"{nevra.name}-{nevra.evr}"
    return Unit(target, BASE, nevr, "", checksum, str(rpm.absolute()), {place_in(folder, nevra.file): artifact}, fetch)


@dataclass(frozen=True)
class Signed:
    """A signed package with its header, which is read once."""

    path: Path
    header: IndexedPackage
    """As createrepo_c reads it, with the checksum of the file and its place in the repository."""


def read(unit: Unit, signed: Mapping[str, Path]) -> dict[str, Signed]:
    """File name → signed package of a unit, each checked against its name and the target.

    :raises CannotRun: if the header of a file does not match its name or the target.
    """
    found = {}
    for place_, artifact in unit.files.items():
        header = index.describe(signed[artifact.name], place_.path)
        check_header(header, artifact.name, unit.target)
        found[artifact.name] = Signed(signed[artifact.name], header)
    return found


def add(
    draft: Draft, unit: Unit, signed: Mapping[str, Signed], published: Mapping[str, PublishedRecord]
) -> PublishedRecord:
    """Add a unit's files to a draft, remove the ones that they replace, and return the record for the draft.

    :param signed: the result of :func:`read`.
    :param published: target → the published record of the package.
    :raises CannotRun: if another file has, or recently had, one of its names.
    """
    files = []
    for place_, artifact in sorted(unit.files.items()):
        package = signed[artifact.name]
        file = index.catalogue_entry(place_.repository, package.header, artifact.sha256)
        draft.add(file, package.path)
        files.append(
            PublishedFile(
                name=artifact.name,
                repository=place_.repository,
                path=place_.path,
                unsigned_sha256=artifact.sha256,
                sha256=file.sha256,
                size=file.size,
            )
        )
    record = PublishedRecord(
        package=unit.package,
        target=unit.target.name,
        nevr=unit.nevr,
        evr=nevra_of(signed[_version_file(signed)].header).evr,
        commit=unit.commit,
        identity=unit.identity,
        build=unit.build,
        snapshot=draft.number,
        published=utc(draft.now),
        files=tuple(files),
    )
    for place_ in places_given_up(record, published):
        draft.remove(place_.repository, place_.path)
    return record


def places_given_up(record: PublishedRecord, published: Mapping[str, PublishedRecord]) -> list[Place]:
    """Places of files that no target has any more after a record replaces its target's old one.

    A source package stays while another target has its version.

    :param published: target → the published record of the package so far.
    """
    old = published.get(record.target)
    others = (place for name, each in published.items() if name != record.target for place in _places(each))
    return sorted(_places(old) - {*others, *_places(record)}) if old else []


def _version_file(names: Iterable[str]) -> str:
    """The file with the version of a unit: the source package, or the only file."""
    first, *others = names
    return next((name for name in (first, *others) if name.endswith(".src.rpm")), first)


def _places(record: PublishedRecord) -> set[Place]:
    return {Place(file.repository, file.path) for file in record.files}
