"""A situation read from stages that lie in folders: what is there, and the builds that want to get to the next one."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.models import Site, Stage, Target
from workers import options
from workers.errors import CannotRun, DidNotHold
from workers.repo import index
from workers.repo.builds import Build, open_build
from workers.repo.gate.metadata import Repositories, repositories_below
from workers.repo.gate.situation import Key, Passing, Situation
from workers.repo.packages import is_debug_file, nevra_of
from workers.repo.placement import place, published_repositories
from workers.repo.records import PublishedRecord
from workers.repo.state import published, snapshots_of
from workers.results import Artifact


@dataclass(frozen=True)
class FolderWorld:
    """What is behind the records, where stages and builds are folders (builds by any fsspec URL)."""

    site: Site
    state: Path
    stage: Stage
    passing: tuple[Passing, ...]
    published: Mapping[Key, PublishedRecord]
    previous: Stage | None = None
    """The signed stage before, from which dnf takes what passes."""
    _elements: dict[Key, tuple[bytes, ...]] = field(default_factory=dict)

    def before(self, target: Target) -> Repositories:
        """What users of a target have at the stage."""
        return repositories_below(self._folders(self.stage, target).values())

    def elements(self, passing: Passing) -> tuple[bytes, ...]:
        """What a build brings there, read from its packages; once."""
        if passing.key not in self._elements:
            self._elements[passing.key] = elements_of(self.site, passing)
        return self._elements[passing.key]

    def payload(self, package: str, target: str, file: str) -> str:
        """SHA-256 of a package file's payload."""
        for each in self.passing:
            if each.key == (package, target):
                artifact = next(a for a in each.build.result.rpms if a.name == file)
                with tempfile.TemporaryDirectory(prefix="kitten-gate-") as folder:
                    return payload_digest(each.build.fetch(artifact, Path(folder), link=True))
        there = next(f for f in self.published[package, target].files if f.name == file)
        root = snapshots_of(self.site, self.state, self.stage).root / self.site.repositories.layout.root
        return payload_digest(root / there.repository / there.path)

    def dnf(self, target: Target, passing: Sequence[Passing]) -> str:
        """What dnf says against it."""
        from workers.repo.client import check_life

        if self.previous is None:
            raise CannotRun(f"no signed stage comes before {self.stage.name}", "dnf is no rule for it; see stages.yaml")
        packages = [
            rpm.name.removesuffix(".rpm")
            for each in passing
            for rpm in each.build.result.rpms
            if self._for_users(each, rpm)
        ]
        if not packages:
            return ""
        key = snapshots_of(self.site, self.state, self.previous).root / f"RPM-GPG-KEY-{self.site.distribution.name}"
        before, after = self._folders(self.stage, target), self._folders(self.previous, target)
        try:
            check_life(target, packages, before, after, key)
        except DidNotHold as error:
            return str(error)
        return ""

    def _for_users(self, each: Passing, rpm: Artifact) -> bool:
        return not is_debug_file(rpm.name) and place(self.site, each.package, each.target, rpm.name) is not None

    def _folders(self, stage: Stage, target: Target) -> dict[str, Path]:
        """Repository → its folder, of those that are there."""
        layout = self.site.repositories.layout
        root = snapshots_of(self.site, self.state, stage).root / layout.root
        folders = {
            r.name: root / layout.packages.format(repository=r.name, arch=target.rpm_arch)
            for r in published_repositories(self.site, target)
        }
        return {name: folder for name, folder in folders.items() if (folder / "repodata" / "repomd.xml").is_file()}


def elements_of(site: Site, passing: Passing) -> tuple[bytes, ...]:
    """``<package>`` elements of what a build brings to published repositories, debuginfo and sources left out.

    :raises CannotRun: when a package is missing or is none.
    """
    import createrepo_c

    found = []
    with tempfile.TemporaryDirectory(prefix="kitten-gate-") as folder:
        for rpm in passing.build.result.rpms:
            where = place(site, passing.package, passing.target, rpm.name)
            if where is None or is_debug_file(rpm.name):
                continue
            package = index.describe(passing.build.fetch(rpm, Path(folder), link=True), where.path)
            found.append(createrepo_c.xml_dump_primary(package).encode().strip())
    return tuple(found)


def payload_digest(rpm: Path) -> str:
    """SHA-256 of a package's payload: what is installed, without the header that tells of it and is signed.

    :raises CannotRun: when the file is no package.
    """
    from workers.verify.header import MalformedError, read_header

    try:
        offset = read_header(rpm).payload_offset
    except (MalformedError, OSError) as error:
        raise CannotRun(f"{rpm.name} is no readable package: {error}", "build it again") from None
    with rpm.open("rb") as file:
        file.seek(offset)
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def passing_build(site: Site, state: Path, target_name: str, build_url: str) -> Passing:
    """A build given by its folder.

    :raises CannotRun: when it is not there, or the site has no such target or package.
    """
    target, build = options.named_target(site, target_name), open_build(build_url, state)
    return Passing(options.named_package(site, build.result.package), target, build, _evr(build))


def _evr(build: Build) -> str:
    """The version of the source package from its header: file names carry no epoch."""
    source = build.result.srpm
    if source is None:  # the rule `built` refuses it
        return build.result.nevr.removeprefix(f"{build.result.package}-")
    with tempfile.TemporaryDirectory(prefix="kitten-gate-") as folder:
        return nevra_of(index.describe(build.fetch(source, Path(folder), link=True), source.name)).evr


def passing_from(site: Site, state: Path, previous: Stage, there: Mapping[Key, PublishedRecord]) -> tuple[Passing, ...]:
    """The builds in a signed stage that the next one does not have yet; those of packages the site no longer has are out.

    :raises CannotRun: when a build's folder is gone: without its proofs nothing can be said of it.
    """
    known = {package.name: package for package in site.packages}
    targets = {target.name: target for target in site.targets}
    return tuple(
        Passing(known[package], targets[target], open_build(record.build, state), record.evr, signed=True)
        for (package, target), record in sorted(published(site, state, previous.name).items())
        if package in known and target in targets and record.build
        if (package, target) not in there or there[package, target].unsigned != record.unsigned
    )


def before(site: Site, stage: Stage) -> Stage | None:
    """The signed stage before a stage, from which it takes packages; None where it takes builds."""
    previous: Stage | None = None
    for each in site.stages:
        if each.name == stage.name:
            return previous
        previous = each if each.signed else None
    return None


def situation(
    site: Site, state: Path, stage: Stage, passing: Iterable[Passing], there: Mapping[Key, PublishedRecord]
) -> Situation:
    """A question to the gate of a stage in a folder."""
    listed = tuple(passing)
    world = FolderWorld(site, state, stage, listed, there, before(site, stage))
    return Situation(site, stage, listed, world, there, history(site, state, stage))


def history(site: Site, state: Path, stage: Stage) -> dict[Key, tuple[PublishedRecord, ...]]:
    """Every version that the kept snapshots of a stage have, the oldest first."""
    snapshots = snapshots_of(site, state, stage)
    found: dict[Key, dict[str, PublishedRecord]] = {}
    for number in snapshots.numbers():
        for key, record in snapshots.get(number).published().items():
            found.setdefault(key, {}).setdefault(record.nevr, record)
    return {key: tuple(records.values()) for key, records in found.items()}
