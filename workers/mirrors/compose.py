"""Composes: complete trees of a stage that never change, so that mirrors can copy them by rsync.

A stage may change while a mirror copies it for an hour; a compose does not. ``composes/ID/10-kitten/`` has hard links
to the files of one publication and no symbolic links, so it needs disk space only for folders. The link ``mirror``
points to the newest compose and is switched by one rename; rsync resolves it once, at its start. This module decides
when a compose is made, shown and removed; ``workers.mirrors.compose_tree`` makes one tree.

A folder whose name is an ID is complete: it got this name after all its content was on the disk. A name that begins
with a dot is a leftover of a killed command; the next one removes it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from config.models import Composes, Site
from workers.base.cache import hold_lock
from workers.base.errors import CannotRun
from workers.base.files import flush
from workers.mirrors.compose_metadata import Release
from workers.mirrors.compose_tree import ComposeRecord, ComposeTree, Content, images_below
from workers.repository.snapshot import READABLE, utc

_ATTEMPTS = 5


@dataclass(frozen=True)
class ComposeRun:
    """The result of :func:`compose`."""

    record: ComposeRecord
    new: bool
    """Whether this run made the compose."""
    collected: tuple[str, ...]
    """IDs of the composes that were removed."""


def compose(
    stage: Path,
    site: Site,
    policy: Composes,
    read: Callable[[], Content],
    *,
    images: Path | None = None,
    sign: Callable[[Path], object] | None = None,
    now: float | None = None,
) -> ComposeRun:
    """Compose the current publication, show it to mirrors, and remove composes that no mirror needs.

    If the newest compose has this publication and these images already, no other is made. A second command waits.

    :param stage: the stage's folder.
    :param read: returns the current publication; called again if a file of it was removed in the meantime.
    :param images: folder with ``isos/``, ``live/`` and ``cloud/``.
    :param sign: writes the detached signature of a CHECKSUM file beside it.
    :raises CannotRun: if a package is missing or not as its index says, or ``mirror`` is not a link to a compose.
    """
    now = time.time() if now is None else now
    folder = stage / "composes"
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(stage / ".composes.lock"):
        _sweep(folder)
        shown = _mirror_target(stage)
        records = _records(folder)
        newest = records[-1] if records else None
        for attempt in range(1, _ATTEMPTS + 1):
            content = read()
            files = tuple(images_below(images, newest))
            if newest and (newest.snapshot, newest.images) == (content.snapshot, files):
                record = newest
                break
            try:
                tree = ComposeTree(folder, site, _next_release(site, records, now), newest)
                record = tree.make(content, images, files, sign)
                break
            except FileNotFoundError as error:
                # The file was removed after a newer publication; the files of that one exist.
                if attempt == _ATTEMPTS:
                    what = f"snapshot {content.snapshot} lacks {error.filename}"
                    raise CannotRun(what, "run kitten rollback, or publish again") from None
        if shown != record.id:
            _switch(stage, record.id)
        collected = _collect(folder, policy, record.id, now)
    return ComposeRun(record, record is not newest, collected)


def is_due(stage: Path, policy: Composes, now: float) -> bool:
    """Return whether a new compose is due: the newest is at least 0.9 × ``every_minutes`` old.

    With the full time, a caller that runs each ``every_minutes`` would often be a moment too early.
    """
    records = _records(stage / "composes")
    return not records or now - records[-1].made >= policy.every_minutes * 60 * 0.9


def _next_release(site: Site, records: list[ComposeRecord], now: float) -> Release:
    # Not before the newest compose, even if the clock was set back, so that IDs sort in the order of the composes.
    date = max(datetime.fromtimestamp(now, UTC).strftime("%Y%m%d"), records[-1].date if records else "")
    respin = max((record.respin for record in records if record.date == date), default=-1) + 1
    made = max(int(now), records[-1].made + 1 if records else 0)
    return Release(site.distribution.title, site.distribution.short, site.distribution.version, date, respin, made)


def _records(folder: Path) -> list[ComposeRecord]:
    """Return the records of all composes, the newest last."""
    texts = (path.read_bytes() for path in folder.glob("[!.]*/compose.json"))
    return sorted((ComposeRecord.model_validate_json(text) for text in texts), key=lambda record: record.order)


def _mirror_target(stage: Path) -> str | None:
    """Return the ID of the compose that mirrors see."""
    link = stage / "mirror"
    if link.is_symlink():
        return link.readlink().name
    if link.exists():
        raise CannotRun(f"{link} is not a link to a compose", "move it away: this service did not make it")
    return None


def _switch(stage: Path, name: str) -> None:
    """Show mirrors another compose, by one rename."""
    fresh = stage / ".mirror.next"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("composes", name))
    fresh.replace(stage / "mirror")
    flush(stage)


def _collect(folder: Path, policy: Composes, shown: str, now: float) -> tuple[str, ...]:
    """Remove composes that are not among the last ones and were not shown in the last day; return their IDs."""
    records = _records(folder)
    removed = []
    for record, following in pairwise(records):
        old = now - following.made > READABLE and record not in records[-policy.keep :]
        if old and record.id != shown:
            away = folder / f".{record.id}.gone"
            (folder / record.id).rename(away)  # a folder with an ID is always complete
            shutil.rmtree(away)
            removed.append(record.id)
    return tuple(removed)


def _sweep(folder: Path) -> None:
    for left in folder.glob(".*"):
        shutil.rmtree(left)


def describe(run: ComposeRun) -> str:
    """Return a sentence that says what a run did."""
    record = run.record
    text = f"compose {record.id} of snapshot {record.snapshot}, made {utc(record.made)}"
    text = f"{text}: mirrors see it" if run.new else f"nothing is new: mirrors see {text}"
    return f"{text}; collected: {', '.join(run.collected)}" if run.collected else text
