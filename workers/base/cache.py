"""The cache: what is slow to make is made once per host.

Its folder is ``$KITTEN_CACHE``, else ``$XDG_CACHE_HOME/kitten-ci``, else ``~/.cache/kitten-ci``.

The name of an entry is the hash of its inputs. An entry appears by one rename and never changes after that.

Two sorts of mark files show what is in use: one for the whole cache, one for each entry. A process takes a shared lock
on the marks of what it uses and keeps it until it ends. ``kitten cache`` (:mod:`workers.base.cache_entries`) takes
exclusive locks: if it gets one, no process uses that entry.
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
"""Mode of :func:`lock`: an exclusive lock, or an error instead of a wait."""
_SAY_SECONDS = (10.0, 15.0)  # before the first progress line about an entry, and between two lines
_marks: dict[Path, IO[str]] = {}  # the marks that this process has locked


def root() -> Path:
    """Return the cache folder of this user on this host."""
    if chosen := os.environ.get("KITTEN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kitten-ci"


def lock(path: Path, how: int = fcntl.LOCK_EX) -> IO[str]:
    """Lock a file and return it open; the lock ends when it is closed. A missing file is created.

    ``kitten cache`` may remove the file and its folder while we wait. Then both are created again and locked.
    docs/adr/0007-locks.md says why we use no library for this.

    :param how: as ``fcntl.flock`` takes it.
    :raises BlockingIOError: if another process holds the lock and ``how`` says not to wait.
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
    """Hold an exclusive lock on ``path`` in a ``with`` block. A missing file is created.

    The kernel drops the lock when the process dies.
    """
    if path.is_relative_to(root()):
        _use(mark())
    with lock(path):
        yield


def entry(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of the entry ``kind``/``key``; if it does not exist, ``make(folder)`` fills it first.

    A second caller waits for the first. What a killed caller left unfinished is removed. Until this process ends,
    ``kitten cache`` does not remove the entry.
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
            remove(partial)  # above all after a full disk
            raise
    return final


def remove(folder: Path) -> bool:
    """Remove a folder with all its content; return whether it is gone.

    Works also if a folder inside has no permissions (from overlayfs or packages), or if files belong to subordinate
    ids (from dnf).
    """
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        with contextlib.suppress(CannotRun):  # the folder stays; the next sweep tries again
            run([*namespace.as_root(), "rm", "-rf", "--", folder], check=False)
    return not folder.exists()


def mark() -> Path:
    """Return the file whose lock shows that the cache is in use."""
    return root() / ".in-use"


def mark_of(final: Path) -> Path:
    """Return the file whose lock shows that an entry is in use; its modification time is the time of the last use."""
    return final.with_name(f".{final.name}.used")


def disk_usage(*folders: Path) -> int:
    """Return the disk space of folders with all files below them, in bytes; a file with several links counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for folder in folders:
        for path in (str(folder), *_paths_below(folder)):
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def _paths_below(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield f"{parent}/{name}"


def _use(path: Path) -> None:
    """Take a shared lock on a mark and keep it until this process ends."""
    if path not in _marks:
        # In a cache that this user may only read, the lock fails; so would a removal.
        with contextlib.suppress(OSError):
            handle = lock(path, fcntl.LOCK_SH)
            os.utime(path)
            _marks[path] = handle


@contextlib.contextmanager
def _progress(name: str, partial: Path) -> Iterator[None]:
    """Print a line from time to time while an entry is made: its size so far."""
    ended, begun = threading.Event(), time.monotonic()

    def watch() -> None:
        wait, following = _SAY_SECONDS
        while not ended.wait(wait):
            wait = following
            size, seconds = disk_usage(partial) / 1e6, time.monotonic() - begun
            line = f"cache: making {name}: {size:,.0f} MB so far, {seconds:.0f} s"
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
