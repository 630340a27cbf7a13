"""Put a build's packages into its target's buildroot repository, ``staged/TARGET``: what the next builds see.

Two readers' guarantees, without a lock on their side:

- The index is whole: repomd.xml is replaced by one rename, and what it names is there before (``workers.repo.index``).
- What an index names stays the same for :data:`READABLE` after it was replaced. Packages lie in folders named by their
  content (``packages/<SHA-256>/NAME.rpm``), so that a rebuild under the same NEVRA is another file; what no index names
  any more is removed by a later call, when its folder has not been touched for that long.

A call that is killed leaves at most files that no index names; the next one ends its work and clears them away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import click

from config.models import Site, Target
from workers.cache import locked
from workers.errors import CannotRun
from workers.repo import index
from workers.repo.builds import Build, open_build, remove_tree
from workers.repo.packages import check, is_debug_file, nevra_of, source_of
from workers.results import Artifact, BuildResult, StageResult

READABLE = 3600.0
"""Seconds a replaced index and its packages stay readable: longer than a build takes from resolving to installing."""


def stage(site: Site, state: Path, target_name: str, build_url: str) -> StageResult:
    """Stage a build. The same build again changes nothing.

    The newest build staged wins, an older version too: a buildroot follows what was asked for (a line says so).

    :raises CannotRun: when there is no such build, it is another target's, or a package is not what build.json says.
    """
    begun = time.monotonic()
    target = _target(site, target_name)
    build = open_build(build_url, state)
    result = build.result
    if refusal := _refusal(result, target):
        return _result(result, target, begun, outcome="not-held", summary=refusal, cause=refusal)
    wanted = tuple(rpm for rpm in result.rpms if not is_debug_file(rpm.name))
    if not wanted:
        refusal = f"{result.nevr}: the build holds no package besides debuginfo"
        return _result(result, target, begun, outcome="not-held", summary=refusal, cause=refusal)
    repository = state / _place(site) / target.name
    with locked(repository.with_name(f".{target.name}.lock")):
        listed = index.load(repository)
        if changed := not _already(repository, listed, result.package, wanted):
            _replace(repository, listed, build, wanted, target)
        _clear(repository)
    verb = "staged for" if changed else "already staged for"
    summary = f"{result.nevr}: {len(wanted)} {'package' if len(wanted) == 1 else 'packages'} {verb} {target.name}"
    return _result(result, target, begun, summary=summary, staged=tuple(rpm.name for rpm in wanted))


def _target(site: Site, name: str) -> Target:
    try:
        return site.target(name)
    except KeyError as error:
        raise CannotRun(str(error.args[0])) from None


def _place(site: Site) -> str:
    try:
        url = site.stage("staged").url
    except KeyError:
        raise CannotRun("the site has no stage named staged", "add it to stages.yaml") from None
    if "://" in url:
        raise CannotRun(f"stage staged lies at {url}; only a folder can be a buildroot repository", "see stages.yaml")
    return url


def _refusal(result: BuildResult, target: Target) -> str:
    if result.outcome != "held":
        return f"{result.nevr}: the build did not hold: {result.cause or result.summary}"
    if result.trial:
        return f"{result.nevr} is a try-build: commit the change to dist-git, and that is built and staged"
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


def _already(repository: Path, listed: Iterable[index.Package], package: str, wanted: Iterable[Artifact]) -> bool:
    ours = [p for p in listed if source_of(p) == package]
    there = all((repository / p.location_href).is_file() for p in ours)
    return there and {p.pkgId for p in ours} == {rpm.sha256 for rpm in wanted}


def _replace(
    repository: Path, listed: list[index.Package], build: Build, wanted: tuple[Artifact, ...], target: Target
) -> None:
    fresh = [_add(repository, build, artifact, target) for artifact in wanted]
    names = {package.name for package in fresh}
    gone = [p for p in listed if source_of(p) == build.result.package or p.name in names]
    for old in gone:
        if source_of(old) != build.result.package:
            click.echo(f"{old.nevra()} of {source_of(old)} gives way to the one of {build.result.package}")
        for new in fresh:
            if new.name == old.name and nevra_of(new).evr_key < nevra_of(old).evr_key:
                click.echo(f"warning: {new.nevra()} is older than what was staged, {old.nevra()}", err=True)
    # Their time to stay begins now, before the index forgets them: a kill in between costs nothing.
    _touch(repository / Path(old.location_href).parent for old in gone)
    _touch(repository / "repodata" / name for name in index.data_files(repository))
    staying = [p for p in listed if p not in gone]
    index.write(repository, [*staying, *fresh], int(time.time()))


def _add(repository: Path, build: Build, artifact: Artifact, target: Target) -> index.Package:
    folder = Path("packages", artifact.sha256)
    path = repository / folder / artifact.name
    if not path.is_file():
        partial = repository / "packages" / f".{artifact.sha256}"
        remove_tree(partial)
        partial.mkdir(parents=True)
        package = index.describe(build.fetch(artifact, partial, link=True), f"{folder}/{artifact.name}")
        check(package, artifact, target)
        index.flush(partial / artifact.name)
        partial.rename(repository / folder)
        index.flush(repository / "packages")
        return package
    _touch([path.parent])
    package = index.describe(path, f"{folder}/{artifact.name}")
    check(package, artifact, target)
    return package


def _touch(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            os.utime(path)


def _clear(repository: Path) -> None:
    """Remove what no index names and nobody can still be reading, and what a killed call left half made."""
    now = time.time()
    named = {repository / Path(p.location_href).parent for p in index.load(repository)}
    for folder in (repository / "packages").iterdir():
        if folder.name.startswith(".") or (folder not in named and now - folder.stat().st_mtime > READABLE):
            remove_tree(folder)
    remove_tree(repository / index.FRESH)
    kept = index.data_files(repository)
    for file in (repository / "repodata").iterdir():
        if file.name not in kept and now - file.stat().st_mtime > READABLE:
            file.unlink()
