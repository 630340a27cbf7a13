"""Put a build's packages into its target's buildroot repository, ``staged/TARGET``, from which the next builds install.

Readers need no lock, and have two guarantees:

- The index is complete: one rename replaces repomd.xml, after the files that it names (``workers.repository.index``).
- The files of an index stay the same for :data:`READABLE` after it was replaced. Packages are in folders named by their
  content (``packages/<SHA-256>/NAME.rpm``), so that a rebuild under the same NEVRA is another file.

repomd.xml has the number of the index, and the catalogue beside it has the content of each number: the cost of a call
depends on its changes only. A call that is killed leaves at most rows and files of a number that no reader sees; the
next call removes them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from config.models import Site, Target
from config.nevra import Nevra
from workers.artifacts.builds import Build, open_build, remove_tree
from workers.base.cache import hold_lock
from workers.base.errors import CannotRun
from workers.base.files import flush
from workers.repository import index
from workers.repository.catalogue import Catalogue
from workers.repository.packages import check, is_debug_file, nevra_of, nevra_of_file
from workers.repository.protocols import IndexedPackage
from workers.repository.tables import File
from workers.results import Artifact, BuildResult, StageResult

INCOMING = ".incoming"
"""Folder in a repository for files that are not in place yet; a killed call leaves it, the next call removes it."""
READABLE = 3600.0
"""Seconds a replaced index and its packages stay readable: longer than a build takes from resolve to installation."""


def stage(site: Site, state: Path, target_name: str, build_url: str) -> StageResult:
    """Stage a build. The same build again changes nothing.

    The build that was staged last wins, even with an older version: a buildroot has what the user staged (with a
    warning).

    :raises CannotRun: if the build does not exist or is for another target, or a package differs from build.json.
    """
    begun = time.monotonic()
    target = _target(site, target_name)
    build = open_build(build_url, state)
    result = build.result
    if refusal := _refusal(result, target):
        return _result(result, target, begun, outcome="failed", summary=refusal, cause=refusal)
    wanted = tuple(rpm for rpm in result.rpms if not is_debug_file(rpm.name))
    if not wanted:
        refusal = f"{result.nevr}: the build has no package besides debuginfo"
        return _result(result, target, begun, outcome="failed", summary=refusal, cause=refusal)
    repository = state / _place(site) / target.name
    with hold_lock(repository.with_name(f".{target.name}.lock")), _open_catalogue(repository) as (catalogue, number):
        names = [nevra_of_file(rpm.name).name for rpm in wanted]
        listed = catalogue.related_files(number, "", result.package, names)
        if changed := not _is_staged(repository, listed, result.package, wanted):
            _replace(repository, catalogue, number + 1, listed, build, wanted, target)
        _clear(repository, catalogue, number + int(changed))
    verb = "staged for" if changed else "already staged for"
    summary = f"{result.nevr}: {len(wanted)} {'package' if len(wanted) == 1 else 'packages'} {verb} {target.name}"
    return _result(result, target, begun, summary=summary, staged=tuple(rpm.name for rpm in wanted))


def staged_packages(site: Site, state: Path) -> frozenset[str]:
    """SHA-256 of each package in the buildroot repositories, with recently replaced ones.

    :raises OSError: if a repository cannot be read.
    """
    url = site.stage_for("buildroot").url
    found: set[str] = set()
    for folder in (state / url / target.name / "packages" for target in site.targets if "://" not in url):
        with contextlib.suppress(FileNotFoundError):
            found.update(entry.name for entry in folder.iterdir())
    return frozenset(found)


def _target(site: Site, name: str) -> Target:
    try:
        return site.target(name)
    except KeyError as error:
        raise CannotRun(str(error.args[0])) from None


def _place(site: Site) -> str:
    stage = site.stage_for("buildroot")
    if "://" in stage.url:
        what = f"stage {stage.name} is at {stage.url}; only a folder can be a buildroot repository"
        raise CannotRun(what, "see stages.yaml")
    return stage.url


def _refusal(result: BuildResult, target: Target) -> str:
    if result.outcome != "passed":
        return f"{result.nevr}: the build failed: {result.cause or result.summary}"
    if result.trial:
        return f"{result.nevr} is a try build: commit the change to dist-git, then the commit is built and staged"
    if result.target != target.name:
        return f"{result.nevr} was built for {result.target}, not for {target.name}"
    return ""


def _result(build: BuildResult, target: Target, begun: float, **fields: object) -> StageResult:
    return StageResult.model_validate(
        {
            "target": target.name,
            "package": build.package,
            "nevr": build.nevr,
            "seconds": time.monotonic() - begun,
            **fields,
        }
    )


@contextlib.contextmanager
def _open_catalogue(repository: Path) -> Iterator[tuple[Catalogue, int]]:
    """The repository's catalogue, and the number of the index that readers see.

    If the index has no catalogue, one is made from it.
    """
    path = repository / ".catalogue.sqlite"
    repository.mkdir(parents=True, exist_ok=True)
    if not (number := index.number(repository)):
        path.unlink(missing_ok=True)  # it belongs to an index that is gone, or that another program wrote
    exists = path.is_file()
    with Catalogue.open(path) as catalogue:
        if exists:
            for _, place in catalogue.recover(number):
                remove_tree((repository / place).parent)
        elif packages := index.load(repository):
            number = number or 1
            with catalogue.transaction():
                for package in packages:
                    catalogue.add(number, index.catalogue_entry("", package))
                catalogue.compress(number)
        yield catalogue, number


def _is_staged(repository: Path, listed: Iterable[File], package: str, wanted: Iterable[Artifact]) -> bool:
    ours = [file for file in listed if file.metadata and file.metadata.source == package]
    there = all((repository / file.path).is_file() for file in ours)
    return there and {file.sha256 for file in ours} == {rpm.sha256 for rpm in wanted}


def _replace(
    repository: Path,
    catalogue: Catalogue,
    number: int,
    listed: Iterable[File],
    build: Build,
    wanted: tuple[Artifact, ...],
    target: Target,
) -> None:
    fresh = [_described(repository, build, artifact, target) for artifact in wanted]
    for old in (file.metadata for file in listed if file.metadata):
        nevra = f"{old.name}-{old.evr}.{old.arch}"
        if old.source != build.result.package:
            click.echo(f"{nevra} of {old.source} is replaced by the one of {build.result.package}")
        for new in fresh:
            if new.name == old.name and nevra_of(new).evr_key < Nevra.parse(nevra).evr_key:
                click.echo(f"warning: {new.nevra()} is older than the staged {nevra}", err=True)
    now = int(time.time())
    with catalogue.transaction():
        for file in listed:
            catalogue.retire(number, "", file.path, now)
        for package in fresh:
            catalogue.add(number, index.catalogue_entry("", package))
        catalogue.compress(number)
    for artifact in wanted:
        _place_package(repository, artifact)
    repodata = repository / "repodata"
    repodata.mkdir(exist_ok=True)
    for name in index.data_files(repository):
        if (repodata / name).exists():
            os.utime(repodata / name)  # its time to stay readable begins now
    content = index.write(repodata, catalogue, "", number, now)
    flush(repodata)
    fresh_index = repository / INCOMING / "repomd.xml"
    fresh_index.parent.mkdir(exist_ok=True)
    fresh_index.write_bytes(content)
    flush(fresh_index)
    fresh_index.replace(repodata / "repomd.xml")
    flush(repodata)


def _described(repository: Path, build: Build, artifact: Artifact, target: Target) -> IndexedPackage:
    """Fetch a package if it is not here, and check it against build.json, its header and the target."""
    href = f"packages/{artifact.sha256}/{artifact.name}"
    path = repository / href
    if not path.is_file():
        folder = repository / INCOMING / artifact.sha256
        remove_tree(folder)
        folder.mkdir(parents=True)
        path = build.fetch(artifact, folder, link=True)
        flush(path)
    package = index.describe(path, href)
    check(package, artifact, target)
    return package


def _place_package(repository: Path, artifact: Artifact) -> None:
    folder = repository / "packages" / artifact.sha256
    if not (folder / artifact.name).is_file():
        remove_tree(folder)
        folder.parent.mkdir(exist_ok=True)
        (repository / INCOMING / artifact.sha256).rename(folder)
        flush(folder.parent)


def _clear(repository: Path, catalogue: Catalogue, number: int) -> None:
    """Remove files that no index names and no reader uses any more, and unfinished files of a killed call."""
    remove_tree(repository / INCOMING)
    long_ago = time.time() - READABLE
    for _, place, _ in catalogue.prune(number, long_ago):
        remove_tree((repository / place).parent)
    kept = index.data_files(repository)
    for file in (repository / "repodata").iterdir():
        if file.name not in kept and file.stat().st_mtime < long_ago:
            file.unlink()
