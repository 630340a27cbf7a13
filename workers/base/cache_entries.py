"""The entries of the cache, their users, and their removal: the work of ``kitten cache`` and of ``make clean``.

This module needs only Python's standard library, because ``make clean`` runs without the Python environment.

There are two sorts of entries. An entry of :func:`workers.base.cache.entry` has its own locks and can be removed while
others are in use. All other entries (apt's lists, mirrors of dist-git, remembered facts …) are removed only if no
command uses the cache. Removal first renames an entry under its lock. If the command is killed before the end, the next
one finds a leftover and removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.base import cache
from workers.base.errors import CannotRun

KINDS = {
    "trees": "the sandbox trees that builds run in",
    "sandbox-base": "the package that stands for a tree",
    "sandbox-database": "a tree's rpm database",
    "scratch": "folders of builds that run or were killed",
    "buildroots": "copies of buildroot repositories",
    "fetched": "artifacts from other hosts",
    "outgoing": "artifacts on their way to other hosts",
    "lookaside": "tarballs of sources",
    "dist-git": "mirrors of dist-git repositories",
    "apt": "apt's lists for guests and trees",
    "facts": "what verify observed in files",
    "guests": "kernels and programs of guests",
    "guest-modules": "further kernel modules of guests",
    "guest-programs": "programs compiled for guests",
    "guest-rpm": "rpm for guests",
    "guest-stand-in": "packages that stand for a guest's own files",
    "guest-provides": "what a guest's files provide",
    "guest-database": "rpm databases of guests",
    "guest-emulators": "emulators for guests in guests",
    "guest-perf": "profilers for guests",
    "initramfs": "archives that guests boot",
    "login": "file systems of guests to log in to",
    "saved": "saved guests: memory and state",
    "images": "cloud images",
    "uefi": "firmware and boot loaders",
    "kvm": "whether KVM works on this host",
    "leases": "commands that have guests on this host",
    "locks": "builds that run now",
    "bench": "packages of the benchmarks",
}
_PLAIN = frozenset({"buildroots", "fetched", "outgoing", "dist-git", "apt", "facts", "kvm", "leases", "locks"})
"""Kinds whose entries have no locks."""
_SCRATCH = "scratch"
_LEFTOVER = re.compile(r"\.(?P<key>.+)\.(?:partial|gone-[0-9a-f]{8})")


@dataclass(frozen=True)
class Entry:
    """One entry of the cache; it is removed as a whole."""

    kind: str
    name: str
    path: Path
    size: int
    """Bytes on the disk."""
    used: float
    """Time of the last use, seconds since 1970; for a kind without locks, time of the last change."""
    user: str = ""
    """The process that uses it now: ``process N``; empty if none."""
    leftover: bool = False
    """Whether a killed command left it."""


def entries(kinds: Sequence[str] = ()) -> list[Entry]:
    """Return all entries of the given kinds; without kinds, of all.

    :raises CannotRun: if a kind does not exist.
    """
    root = checked_root()
    present = sorted(path.name for path in root.iterdir() if _is_folder(path)) if root.is_dir() else []
    if unknown := [kind for kind in kinds if kind not in KINDS and kind not in present]:
        raise CannotRun(
            f"the cache has no kind {', '.join(unknown)}",
            f"choose from: {', '.join({**KINDS, **dict.fromkeys(present)})}",
        )
    user = _holder(cache.mark())
    return [found for kind in present if not kinds or kind in kinds for found in _of_kind(root / kind, user)]


def remove(found: Entry) -> str:
    """Remove an entry; return the reason if it stays, else ``""``."""
    root = checked_root()
    with contextlib.ExitStack() as held:
        left = _LEFTOVER.fullmatch(found.path.name)
        name = left["key"] if left else found.name
        making = found.path.with_name(f".{name}.lock")
        if found.kind in _PLAIN:
            wanted = [cache.mark()]
        elif found.kind == _SCRATCH:
            # A build has "sweep" locked while it creates and takes the lock of its folder.
            held.enter_context(cache.lock(root / _SCRATCH / "sweep"))
            wanted = [found.path.with_name(f"{found.name}.lock")]
        else:
            wanted = [making] if left else [making, cache.mark_of(found.path)]
        for path in wanted:
            try:
                held.enter_context(cache.lock(path, cache.NO_WAIT))
            except BlockingIOError:
                return f"in use by {_holder(path) or 'a command that runs'}"
            except OSError as error:
                return f"{path}: {error.strerror}"
        gone = found.path.with_name(f".{name}.gone-{secrets.token_hex(4)}")
        try:
            found.path.rename(gone)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"{found.path}: {error.strerror}"
        if found.kind not in _PLAIN and not (left and found.path.with_name(name).exists()):
            for path in wanted:
                path.unlink(missing_ok=True)  # a process that waits for it notices (workers.base.cache.lock)
    return remove_folder(gone)


def tidy() -> None:
    """Remove free lock files and empty folders; remove nothing while a command uses the cache."""
    root = checked_root()
    if not root.is_dir():
        return
    with contextlib.suppress(OSError), cache.lock(cache.mark(), cache.NO_WAIT):
        for kind in filter(_is_folder, sorted(root.iterdir())):
            for path in list(kind.iterdir()):
                if not _is_folder(path) and (_is_lock(path) or kind.name in ("locks", "leases")):
                    with contextlib.suppress(OSError), cache.lock(path, cache.NO_WAIT):
                        path.unlink()
            with contextlib.suppress(OSError):
                kind.rmdir()
        if list(root.iterdir()) == [cache.mark()]:
            cache.mark().unlink()
            root.rmdir()


def remove_folder(folder: Path) -> str:
    """Remove a file or a folder, also without permissions inside; return the reason if something stays, else ``""``.

    Files of this user's subordinate ids (an unfinished tree of a user namespace) are removed in a user namespace.
    """
    if not folder.is_dir() or folder.is_symlink():
        with contextlib.suppress(FileNotFoundError):
            folder.unlink()
        return ""
    if cache.remove(folder):
        return ""
    errors: list[str] = []
    shutil.rmtree(folder, onerror=lambda _function, path, info: errors.append(f"{path}: {info[1]}"))
    return errors[0] if errors else ""


def checked_root() -> Path:
    """Return the cache folder.

    :raises CannotRun: if the folder contains the home folder or this checkout: it is no cache.
    """
    root = cache.root()
    for other in (Path.home().resolve(), Path(__file__).resolve().parents[1]):
        if other.is_relative_to(root.resolve()):
            raise CannotRun(
                f"{root} cannot be a cache: {other} is in it", "set KITTEN_CACHE to a folder for the cache alone"
            )
    return root


def _of_kind(folder: Path, cache_user: str) -> Iterator[Entry]:
    paths: list[Path] = []
    with contextlib.suppress(FileNotFoundError):
        paths = sorted(folder.iterdir())
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if found := _entry(path, cache_user):
                yield found


def _entry(path: Path, cache_user: str) -> Entry | None:
    """Return the entry of a file or folder; None for locks and for files that the cache did not make."""
    folder, kind, left = path.parent, path.parent.name, _LEFTOVER.fullmatch(path.name)
    used, user = path.lstat().st_mtime, ""
    if kind in _PLAIN:
        if kind in ("leases", "locks") or _is_lock(path):
            return None
        used, user = _last_change(path), cache_user
    elif not _is_folder(path):
        return None
    elif kind == _SCRATCH:
        user = _holder(folder / f"{path.name}.lock")
    elif left:
        user = _holder(folder / f".{left['key']}.lock")
    elif (making := folder / f".{path.name}.lock").exists():
        mark = cache.mark_of(path)
        used = mark.lstat().st_mtime if mark.exists() else used
        user = _holder(mark) or _holder(making)
    else:
        return None
    leftover = not user and (kind == _SCRATCH or left is not None)
    return Entry(kind, path.name, path, cache.disk_usage(path), used, user, leftover)


def _last_change(path: Path) -> float:
    """Return when a file or folder changed last; in a folder, the files directly in it count, too."""
    inside = list(path.iterdir()) if _is_folder(path) else []
    return max(item.lstat().st_mtime for item in (path, *inside))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_lock(path: Path) -> bool:
    return path.name.endswith((".lock", ".used")) or path.name == "sweep"


def _holder(path: Path) -> str:
    """Return the process that has a file locked, shared or not: ``process N``; ``""`` if the lock is free."""
    try:
        with path.open("r") as handle:
            try:
                fcntl.flock(handle, cache.NO_WAIT)  # not cache.lock: it would create the file
            except BlockingIOError:
                inode = os.fstat(handle.fileno()).st_ino
            else:
                return ""
    except OSError:
        return ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            if found := re.search(rf"FLOCK\s+\S+\s+\S+\s+(\d+)\s+\S+:{inode}\s", line):
                return f"process {found[1]}"
    return "a command that runs"


def is_unused(found: Entry, days: float) -> bool:
    """Return whether an entry was not used for so many days; a leftover counts as unused."""
    return found.leftover or time.time() - found.used >= days * 86400
