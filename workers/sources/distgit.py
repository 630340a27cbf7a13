"""Mirror a package's dist-git repository in the cache, export one commit, apply a contributor's patch.

The export writes exactly the bytes of the commit: attributes, filters and hooks of the repository have no effect.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from config.models import Site
from workers.base import cache
from workers.base.errors import CannotRun, CheckFailed
from workers.base.run import DEVNULL, PIPE, CommandFailed, pipe_of, require, run, start_program
from workers.sources.git import checked_branch, checked_revision, checked_url, create, failure_line, first_line, git

LARGEST = 256 * 1024 * 1024
"""Limit of all files of a commit in bytes: tarballs belong into the lookaside."""


@dataclass(frozen=True)
class Commit:
    """One commit of a package's dist-git repository. The mirror has it."""

    url: str
    branch: str
    commit: str
    tree: str
    """git's hash of the commit's content: equal for two commits with the same content."""
    seconds: int
    """Commit time in seconds since 1970."""
    mirror: Path


@dataclass(frozen=True)
class _Entry:
    mode: str
    kind: str
    name: str
    size: int
    path: str


def address(site: Site, package: str, state: Path) -> str:
    """Return the address of the package's repository, from ``sources.yaml``."""
    return site.sources.dist_git.format(package=package, state=state)


def find(url: str, branches: tuple[str, ...], revision: str | None = None) -> Commit:
    """Find a commit. Fetch from the repository, unless the mirror already has it.

    :param branches: names in order of preference; the first that the repository has is used.
    :param revision: hexadecimal commit on that branch; default: its newest.
    :raises CannotRun: repository, branch or revision is unknown, unreachable or not a valid name.
    """
    require("git", "git")
    checked_url(url)
    for branch in branches:
        checked_branch(branch)
    mirror = cache.root() / "dist-git" / f"{hashlib.sha256(url.encode()).hexdigest()}.git"
    with cache.hold_lock(mirror.with_suffix(".lock")):
        # A commit does not change: if the mirror has it on its branch, no fetch is needed.
        known = revision is not None and _on_a_branch(mirror, branches, checked_revision(revision))
        if not known:
            _fetch(mirror, url)
    branch = next((b for b in branches if _resolve(mirror, f"refs/heads/{b}")), "")
    if not branch:
        present = git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", repository=mirror).output.split()
        raise CannotRun(
            f"{url} has no branch {' or '.join(branches)}",
            f"it has: {', '.join(present[:10])}" if present else "it has no branch: push one",
        )
    commit = _resolve(mirror, checked_revision(revision) if revision else f"refs/heads/{branch}")
    if not commit or not _is_on(mirror, commit, branch):
        raise CannotRun(f"branch {branch} of {url} has no commit {revision}", "push it, or name another one")
    seconds = git("show", "--no-patch", "--format=%ct", commit, repository=mirror).output
    return Commit(url, branch, commit, _resolve(mirror, commit, "tree"), int(seconds), mirror)


def _resolve(mirror: Path, name: str, kind: str = "commit") -> str:
    return first_line(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{{kind}}}"], mirror)


def _is_on(mirror: Path, commit: str, branch: str) -> bool:
    return (
        git("merge-base", "--is-ancestor", commit, f"refs/heads/{branch}", repository=mirror, check=False).status == 0
    )


def _on_a_branch(mirror: Path, branches: tuple[str, ...], revision: str) -> bool:
    commit = _resolve(mirror, revision) if mirror.is_dir() else ""
    present = next((b for b in branches if commit and _resolve(mirror, f"refs/heads/{b}")), None)
    return present is not None and _is_on(mirror, commit, present)


def _fetch(mirror: Path, url: str) -> None:
    if not (mirror / "HEAD").is_file():
        create(mirror)
    refs = "+refs/heads/*:refs/heads/*"
    try:
        git("fetch", "--quiet", "--prune", "--no-tags", "--end-of-options", url, refs, repository=mirror)
    except CommandFailed as error:
        why = "no answer in time" if error.timed_out else failure_line(error.done)
        raise CannotRun(
            f"cannot read the dist-git repository {url}: {why}",
            "check the package's name and sources.yaml (dist_git); the demo's repositories: kitten dist-git init",
        ) from None


