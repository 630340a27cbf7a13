"""``kitten source`` without its command line: a commit is looked up, and its source package found or made.

A source is named by the hash of what it is made from: the content of the commit, a patch, the checksums of its tarballs,
the sandbox tree, and how we pack. What lies there under that name is used as it is.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from config.identity import identity_of
from config.models import Site, SourcePackage
from workers.artifacts import artifact_store, reuse
from workers.artifacts.put import partial_folder, put_folder
from workers.base import cache
from workers.base.errors import CheckFailed
from workers.base.files import sha256_of
from workers.results import SourceResult
from workers.sources import distgit, lookaside, srpm

_DOCUMENT = "source.json"


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    site: Site
    package: SourcePackage
    state: Path
    yaml: str
    """The package's file in the configuration, for messages."""
    commit: distgit.Commit
    patch: Path | None = None
    """A contributor's, to be applied first."""
    trial: bool = False
    """For a try-build: kept apart from sources that are built for users. A patch makes it one."""


@dataclass(frozen=True)
class _WorkTree:
    folder: Path
    patch: str
    tarballs: tuple[lookaside.Tarball, ...]
    key: str


def source_of(request: Request) -> SourceResult:
    """The source package of a commit.

    :raises CheckFailed: what the commit, the patch or a tarball says cannot become a source package of this site.
    :raises CannotRun: a tarball cannot be had, or the sandbox cannot be made.
    """
    from workers.sandbox.bubblewrap import scratch

    with scratch() as folder:
        tree = _work_tree(request, folder)
        trial = request.trial or request.patch is not None
        where = artifact_store.store(request.site, request.state, trial=trial)
        url = f"{where}/sources/{request.package.name}/{tree.key}"
        lock = cache.root() / "locks" / f"source-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
        result = _found(url)
        reused = result is not None
        if result is None:
            with cache.hold_lock(lock):
                result = _found(url)  # another runner may have made it while we waited
                reused = result is not None
                if result is None:
                    result = _make(request, tree, folder, url)
    srpm.check_binaries(request.package, f"{request.package.name}.spec", result.binaries, request.yaml)
    srpm.check_placement(request.site, request.package, f"{request.package.name}.spec", result.binaries)
    commit = request.commit
    summary = f"{result.nevr} from {commit.branch} {commit.commit[:12]}"
    of_this_commit = {"commit": commit.commit, "branch": commit.branch, "summary": summary, "reused": reused}
    return result.model_copy(update=of_this_commit)


def _work_tree(request: Request, scratch: Path) -> _WorkTree:
    from workers.sandbox.tree import base_tree

    folder = scratch / "dist-git"
    folder.mkdir()
    distgit.export(request.commit, folder)
    patch = ""
    if request.patch is not None:
        distgit.apply_patch(request.patch, folder)
        patch = sha256_of(request.patch)
        print(f"  patch {request.patch.name} applied", flush=True)  # noqa: T201 - progress for people
    tarballs = _tarballs(folder)
    key = identity_of(
        {
            "tree": request.commit.tree,
            "patch": patch,
            "sources": {tarball.file: tarball.sha512 for tarball in tarballs},
            "sandbox": base_tree(request.site).identity,
            "macros": _macros(request),
            "recipe": srpm.RECIPE,
        }
    )[:32]
    return _WorkTree(folder, patch, tarballs, key)


def _macros(request: Request) -> str:
    """What the configuration tells rpm when it reads a spec: %dist and the vendor end up in the source package."""
    from workers.sandbox import flags

    target = request.site.targets_of(request.package)[0]
    return identity_of({"rpmrc": flags.rpmrc(request.site, target), "macros": flags.macros(request.site, target)})


def _tarballs(folder: Path) -> tuple[lookaside.Tarball, ...]:
    file = folder / "sources"
    try:
        tarballs = lookaside.parse(file.read_text(encoding="utf-8")) if file.is_file() else ()
    except UnicodeDecodeError:
        raise CheckFailed("sources: not a text in UTF-8") from None
    if twice := [tarball.file for tarball in tarballs if (folder / tarball.file).exists()]:
        raise CheckFailed(f"sources names {twice[0]}, which dist-git holds as well: keep one of them")
    return tarballs


def _found(url: str) -> SourceResult | None:
    return reuse.reuse_result(f"{url}/{_DOCUMENT}", SourceResult)


def _make(request: Request, tree: _WorkTree, scratch: Path, url: str) -> SourceResult:
    tarballs, builddir = (scratch / name for name in ("tarballs", "builddir"))
    for folder in (tarballs, builddir):
        folder.mkdir()
    for tarball in tree.tarballs:
        lookaside.fetch(request.site, request.package.name, tarball, request.state, tarballs / tarball.file)
    spec = srpm.only_spec(tree.folder)
    seconds = srpm.changelog_seconds(spec.read_text(encoding="utf-8", errors="replace")) or request.commit.seconds
    print(f"  packing {spec.name} and {len(tree.tarballs)} tarball(s)", flush=True)  # noqa: T201
    made = srpm.make(request.site, request.package, tree.folder, tarballs, builddir, seconds)
    partial = partial_folder(url)
    package = partial / made.path.name
    shutil.move(made.path, package)  # the store may be another file system than the cache
    tests = None
    if srpm.pack_tests(tree.folder, partial / "tests.tar", seconds):
        tests = artifact_store.artifact_of(partial / "tests.tar", url)
    result = SourceResult(
        summary=f"{made.nevr} from {request.commit.branch} {request.commit.commit[:12]}",
        package=request.package.name,
        branch=request.commit.branch,
        commit=request.commit.commit,
        nevr=made.nevr,
        srpm=artifact_store.artifact_of(package, url),
        tests=tests,
        build_requires=made.build_requires,
        binaries=made.binaries,
        patch=tree.patch,
    )
    files = [artifact for artifact in (result.srpm, result.tests) if artifact]
    return put_folder(partial, url, result, _DOCUMENT, files)
