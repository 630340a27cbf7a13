"""A cache of observed facts, by the hash of everything they depend on, so that no content is read twice.

An entry is a JSON document below ``facts/YEAR-MONTH/`` in the cache. An entry that is used is copied to the current
month, and all months before the last one are removed. So entries of files that nobody builds any more go away.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from config.identity import identity_of
from workers.base import cache
from workers.base.files import sha256_of
from workers.formats.facts import FileFacts

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@functools.cache
def _readers() -> str:
    """Return the identity of the readers' source code: changed code may read other facts."""
    workers = Path(__file__).parents[1]
    folders = (workers / "formats", workers / "verify")
    sources = {str(p.relative_to(workers)): sha256_of(p) for folder in folders for p in sorted(folder.rglob("*.py"))}
    return identity_of(sources)


def key(**inputs: str) -> str:
    """Return the name of the entry for these inputs: checksums of the contents, the level, the decoder."""
    return identity_of({**inputs, "readers": _readers()})


def load(name: str) -> FileFacts | None:
    """Return the facts in an entry; None if it is missing or damaged."""
    now, last = _months()
    for month in (now, last):
        path = _path(month, name)
        try:
            text = path.read_bytes()
        except OSError:
            continue
        try:
            facts = _adapter().validate_json(text)
        except ValueError:  # cut short by a full disk, or of another layout
            path.unlink(missing_ok=True)
            return None
        if month != now:
            _write(_path(now, name), text)
        return facts
    return None


def store(name: str, facts: FileFacts) -> None:
    """Write the facts to an entry. A cache that cannot be written is no error."""
    _write(_path(_months()[0], name), _adapter().dump_json(facts))


def remove_old() -> None:
    """Remove the entries of all months before the last one."""
    kept = set(_months())
    for folder in (cache.root() / "facts").glob("*"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _months() -> tuple[str, str]:
    today = datetime.now(UTC).replace(day=1)
    return f"{today:%Y-%m}", f"{today - timedelta(days=1):%Y-%m}"


def _path(month: str, name: str) -> Path:
    return cache.root() / "facts" / month / name[:2] / f"{name}.json"


def _write(path: Path, text: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(text)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()


@functools.cache
def _adapter() -> TypeAdapter[FileFacts]:
    from pydantic import TypeAdapter

    return TypeAdapter(FileFacts)
