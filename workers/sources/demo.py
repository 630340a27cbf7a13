"""The demo's dist-git repositories: bare repositories, made from ``config/SITE/dist-git/PACKAGE/``.

Imported commits have the date of the spec's newest changelog entry, so that they are the same on every machine.
Nothing is forced: pushed commits stay in the history.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from config.models import Site
from workers.base import cache
from workers.base.errors import CannotRun
from workers.sources.git import checked_branch, create, first_line, git
from workers.sources.srpm import changelog_seconds, only_spec

_AUTHOR = {"name": "kitten-ci demo", "email": "demo@localhost"}
_IMPORTED = "refs/kitten/imported"
"""The last imported commit, which the site's folder is compared with."""


@dataclass(frozen=True)
class Pushed:
    """The head of one repository after an import or a push."""

    package: str
    repository: Path
    commit: str
    new: bool
    """Whether it is a new commit."""


def ensure_demo_repositories(site: Site, state: Path, content: Path, names: Collection[str]) -> list[Pushed]:
    """Make or update the repositories of the named packages that have a folder in ``content``.

    :param content: folder of the packages' folders: config/demo/dist-git.
    """
    return [_import(site, state, folder) for folder in _folders(content, names)]


def ensure_empty_repositories(site: Site, state: Path, content: Path, names: Collection[str]) -> None:
    """Make the missing repositories without a commit, so that a poller can read them before the first push."""
    for folder in _folders(content, names):
        repository = repository_of(site, state, folder.name)
        with cache.hold_lock(repository.with_suffix(".lock")):
            _ensure(site, repository)


def _folders(content: Path, names: Collection[str]) -> list[Path]:
    folders = [content / name for name in sorted(names) if (content / name).is_dir()]
    if not folders:
        raise CannotRun(
            f"{content} has no package of this site", "only the demo has one: kitten dist-git --site demo init"
        )
    return folders


def repository_of(site: Site, state: Path, package: str) -> Path:
    """Return the path of a package's repository below the state folder.

    :raises CannotRun: the site's dist-git is not below the state folder.
    """
    path = Path(site.sources.dist_git.format(package=package, state=state))
    if not site.sources.dist_git.startswith("{state}/"):
        raise CannotRun(
            f"dist-git of this site is {site.sources.dist_git}", "push there with git; this command is for the demo"
        )
    return path


def push(site: Site, state: Path, package: str, folder: Path, message: str, branch: str | None = None) -> Pushed:
    """Commit the content of ``folder`` on top of the package's branch.

    :raises CannotRun: the folder or the repository does not exist.
    """
    repository = repository_of(site, state, package)
    if not (repository / "HEAD").is_file():
        raise CannotRun(f"the repository {repository} does not exist", "make it: kitten dist-git init")
    if not folder.is_dir():
        raise CannotRun(f"the folder {folder} does not exist", "give the folder with the spec and the sources file")
    only_spec(folder)
    ref = f"refs/heads/{checked_branch(branch or site.sources.branches[0])}"
    with cache.hold_lock(repository.with_suffix(".lock")):
        parent = first_line(["rev-parse", "--verify", "--quiet", ref], repository)
        tree = _tree_of(repository, folder)
        if parent and first_line(["rev-parse", f"{parent}^{{tree}}"], repository) == tree:
            return Pushed(package, repository, parent, new=False)
        commit = _commit(repository, tree, parent, message, None)
        git("update-ref", ref, commit, parent, repository=repository)
    return Pushed(package, repository, commit, new=True)


def _ensure(site: Site, repository: Path) -> None:
    if (repository / "HEAD").is_file():
        return
    partial = repository.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    create(partial, site.sources.branches[-1])
    git("config", "receive.denyNonFastForwards", "true", repository=partial)
    git("config", "receive.denyDeletes", "true", repository=partial)
    partial.rename(repository)


def _import(site: Site, state: Path, folder: Path) -> Pushed:
    package, repository = folder.name, repository_of(site, state, folder.name)
    ref = f"refs/heads/{site.sources.branches[-1]}"
    with cache.hold_lock(repository.with_suffix(".lock")):
        _ensure(site, repository)
        head = first_line(["rev-parse", "--verify", "--quiet", ref], repository)
        imported = first_line(["rev-parse", "--verify", "--quiet", f"{_IMPORTED}^{{tree}}"], repository)
        tree = _tree_of(repository, folder)
        if head and imported != tree and first_line(["rev-parse", f"{head}^{{tree}}"], repository) == tree:
            # This content was pushed by hand, or a call was killed between the two references below.
            git("update-ref", _IMPORTED, head, repository=repository)
            imported = tree
        if head and imported == tree:
            return Pushed(package, repository, head, new=False)
        spec = only_spec(folder)
        seconds = changelog_seconds(spec.read_text(encoding="utf-8"))
        commit = _commit(repository, tree, head, f"Import {package} from the demo's configuration", seconds)
        git("update-ref", ref, commit, head, repository=repository)
        git("update-ref", _IMPORTED, commit, repository=repository)
    return Pushed(package, repository, commit, new=True)


def _tree_of(repository: Path, folder: Path) -> str:
    """Write the folder's files into the repository and return the hash of their tree."""
    with tempfile.TemporaryDirectory() as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index"}
        git(
            f"--work-tree={folder.resolve()}",
            "add",
            "--all",
            "--force",
            "--",
            str(folder.resolve()),
            repository=repository,
            env=env,
        )
        return git("write-tree", repository=repository, env=env).output.strip()


def _commit(repository: Path, tree: str, parent: str, message: str, seconds: int | None) -> str:
    env = {f"GIT_{role}_{key.upper()}": value for role in ("AUTHOR", "COMMITTER") for key, value in _AUTHOR.items()}
    if seconds is not None:
        env |= {f"GIT_{role}_DATE": f"{seconds} +0000" for role in ("AUTHOR", "COMMITTER")}
    parents = ["-p", parent] if parent else []
    return git("commit-tree", tree, *parents, "-m", message, repository=repository, env=env).output.strip()


def content_folder(site_folder: Path) -> Path:
    """Return the folder with the content of a site's demo repositories."""
    return Path(os.path.normpath(site_folder)) / "dist-git"