def export(commit: Commit, folder: Path) -> None:
    """Write the commit's files into ``folder``, which exists and is empty.

    :raises CheckFailed: a name or link leads out of the folder, or the commit is too large.
    """
    entries = _list(commit)
    if (size := sum(entry.size for entry in entries)) > LARGEST:
        raise CheckFailed(
            f"commit {commit.commit[:12]} has {size >> 20} MiB: move its tarballs into the lookaside cache"
        )
    content = _read(commit.mirror, [entry.name for entry in entries])
    links = [e for e in entries if e.mode == "120000"]
    for entry in entries:
        if entry.mode == "120000":
            continue
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[entry.name])
        path.chmod(0o755 if entry.mode == "100755" else 0o644)
    # Links come last, so that no file is written through one.
    for entry in links:
        target = os.fsdecode(content[entry.name])
        _check_link(entry.path, target)
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    _refuse_links_out(folder)  # a chain of links may lead out, even if each link does not


def _list(commit: Commit) -> list[_Entry]:
    listing = git("ls-tree", "-r", "-z", "-l", commit.tree, repository=commit.mirror).output
    entries = []
    for line in filter(None, listing.split("\0")):
        fields, path = line.split("\t", 1)
        mode, kind, name, size = fields.split()
        if kind == "commit":
            print(f"  {path}: a submodule, ignored")  # noqa: T201 - progress for people
            continue
        parts = PurePosixPath(path).parts
        if path.startswith("/") or "\ufffd" in path or any(p in ("", ".", "..") or p.lower() == ".git" for p in parts):
            raise CheckFailed(f"{path!r} is not a valid file name in a dist-git repository")
        entries.append(_Entry(mode, kind, name, int(size), path))
    return entries


def _check_link(path: str, target: str) -> None:
    where = PurePosixPath(path).parent
    if target.startswith("/") or os.path.normpath(where / target).split("/")[0] == "..":
        raise CheckFailed(f"{path} is a symbolic link out of the repository, to {target}")


def _refuse_links_out(folder: Path) -> None:
    root = os.path.realpath(folder)
    for path in folder.rglob("*"):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
            raise CheckFailed(f"{path.relative_to(folder)} is a symbolic link out of the repository")


def _read(mirror: Path, names: list[str]) -> dict[str, bytes]:
    """Return the contents of blobs by name, from one ``git cat-file --batch``."""
    found: dict[str, bytes] = {}
    argv = ["git", f"--git-dir={mirror}", "cat-file", "--batch", "--buffer"]
    with start_program(argv, stdin=PIPE, stdout=PIPE, stderr=DEVNULL) as process:
        questions, answers = pipe_of(process.stdin), pipe_of(process.stdout)
        questions.write("".join(f"{name}\n" for name in names).encode())
        questions.close()
        for name in names:
            header = answers.readline().split()
            if len(header) != 3:
                raise CannotRun(f"the mirror {mirror} lacks the object {name}", "remove the mirror, then try again")
            found[name] = answers.read(int(header[2]))
            answers.read(1)
    return found


def apply_patch(patch: Path, folder: Path) -> None:
    """Apply a contributor's patch to an exported commit.

    git refuses to write outside ``folder`` and through symbolic links, but a patch may make a link to any file.

    :raises CannotRun: the file does not exist.
    :raises CheckFailed: the patch does not apply; then nothing changes. Or it makes a link out of ``folder``.
    """
    if not patch.is_file():
        raise CannotRun(f"the patch {patch} does not exist", "give a file from git diff or git format-patch")
    # Outside any repository, git apply works on plain files; the ceiling stops its search for a repository above.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent), "LC_ALL": "C"}
    done = run(
        ["git", "apply", "--whitespace=nowarn", "--", patch.resolve()],
        cwd=folder,
        env=environment,
        timeout=60,
        check=False,
    )
    if done.status != 0:
        raise CheckFailed(f"the patch {patch.name} does not apply: {failure_line(done)}")
    _refuse_links_out(folder)
