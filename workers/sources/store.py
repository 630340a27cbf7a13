"""Where sources lie: folders in the artifact store, each of which appears whole or not at all.

A local folder appears by one rename. Object stores have none: there ``source.json`` is written last, and a folder without
it is not there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from workers.artifacts.artifact_store import is_local, local_path
from workers.base.errors import CannotRun

DOCUMENT = "source.json"


def write_folder(files: list[Path], url: str) -> None:
    """Copy ``files`` to the new folder ``url``, the document last. A local folder that is there already stays as it is.

    :raises CannotRun: when a remote store refuses.
    """
    files = sorted(files, key=lambda path: path.name == DOCUMENT)
    if is_local(url):
        _write_local(files, local_path(url))
        return
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        for file in files:
            system.put_file(str(file), f"{path}/{file.name}")
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(f"cannot write {url}: {error}", "check the address and its credentials") from None


def _write_local(files: list[Path], final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        partial.mkdir()
        for file in files:
            shutil.copyfile(file, partial / file.name)
        partial.rename(final)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not (final / DOCUMENT).is_file():  # otherwise another runner was quicker, with the same content
            raise


def sweep(url: str) -> None:
    """Remove what killed runners left beside a local folder. Call it with the folder's lock held."""
    if is_local(url):
        final = local_path(url)
        for left in final.parent.glob(f".{final.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
