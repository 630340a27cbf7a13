"""What is slow to make, made once per host: ``$KITTEN_CACHE``, else ``$XDG_CACHE_HOME/kitten-ci``, else ~/.cache/kitten-ci.

An entry is named by the hash of what it is made from, appears by one rename, and is never changed afterwards.

Each process that uses the cache holds a shared lock on its mark, and on that of each entry it asked for, until it ends. Only
``kitten cache`` (:mod:`workers.base.cache_entries`) asks for these locks alone: what it gets, nobody uses.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from workers.base import namespace
from workers.base.errors import CannotRun
from workers.base.run import run

NO_WAIT = fcntl.LOCK_EX | fcntl.LOCK_NB
"""For :func:`lock`: an exclusive lock, or an error instead of a wait."""
_SAY_SECONDS = (10.0, 15.0)  # until the first line about an entry that is being made, and between two lines
_held: dict[Path, IO[str]] = {}


def root() -> Path:
    """The cache folder of this user on this host."""
    if chosen := os.environ.get("KITTEN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kitten-ci"


def lock(path: Path, how: int = fcntl.LOCK_EX) -> IO[str]:
    """A lock on a file (created if missing) that lasts until the returned file is closed.

    ``kitten cache`` may remove file and folder while we wait: then it is the lock on their successors. Why this is no
    library's lock: docs/adr/0007-locks.md.

    :param how: as ``fcntl.flock`` takes it.
    :raises BlockingIOError: when another holds it and ``how`` says not to wait.
    """
    for attempt in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = path.open("a")
        except FileNotFoundError:
            if attempt == 99:
                raise
            continue
        try:
            fcntl.flock(handle, how)
        except OSError:
            handle.close()
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        handle.close()
    raise OSError(f"{path}: the lock was removed again and again")


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created if missing). The kernel drops it when the holder dies."""
    if path.is_relative_to(root()):
        _use(mark())
    with lock(path):
        yield


def entry(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Folder of the entry ``kind``/``key``; made by ``make(folder)`` if it is not there.

    A second caller waits for the first; what a killed one left half made is thrown away. The entry stays until this process
    ends, whatever ``kitten cache`` is asked to remove.
    """
    final = root() / kind / key
    _use(mark())
    _use(mark_of(final))
    if final.is_dir():
        return final
    with hold_lock(root() / kind / f".{key}.lock"):
        if final.is_dir():
            return final
        partial = root() / kind / f".{key}.partial"
        remove(partial)
        partial.mkdir(parents=True)
        try:
            with _progress(f"{kind}/{key}", partial):
                make(partial)
            partial.rename(final)
        except BaseException:
            remove(partial)  # most of all when it failed because the disk is full
            raise
    return final


def remove(folder: Path) -> bool:
    """Remove a folder, whatever is in it: folders nobody may enter (overlayfs, packages), files of subordinate ids (dnf).

    Returns whether it is gone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        with contextlib.suppress(CannotRun):  # it stays; the next sweep tries again
            run([*namespace.as_root(), "rm", "-rf", "--", folder], check=False)
    return not folder.exists()


def mark() -> Path:
    """The file whose lock says that the cache is in use."""
    return root() / ".in-use"


def mark_of(final: Path) -> Path:
    """The file whose lock says that an entry is in use; its time is that of the last use."""
    return final.with_name(f".{final.name}.used")


def disk_usage(*folders: Path) -> int:
    """Bytes on the disk of all files below some folders, each file once."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for path in (str(folder), *_below(folder)):
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def _below(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield f"{parent}/{name}"


def _use(path: Path) -> None:
    """Hold a shared lock until this process ends."""
    if path not in _held:
        # Where this user cannot lock he cannot remove either: a cache that is shared for reading.
        with contextlib.suppress(OSError):
            handle = lock(path, fcntl.LOCK_SH)
            os.utime(path)
            _held[path] = handle


@contextlib.contextmanager
def _progress(name: str, partial: Path) -> Iterator[None]:
    """Say now and then how large an entry that is being made has become."""
    ended, begun = threading.Event(), time.monotonic()

    def watch() -> None:
        wait, following = _SAY_SECONDS
        while not ended.wait(wait):
            wait = following
            size, seconds = disk_usage(partial) / 1e6, time.monotonic() - begun
            print(f"cache: making {name}: {size:,.0f} MB so far, {seconds:.0f} s", file=sys.stderr, flush=True)  # noqa: T201

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
