"""Find or make the source package of a commit: ``kitten source`` without its command line.

The hash of its inputs names a source: content of the commit, patch, checksums of the tarballs, sandbox tree, recipe. A
stored source of that name is used again.
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
    """The source to make."""

    site: Site
    package: SourcePackage
    state: Path
    yaml: str
    """The package's configuration file, for messages."""
    commit: distgit.Commit
    patch: Path | None = None
    """A contributor's patch, which is applied first."""
    trial: bool = False
    """For a try build: stored apart from sources for users. A source with a patch is always one."""


@dataclass(frozen=True)
class _WorkTree:
    folder: Path
    patch: str
    tarballs: tuple[lookaside.Tarball, ...]
    key: str


def source_of(request: Request) -> SourceResult:
    """Return the source package of a commit; make it if it is not stored yet.

    :raises CheckFailed: commit, patch or tarballs cannot become a source package of this site.
    :raises CannotRun: a tarball cannot be fetched, or the sandbox cannot be made.
    """
    from workers.sandbox.bubblewrap import scratch

    with scratch() as folder:
        tree = _work_tree(request, folder)
        trial = request.trial or request.patch is not None
        where = artifact_store.store(request.site, request.state, trial=trial)
        url = f"{where}/sources/{request.package.name}/{tree.key}"
        lock = cache.root() / "locks" / f"source-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
        result = _stored_result(url)
        reused = result is not None
        if result is None:
            with cache.hold_lock(lock):
                result = _stored_result(url)  # another process may have made it in the meantime
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
    """Return the hash of rpm's configuration: %dist and the vendor get into the source package."""
    from workers.sandbox import flags

    target = request.site.targets_of(request.package)[0]
    return identity_of({"rpmrc": flags.rpmrc(request.site, target), "macros": flags.macros(request.site, target)})


def _tarballs(folder: Path) -> tuple[lookaside.Tarball, ...]:
    file = folder / "sources"
    try:
        tarballs = lookaside.parse(file.read_text(encoding="utf-8")) if file.is_file() else ()
    except UnicodeDecodeError:
        raise CheckFailed("sources: the file is not text in UTF-8") from None
    if twice := [tarball.file for tarball in tarballs if (folder / tarball.file).exists()]:
        raise CheckFailed(f"sources names {twice[0]}, which is in dist-git too: remove one of them")
    return tarballs


def _stored_result(url: str) -> SourceResult | None:
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
    source = srpm.make(request.site, request.package, tree.folder, tarballs, builddir, seconds)
    partial = partial_folder(url)
    package = partial / source.path.name
    shutil.move(source.path, package)  # the store may be another file system than the cache
    tests = None
    if srpm.pack_tests(tree.folder, partial / "tests.tar", seconds):
        tests = artifact_store.artifact_of(partial / "tests.tar", url)
    result = SourceResult(
        summary=f"{source.nevr} from {request.commit.branch} {request.commit.commit[:12]}",
        package=request.package.name,
        branch=request.commit.branch,
        commit=request.commit.commit,
        nevr=source.nevr,
        srpm=artifact_store.artifact_of(package, url),
        tests=tests,
        build_requires=source.build_requires,
        binaries=source.binaries,
        patch=tree.patch,
    )
    files = [artifact for artifact in (result.srpm, result.tests) if artifact]
    return put_folder(partial, url, result, _DOCUMENT, files)
