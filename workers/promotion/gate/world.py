"""Read the input of a gate from stages in folders: what a stage has, and which builds want to pass to it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.models import Site, Stage, Target
from workers.artifacts.builds import Build, open_build
from workers.base import options
from workers.base.errors import CannotRun, CheckFailed
from workers.formats.rpm_file import header_of
from workers.promotion.gate import provides
from workers.promotion.gate.refusal import Refusal
from workers.promotion.gate.situation import Key, Passing, Situation
from workers.repository import index
from workers.repository.catalogue import Catalogue
from workers.repository.packages import check, is_installed
from workers.repository.placement import BASE, place, published_repositories
from workers.repository.primary import Repositories, repositories_below
from workers.repository.protocols import IndexedPackage
from workers.repository.records import PublishedFile, PublishedRecord
from workers.repository.snapshot import Snapshot, Snapshots
from workers.repository.state import snapshots_of
from workers.repository.tables import Metadata
from workers.results import BuildResult


@dataclass(frozen=True)
class StageWorld:
    """The :class:`World` for stages in folders, and for builds at any fsspec URL."""

    site: Site
    stage: Snapshots
    published: Mapping[Key, PublishedRecord]
    """The records at the stage."""
    passing: Mapping[Key, Passing]
    previous: Snapshots | None = None
    """The previous signed stage, from which dnf takes the new packages."""
    _before: dict[str, Repositories] = field(default_factory=dict)
    _elements: dict[Key, tuple[bytes, ...]] = field(default_factory=dict)

    def before(self, target: Target) -> Repositories:
        """The packages that users of a target have at the stage; read once."""
        if target.name not in self._before:
            self._before[target.name] = repositories_below(self._here(target).values())
        return self._before[target.name]

    def elements(self, passing: Passing) -> tuple[bytes, ...]:
        """``<package>`` elements of a build; read once."""
        if passing.key not in self._elements:
            if passing.record:
                metadata = self._metadata(file for file in passing.record.files if is_installed(file.name))
                described = tuple(each.xml[0].encode().strip() for each in metadata)
            else:
                described = elements_of(self.site, passing)
            self._elements[passing.key] = described
        return self._elements[passing.key]

    def content(self, package: str, target: str, file: str) -> str:
        """Digest of what a package file installs, requires and runs."""
        key, passing = (package, target), self.passing.get((package, target))
        if passing is not None and passing.record is None:
            artifact = next(a for a in passing.build.result.rpms if a.name == file)
            with tempfile.TemporaryDirectory(prefix="kitten-gate-") as folder:
                return content_of(passing.build.fetch(artifact, Path(folder), link=True))
        record, snapshots = self.published.get(key), self.stage
        if passing is not None and passing.record is not None and self.previous is not None:
            record, snapshots = passing.record, self.previous
        published = next((f for f in record.files if f.name == file), None) if record else None
        if published is None:  # its repository is not published
            return ""
        return content_of(snapshots.root / snapshots.top / published.repository / published.path)

    def takeovers(self, passing: Passing) -> tuple[Refusal, ...]:
        """Refusals for names that users have from other source packages, and that it would newly claim."""
        current = self.stage.current()
        claims = self._catalogue_claims(passing.record) if passing.record else claims_of_build(self.site, passing)
        return provides.against_repositories(
            self.site, passing.target, passing.package, claims, current, self.stage.catalogue
        )

    def _catalogue_claims(self, record: PublishedRecord) -> dict[str, tuple[provides.Claim, ...]]:
        """The claims of a package, from the catalogue of the previous stage."""
        files = [file for file in record.files if not file.name.endswith(".src.rpm")]
        described = zip(files, self._metadata(files), strict=True)
        return {file.name: provides.claims_of(index.package_of(metadata)) for file, metadata in described}

    def _metadata(self, files: Iterable[PublishedFile]) -> list[Metadata]:
        """The metadata of files, from the catalogue of the previous stage.

        :raises CannotRun: if it does not have one of them.
        """
        previous, found = self._stage_before(), []
        with Catalogue.open(previous.catalogue) as catalogue:
            for file in files:
                known = catalogue.file_at(file.repository, file.path)
                if known is None or known.metadata is None:
                    raise CannotRun(f"the catalogue of {previous.root} has no {file.name}", "publish it there again")
                found.append(known.metadata)
        return found

    def dnf(self, target: Target, passing: Sequence[Passing]) -> str:
        """The message with which dnf refuses the builds; "" if it accepts them."""
        from workers.repository.client import check_life

        previous = self._stage_before()
        files = (file for each in passing if each.record for file in each.record.files)
        packages = sorted(file.name.removesuffix(".rpm") for file in files if is_installed(file.name))
        if not packages:
            return ""
        key = previous.root / f"RPM-GPG-KEY-{self.site.distribution.name}"
        after = {name: folder for name, folder in self._folders(previous, target).items() if name != BASE}
        try:
            check_life(target, packages, self._here(target), after, key)
        except CheckFailed as error:
            return str(error)
        return ""

    def _stage_before(self) -> Snapshots:
        """The previous signed stage.

        :raises CannotRun: if this is the first.
        """
        if self.previous is None:
            raise CannotRun(
                f"no signed stage comes before {self.stage.root}", "remove the rule dnf from its gate in stages.yaml"
            )
        return self.previous

    def _here(self, target: Target) -> dict[str, Path]:
        """Repository → its folder, as users have it; with the package for the base system, which no rule checks."""
        base = self._folders(self.previous, target).get(BASE) if self.previous else None
        return self._folders(self.stage, target) | ({BASE: base} if base else {})

    def _folders(self, snapshots: Snapshots, target: Target) -> dict[str, Path]:
        """Repository → its folder, if it exists."""
        layout, root = self.site.repositories.layout, snapshots.root / snapshots.top
        folders = {
            r.name: root / layout.packages.format(repository=r.name, arch=target.rpm_arch)
            for r in published_repositories(self.site, target)
        }
        return {name: folder for name, folder in folders.items() if (folder / "repodata" / "repomd.xml").is_file()}


def elements_of(site: Site, passing: Passing) -> tuple[bytes, ...]:
    """``<package>`` elements of a build's packages in published repositories, without debuginfo and sources.

    :raises CannotRun: if a package is missing or is no RPM package.
    """
    import createrepo_c

    described = (package for name, package in _described(site, passing) if is_installed(name))
    return tuple(createrepo_c.xml_dump_primary(package).encode().strip() for package in described)


def claims_of_build(site: Site, passing: Passing) -> dict[str, tuple[provides.Claim, ...]]:
    """File name → claims, for a build's packages in published repositories, with debuginfo.

    :raises CannotRun: if a package is missing or is no RPM package.
    """
    return {name: provides.claims_of(package) for name, package in _described(site, passing)}


def _described(site: Site, passing: Passing) -> Iterator[tuple[str, IndexedPackage]]:
    """Yield file name and metadata of each binary package of a build in published repositories.

    :raises CannotRun: if one is missing, is no RPM package, or differs from build.json.
    """
    with tempfile.TemporaryDirectory(prefix="kitten-gate-") as folder:
        for rpm in passing.build.result.rpms:
            where = place(site, passing.package, passing.target, rpm.name)
            if where is not None:
                package = index.describe(passing.build.fetch(rpm, Path(folder), link=True), where.path)
                check(package, rpm, passing.target)  # the package that the rules see is the one that will be signed
                yield rpm.name, package


def content_of(rpm: Path) -> str:
    """Digest of what a package installs, requires and runs.

    :raises CannotRun: if the file is no RPM package.
    """
    from workers.base.errors import MalformedError
    from workers.formats.rpm_header import content_digest

    try:
        return content_digest(rpm)
    except (MalformedError, OSError) as error:
        raise CannotRun(f"{rpm.name} is not a readable RPM package: {error}", "build it again") from None


def before(site: Site, stage: Stage) -> Stage | None:
    """The previous signed stage, from which a stage takes packages; None for the first, which takes builds."""
    previous: Stage | None = None
    for each in site.stages:
        if each.name == stage.name:
            return previous
        previous = each if each.signed else None
    return None


def stage_before(site: Site, stage: Stage) -> Stage:
    """The previous signed stage.

    :raises CannotRun: for the first stage, which takes builds.
    """
    if (previous := before(site, stage)) is None:
        raise CannotRun(f"no signed stage comes before {stage.name}", "ask about a build: --target T --build URL")
    return previous


def situation_of_build(site: Site, state: Path, stage: Stage, target_name: str, build_url: str) -> Situation:
    """The situation of one build, given by its folder, with the stage's records of its package.

    :raises CannotRun: if the build does not exist, or the site has no such target or package.
    """
    target, build = options.named_target(site, target_name), open_build(build_url, state)
    passing = Passing(options.named_package(site, build.result.package), target, build, _evr(build))
    snapshots = snapshots_of(site, state, stage)
    current = snapshots.current()
    there = {(r.package, name): r for name, r in _of_package(current, passing.package.name).items()}
    return _situation(site, state, stage, snapshots, (passing,), there, passing.package.name)


def _of_package(current: Snapshot | None, package: str) -> Mapping[str, PublishedRecord]:
    return current.published_of(package) if current else {}


def situation_of_waiting(site: Site, state: Path, stage: Stage) -> Situation:
    """The situation of everything that waits in the previous stage, without packages that the site no longer has.

    :raises CannotRun: for the first signed stage.
    """
    snapshots, previous = snapshots_of(site, state, stage), stage_before(site, stage)
    known = {package.name: package for package in site.packages}
    current, source = snapshots.current(), snapshots_of(site, state, previous).current()
    there = current.published() if current else {}
    targets = {target.name: target for target in site.targets}
    passing = [
        Passing(known[package], targets[target], _build_of(record, state), record.evr, record)
        for (package, target), record in (source.published().items() if source else ())
        if package in known and target in targets and record.build
        if (package, target) not in there or there[package, target].unsigned != record.unsigned
    ]
    # Required targets come first: if two differ, the rules refuse the one that may lag.
    passing.sort(key=lambda p: (p.package.name, not p.target.required, p.target.name))
    return _situation(site, state, stage, snapshots, passing, there)


def _build_of(record: PublishedRecord, state: Path) -> Build:
    """A record's build with its proofs; if it is gone, a build that no gate accepts, so that the others can pass."""
    try:
        return open_build(record.build, state)
    except CannotRun as error:
        known = {"target": record.target, "package": record.package, "nevr": record.nevr, "identity": record.identity}
        gone = {"outcome": "cannot-run", "summary": error.what, "cause": error.what, "url": record.build}
        return Build(record.build, BuildResult.model_validate({**known, **gone}), None, None)


def _situation(
    site: Site,
    state: Path,
    stage: Stage,
    snapshots: Snapshots,
    passing: Iterable[Passing],
    there: Mapping[Key, PublishedRecord],
    package: str | None = None,
) -> Situation:
    listed, previous = tuple(passing), before(site, stage)
    source = snapshots_of(site, state, previous) if previous else None
    world = StageWorld(site, snapshots, there, {each.key: each for each in listed}, source)
    return Situation(site, stage, listed, world, there, snapshots.arrivals(package))


def _evr(build: Build) -> str:
    """The version of the source package from its header, because file names have no epoch."""
    source = build.result.srpm
    if source is None:  # the rule `built` refuses it
        return build.result.nevr.removeprefix(f"{build.result.package}-")
    with tempfile.TemporaryDirectory(prefix="kitten-gate-") as folder:
        return header_of(build.fetch(source, Path(folder), link=True)).nevra.evr
