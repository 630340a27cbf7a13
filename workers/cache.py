"""What is slow to make, made once per host: ``$KITTEN_CACHE``, else ``$XDG_CACHE_HOME/kitten-ci``, else ~/.cache/kitten-ci.

An entry is named by the hash of what it is made from, appears by one rename, and is never changed afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from workers import namespace
from workers.errors import CannotRun
from workers.run import run


def root() -> Path:
    """The cache folder of this user on this host."""
    if chosen := os.environ.get("KITTEN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kitten-ci"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created, never removed). The kernel drops it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def entry(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Folder of the entry ``kind``/``key``; made by ``make(folder)`` if it is not there.

    A second caller waits for the first; what a killed one left half made is thrown away.
    """
    final = root() / kind / key
    if final.is_dir():
        return final
    with locked(root() / kind / f".{key}.lock"):
        if final.is_dir():
            return final
        partial = root() / kind / f".{key}.partial"
        remove(partial)
        partial.mkdir(parents=True)
        try:
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
        with contextlib.suppress(CannotRun):  # it stays; whoever sweeps later tries again
            run([*namespace.as_root(), "rm", "-rf", "--", folder], check=False)
    return not folder.exists()
