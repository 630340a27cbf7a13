"""Composes: immutable whole trees of a stage, which mirrors copy by rsync while packages go on being published.

A stage changes under a mirror that copies for an hour; a compose never does. ``composes/ID/10-kitten/`` is made of hard
links to one publication, so that it costs folders and no content, and holds no symbolic link. ``mirror`` → the newest is
switched by one rename; rsync resolves it once, when it begins. One tree is made by ``workers.mirrors.compose_tree``; here is
when one is made, shown and collected.

A folder that is named by an ID is whole: it was renamed to that name when everything in it was on the disk. Names that
begin with a dot are what a killed run left; the next one removes them.
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
    """What :func:`compose` did."""

    record: ComposeRecord
    new: bool
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
    """Compose what is published, show it to mirrors, and collect composes that no mirror needs.

    Nothing is made when the newest compose shows that publication and those images already. A second runner waits.

    :param stage: the stage's folder.
    :param read: the current publication; asked again when a file of it was collected meanwhile.
    :param images: folder that holds ``isos/``, ``live/`` and ``cloud/``.
    :param sign: writes the detached signature of a CHECKSUM file beside it.
    :raises CannotRun: when a package is missing or not as its index says, or ``mirror`` is none of ours.
    """
    now = time.time() if now is None else now
    folder = stage / "composes"
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(stage / ".composes.lock"):
        _sweep(folder)
        shown = _shown(stage)
        records = _records(folder)
        newest = records[-1] if records else None
        for attempt in range(1, _ATTEMPTS + 1):
            content = read()
            files = tuple(images_below(images, newest))
            if newest and (newest.snapshot, newest.images) == (content.snapshot, files):
                record = newest
                break
            try:
                tree = ComposeTree(folder, site, _release(site, records, now), newest)
                record = tree.make(content, images, files, sign)
                break
            except FileNotFoundError as error:
                # Collected after the publication was switched: what is current now is there.
                if attempt == _ATTEMPTS:
                    what = f"snapshot {content.snapshot} lacks {error.filename}"
                    raise CannotRun(what, "kitten rollback, or publish again") from None
        if shown != record.id:
            _switch(stage, record.id)
        collected = _collect(folder, policy, record.id, now)
    return ComposeRun(record, record is not newest, collected)


def is_due(stage: Path, policy: Composes, now: float) -> bool:
    """Whether the newest compose is about as old as the stage's configuration lets it become.

    Who asks by a clock of ``every_minutes`` asks a moment too early every other time: a tenth less is old enough.
    """
    records = _records(stage / "composes")
    return not records or now - records[-1].made >= policy.every_minutes * 60 * 0.9


def _release(site: Site, records: list[ComposeRecord], now: float) -> Release:
    # Never behind the newest one, even if the clock was set back: the order of IDs is that of the composes.
    date = max(datetime.fromtimestamp(now, UTC).strftime("%Y%m%d"), records[-1].date if records else "")
    respin = max((record.respin for record in records if record.date == date), default=-1) + 1
    made = max(int(now), records[-1].made + 1 if records else 0)
    return Release(site.distribution.title, site.distribution.short, site.distribution.version, date, respin, made)


def _records(folder: Path) -> list[ComposeRecord]:
    """The composes there are, the newest last."""
    found = (path.read_bytes() for path in folder.glob("[!.]*/compose.json"))
    return sorted((ComposeRecord.model_validate_json(text) for text in found), key=lambda record: record.order)


def _shown(stage: Path) -> str | None:
    link = stage / "mirror"
    if link.is_symlink():
        return link.readlink().name
    if link.exists():
        raise CannotRun(f"{link} is not a link to a compose", "move it away: it was not made by this service")
    return None


def _switch(stage: Path, name: str) -> None:
    """The one rename that shows mirrors another compose."""
    fresh = stage / ".mirror.next"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("composes", name))
    fresh.replace(stage / "mirror")
    flush(stage)


def _collect(folder: Path, policy: Composes, shown: str, now: float) -> tuple[str, ...]:
    """Remove composes that are neither among the last ones nor were shown within the last day."""
    records = _records(folder)
    gone = []
    for record, following in pairwise(records):
        old = now - following.made > READABLE and record not in records[-policy.keep :]
        if old and record.id != shown:
            away = folder / f".{record.id}.gone"
            (folder / record.id).rename(away)  # a folder with an ID is always whole
            shutil.rmtree(away)
            gone.append(record.id)
    return tuple(gone)


def _sweep(folder: Path) -> None:
    for left in folder.glob(".*"):
        shutil.rmtree(left)


def describe(made: ComposeRun) -> str:
    """What was done, in a sentence."""
    record = made.record
    text = f"compose {record.id} of snapshot {record.snapshot}, made {utc(record.made)}"
    text = f"{text}: mirrors see it" if made.new else f"nothing is new: mirrors see {text}"
    return f"{text}; collected: {', '.join(made.collected)}" if made.collected else text
