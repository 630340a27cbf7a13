"""A GnuPG home in memory (tmpfs) while a batch is signed. It is never written to a disk.

The home is removed at the end of the block. If this process is killed, another process removes it: that one waits for
the end of a pipe that only this process keeps open. A power cut clears the memory.
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
    """Yield an empty folder of mode 0700 on tmpfs. It is removed after the block, also if this process is killed.

    :raises CannotRun: this host has no writable tmpfs.
    """
    home = Path(tempfile.mkdtemp(prefix="kitten-key-", dir=_tmpfs()))
    # After a kill, the agent still runs for a moment and may write again.
    clean = 'read -r nothing; while [ -d "$1" ]; do rm -rf -- "$1"; sleep 3; done'
    with run_afterwards(["sh", "-c", clean, "sh", str(home)], patience=10):
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _tmpfs() -> Path:
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    kinds = dict(mounts)  # of several mounts at the same place, the last counts
    service = os.environ.get("RUNTIME_DIRECTORY", "")
    for folder in (service, f"/run/user/{os.getuid()}", "/dev/shm", "/run"):  # noqa: S108
        path = Path(folder)
        if not folder or not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
            continue
        mounted = next((str(p) for p in (path, *path.parents) if str(p) in kinds), "")
        if kinds.get(mounted) in ("tmpfs", "ramfs"):
            return path
    raise CannotRun("no tmpfs for the signing key", "mount one on /dev/shm, or use a GnuPG home (signing.yaml: home)")
