"""A result that is found again in the artifact store: marked as used, and never one that is leaving.

``kitten clean`` counts age from the times of files, so a command that finds a result and uses it again makes it young.
On a local store both agree by a lock on the result file: who finds a result has it young before anybody can take it
away, or finds nothing and makes it anew. Object stores have no locks and no times to set: there an object beside the
result tells that it was used, and one round trip remains in which a result may leave that was just found. Its document
leaves first, so the next command says that there is no build; nobody ever takes a half for the whole.
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
"""Object beside a result at object storage: its time tells when the result was last found."""
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_Result = TypeVar("_Result", bound=Result)


def reuse_result(url: str, kind: type[_Result]) -> _Result | None:
    """The result file at a URL, which from now on counts as written this moment; None: it has to be made.

    :raises CannotRun: when the store cannot be read, or it is no such result.
    """
    if artifact_store.is_local(url):
        return artifact_store.read_result(url, kind) if _mark(artifact_store.local_path(url)) else None
    if artifact_store.read_result(url, kind) is None:
        return None
    _mark_beside(url)
    return artifact_store.read_result(url, kind)  # it may have left before it was marked


@contextlib.contextmanager
def lock_if_unused(document: Path) -> Iterator[bool]:
    """Whether nobody is about to use a local result; while the block runs, nobody begins to.

    :raises OSError: when the document cannot be opened for writing.
    """
    try:
        stream = document.open("rb+")  # NFS gives exclusive locks on nothing less
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
    """Make a local result young; False: it is not there, or left while we waited for its lock."""
    try:
        with document.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)  # shared, and on the document itself (docs/adr/0007-locks.md)
            try:
                os.utime(stream.fileno())
            except OSError as error:
                if error.errno not in _READ_ONLY:  # whoever may only read uses what is there, as old as it is
                    raise
            return os.path.samestat(os.fstat(stream.fileno()), document.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CannotRun(f"cannot mark {document} as used: {error}", "does its file system know locks?") from None


def _mark_beside(url: str) -> None:
    import fsspec

    mark = f"{url.rpartition('/')[0]}/{USED}"
    try:
        with fsspec.open(mark, "wb") as stream:
            stream.write(b"\n")
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(f"cannot write {mark}: {error}", "check the address and its credentials") from None
