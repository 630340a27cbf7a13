"""Use a result of the artifact store again, and mark it as used, so that ``kitten clean`` does not remove it.

``kitten clean`` reads a result's age from the time of its file, so a command that uses a result again renews that time.
In a local store, both commands lock the result file. The user either renews the time before ``kitten clean`` can remove
the result, or finds no result and makes it again.

An object store has no locks, and times cannot be set. There, an object beside the result shows the last use. For one
round trip, ``kitten clean`` can still remove a result that was just found. It removes the document first, so the next
command reports that there is no build. No command takes half a build for a whole one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from workers.artifacts import artifact_store
from workers.base.errors import CannotRun
from workers.results import Result

USED = "used"
"""Name of the object beside a result in an object store; its time is the time of the last use."""
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_Result = TypeVar("_Result", bound=Result)


def reuse_result(url: str, kind: type[_Result]) -> _Result | None:
    """Read the result at a URL and mark it as used now; return None if it does not exist and must be made.

    :raises CannotRun: if the store cannot be read, or the file is no result of this kind.
    """
    if artifact_store.is_local(url):
        return artifact_store.read_result(url, kind) if _mark(artifact_store.local_path(url)) else None
    if artifact_store.read_result(url, kind) is None:
        return None
    _mark_beside(url)
    return artifact_store.read_result(url, kind)  # it may have been removed before it was marked


@contextlib.contextmanager
def lock_if_unused(document: Path) -> Iterator[bool]:
    """Lock a local result for a ``with`` block; yield False if a command is about to use it.

    In the block, no command can begin to use it. A missing result counts as unused.

    :raises OSError: if the document cannot be opened for writing.
    """
    try:
        stream = document.open("rb+")  # for an exclusive lock, NFS needs a file that is open for writing
    except FileNotFoundError:
        yield True
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _mark(document: Path) -> bool:
    """Renew the time of a local result; return False if it does not exist or was removed before we had the lock."""
    try:
        with document.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)  # shared, and on the document itself (docs/adr/0007-locks.md)
            try:
                os.utime(stream.fileno())
            except OSError as error:
                if error.errno not in _READ_ONLY:  # a user who may only read uses the result with its old time
                    raise
            return os.path.samestat(os.fstat(stream.fileno()), document.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CannotRun(
            f"cannot mark {document} as used: {error}", "check its permissions, and that its file system has locks"
        ) from None


def _mark_beside(url: str) -> None:
    import fsspec

    mark = f"{url.rpartition('/')[0]}/{USED}"
    try:
        with fsspec.open(mark, "wb") as stream:
            stream.write(b"\n")
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(f"cannot write {mark}: {error}", "check the address and its credentials") from None
