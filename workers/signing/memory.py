"""A GnuPG home in memory (tmpfs) for as long as a batch is signed. It never touches a disk.

It is removed at the end of the block, and by a process of its own when this one is killed: that one waits for the end
of a pipe whose other end only this process holds. After a power cut memory is empty anyway.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from workers.base.errors import CannotRun
from workers.base.run import run_afterwards


@contextlib.contextmanager
def home_in_memory() -> Iterator[Path]:
    """An empty folder of mode 0700 on tmpfs, gone after the block, ``kill -9`` of this process included.

    :raises CannotRun: when this host has no tmpfs to write to.
    """
    home = Path(tempfile.mkdtemp(prefix="kitten-key-", dir=_tmpfs()))
    # After a kill the agent lives on for a moment, and may write once more.
    clean = 'read -r nothing; while [ -d "$1" ]; do rm -rf -- "$1"; sleep 3; done'
    with run_afterwards(["sh", "-c", clean, "sh", str(home)], patience=10):
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _tmpfs() -> Path:
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    kinds = dict(mounts)  # of several mounts on one another the last is seen
    for folder in (os.environ.get("RUNTIME_DIRECTORY", ""), f"/run/user/{os.getuid()}", "/dev/shm", "/run"):  # noqa: S108
        path = Path(folder)
        if not folder or not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
            continue
        mounted = next((str(p) for p in (path, *path.parents) if str(p) in kinds), "")
        if kinds.get(mounted) in ("tmpfs", "ramfs"):
            return path
    raise CannotRun("no tmpfs to keep the key in", "mount one on /dev/shm, or use a GnuPG home (signing.yaml: home)")
