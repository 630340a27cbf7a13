"""Put files and folders into the artifact store. Each appears whole or not at all, and as it was checked.

A store is any fsspec URL. In a local store, everything appears by one rename, after it is on the disk: if a command is
killed, the disk is full or the power fails, the old state stays. Only a folder that is replaced is missing between two
renames: after a kill at that moment, the next run of the command makes it again. In a remote store, a folder's document
is written last; a folder without its document does not count.

Unfinished files have the host's name in their names, so hosts that share a store do not disturb each other. On one
host, callers lock the name of a folder.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from workers.artifacts.artifact_store import is_local, local_path, read_result
from workers.base import cache
from workers.base.errors import CannotRun, no_space
from workers.base.files import blocks_of, flush, sha256_of, write_blocks
from workers.results import Artifact, Result

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_ResultKind = TypeVar("_ResultKind", bound=Result)


def put_file(content: Path, folder: str, name: str) -> Artifact:
    """Put a file into a folder of the store and return its record; a file of the same name is replaced.

    The checksum is that of the bytes that were written. A second writer of the same name waits for the first.

    :raises CannotRun: if the store cannot be written.
    """
    try:
        digest = _put_local(content, local_path(folder), name) if is_local(folder) else _upload(content, folder, name)
        return Artifact(name=name, url=f"{folder}/{name}", sha256=digest, size=content.stat().st_size)
    except (OSError, ValueError, ImportError) as error:
        raise _write_error(f"{folder}/{name}", error) from None


def partial_folder(url: str) -> Path:
    """Return an empty folder to fill for :func:`put_folder`; in a local store, it is beside the final one.

    What a killed command of this host left there is removed. Lock the name on this host before the call.
    """
    outgoing = cache.root() / "outgoing" / hashlib.sha256(url.encode()).hexdigest()
    partial = _beside(local_path(url), "partial") if is_local(url) else outgoing
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def put_folder(
    partial: Path, url: str, result: _ResultKind, document: str, artifacts: Iterable[Artifact], *, replace: bool = False
) -> _ResultKind:
    """Put a finished folder into the store; return the result that the store has now.

    If another host was quicker, that is the other host's result, and this folder is removed.

    :param document: file name of the result, which is written into the folder.
    :param artifacts: the files of the folder, as in the result.
    :param replace: replace a folder that exists.
    :raises CannotRun: if a file is not as the result says, or the store cannot be written.
    """
    for artifact in artifacts:
        path = partial / artifact.name
        if not path.is_file() or path.stat().st_size != artifact.size:
            raise CannotRun(f"{path} changed while {document} was written", "run the same command again")
    kind = type(result)
    try:
        if not replace and (theirs := read_result(f"{url}/{document}", kind)):
            return theirs
        result.write(partial / document)
        if not is_local(url):
            _upload_folder(partial, url, document)
        elif not _rename(partial, local_path(url), document, replace=replace):
            return read_result(f"{url}/{document}", kind) or result
        return result
    except (OSError, ValueError, ImportError) as error:
        raise _write_error(url, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_local(content: Path, folder: Path, name: str) -> str:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist")
    partial = _beside(folder / name, "partial")
    with cache.lock(partial):
        try:
            with content.open("rb") as source:
                digest = write_blocks(blocks_of(source), partial)
            flush(partial)
            partial.replace(folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)  # within the lock: later, this name is the next writer's
            raise
    flush(folder)
    return digest


def _rename(partial: Path, final: Path, document: str, *, replace: bool) -> bool:
    """Give a folder its final name; return False if another host was quicker."""
    for file in partial.iterdir():
        flush(file)
    flush(partial)
    old = _beside(final, "old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        if not replace and (final / document).is_file():
            return False
        final.rename(old)
    try:
        partial.rename(final)
    except OSError:
        if old.exists() and not final.exists():
            old.rename(final)
        shutil.rmtree(old, ignore_errors=True)
        if replace or not (final / document).is_file():
            raise
        return False
    shutil.rmtree(old, ignore_errors=True)
    flush(final.parent)
    return True


def _beside(final: Path, what: str) -> Path:
    host = re.sub(r"[^A-Za-z0-9]", "-", socket.gethostname())
    return final.with_name(f".{final.name}.{host}.{what}")


def _upload(content: Path, folder: str, name: str) -> str:
    system, path = _file_system(folder)
    partial = _beside(Path(name), "partial").name
    digest = sha256_of(content)
    _upload_whole(system, content, f"{path}/{partial}")
    system.mv(f"{path}/{partial}", f"{path}/{name}")
    return digest


def _upload_folder(partial: Path, url: str, document: str) -> None:
    system, path = _file_system(url)
    for file in sorted(partial.iterdir(), key=lambda file: (file.name == document, file.name)):
        _upload_whole(system, file, f"{path}/{file.name}")


def _upload_whole(system: AbstractFileSystem, file: Path, to: str) -> None:
    system.put_file(str(file), to)
    system.invalidate_cache()
    if (size := system.info(to)["size"]) != file.stat().st_size:
        raise OSError(f"the store has {size} bytes of {file.stat().st_size}")


def _file_system(url: str) -> tuple[AbstractFileSystem, str]:
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    return system, path


def _write_error(url: str, error: Exception) -> CannotRun:
    full = no_space(error) if isinstance(error, OSError) else None
    return full or CannotRun(f"cannot write {url}: {error}", "check the address, its credentials and permissions")
