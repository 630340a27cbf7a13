"""What is published together: a package on one target, with the place of each of its files."""

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
        """File name → checksum as built."""
        return {artifact.name: artifact.sha256 for artifact in self.files.values()}


def unit_of(site: Site, package: SourcePackage, target: Target, build: Build, published: Mapping[str, str]) -> Unit:
    """A build's packages and its source package, those of unpublished repositories left out.

    What its ``fetch`` brings was held against build.json and the target: nothing else is ever signed.

    :param published: binary package → repository in which users have it.
    :raises CannotRun: when nothing is left, or a repository does not exist.
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
            f"all of {package.name} belongs to repositories that are not published", "`kitten stage` is its end"
        )
    return Unit(target, package.name, result.nevr, result.commit, result.identity, build.url, files, fetch)


def base_unit(site: Site, target: Target, rpm: Path) -> Unit:
    """The package that stands for the base system.

    :raises CannotRun: when there is no such file, it is no RPM, or the site has no repository for it.
    """
    if not rpm.is_file():
        raise CannotRun(f"there is no {rpm}", f"kitten sandbox --base-rpm {target.name}")
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
    """A package as users will have it, read once for all that ask of it."""

    path: Path
    header: IndexedPackage
    """As createrepo_c reads it: with the checksum of the file, and its place in its repository."""


def read(unit: Unit, signed: Mapping[str, Path]) -> dict[str, Signed]:
    """A unit's signed packages by file name, each held against its name and the target.

    :raises CannotRun: when a file is not the package its name says, or not for the target.
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
    """Put a unit's files into a draft in place of what its target has of the package; the record to note there.

    :param signed: of :func:`read`.
    :param published: target → what is published of the package.
    :raises CannotRun: when another file has, or lately had, one of its names.
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
        evr=nevra_of(signed[_telling(signed)].header).evr,
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
    """Where files lie that no target has any more once a record takes its target's place.

    A source package stays while another target is still at its version.

    :param published: target → what is published of the package so far.
    """
    old = published.get(record.target)
    others = (place for name, each in published.items() if name != record.target for place in _places(each))
    return sorted(_places(old) - {*others, *_places(record)}) if old else []


def _telling(names: Iterable[str]) -> str:
    """The file of a unit that tells its version: the source package, or the only one."""
    first, *others = names
    return next((name for name in (first, *others) if name.endswith(".src.rpm")), first)


def _places(record: PublishedRecord) -> set[Place]:
    return {Place(file.repository, file.path) for file in record.files}
