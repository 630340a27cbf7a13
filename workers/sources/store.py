"""Where sources lie: folders below an fsspec URL, each of which appears whole or not at all.

A local folder appears by one rename. Object stores have none: there ``source.json`` is written last, and a folder without
it is not there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

DOCUMENT = "source.json"


def base(artifacts: str, state: Path) -> str:
    """URL of the artifacts: a relative path lies below the state folder, ``{state}`` is that folder."""
    url = artifacts.format(state=state)
    return url if "://" in url else str(state / url)


def read_document(url: str) -> str | None:
    """The text of the document in the folder ``url``, or none when there is no such folder."""
    if "://" not in url:
        try:
            return (Path(url) / DOCUMENT).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
    import fsspec

    files, path = fsspec.url_to_fs(url)
    try:
        return bytes(files.cat_file(f"{path}/{DOCUMENT}")).decode()
    except FileNotFoundError:
        return None


def write_folder(files: list[Path], url: str) -> None:
    """Copy ``files`` to the new folder ``url``, the document last. A folder that is there already stays as it is."""
    files = sorted(files, key=lambda path: path.name == DOCUMENT)
    if "://" in url:
        import fsspec

        remote, path = fsspec.url_to_fs(url)
        for file in files:
            remote.put_file(str(file), f"{path}/{file.name}")
        return
    final = Path(url)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
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
    """Remove what killed runners left of a local folder. Call it with the folder's lock held."""
    if "://" not in url:
        for left in Path(url).parent.glob(f".{Path(url).name}.*"):
            shutil.rmtree(left, ignore_errors=True)
