"""What was observed of a file, kept by the hash of everything it depends on: the same content is never read twice.

An entry is a JSON document below ``facts/YEAR-MONTH/`` of the cache. One that is used moves on into the present month, and
months before the last one are removed: what is no longer built or shipped is forgotten by itself.
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
    """Identity of the code that observes: another reader may see other things."""
    workers = Path(__file__).parents[1]
    folders = (workers / "formats", workers / "verify")
    sources = {str(p.relative_to(workers)): sha256_of(p) for folder in folders for p in sorted(folder.rglob("*.py"))}
    return identity_of(sources)


def key(**inputs: str) -> str:
    """Name of the entry for these inputs: checksums of the contents, and what was asked of them."""
    return identity_of({**inputs, "readers": _readers()})


def load(name: str) -> FileFacts | None:
    """What is remembered under a name; nothing where the entry is missing or damaged."""
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
    """Keep what was observed. A cache that cannot be written is no reason to fail."""
    _write(_path(_months()[0], name), _adapter().dump_json(facts))


def remove_old() -> None:
    """Remove the entries of months before the last one."""
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
