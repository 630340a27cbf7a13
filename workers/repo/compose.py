"""Composes: immutable whole trees of a stage, which mirrors copy by rsync while packages go on being published.

A stage changes under a mirror that copies for an hour; a compose never does. ``composes/ID/10-kitten/`` is made of hard
links to one publication, so that it costs folders and no content, and holds no symbolic link. ``mirror`` → the newest is
switched by one rename; rsync resolves it once, when it begins.

A folder that is named by an ID is whole: it was renamed to that name when everything in it was on the disk. Names that
begin with a dot are what a killed run left; the next one removes them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from config.models import Composes, Site
from workers.cache import locked
from workers.errors import CannotRun
from workers.record import Record
from workers.repo import compose_metadata
from workers.repo.compose_metadata import ImageFile, Release
from workers.repo.index import flush
from workers.repo.snapshot import READABLE, Snapshot, utc

IMAGES = ("isos", "live", "cloud")
"""Folders of the layout that hold images."""
_ATTEMPTS = 5


@dataclass(frozen=True)
class RepositoryView:
    """One repository at one publication."""

    folder: str
    """Below the distribution's root: ``BaseOS/aarch64/os``."""
    repodata: Path
    """Folder with its repomd.xml and everything that names."""
    packages: Path
    """Folder that the places of its packages are relative to."""


@dataclass(frozen=True)
class Content:
    """What is composed: one publication, whose files do not change."""

    snapshot: int
    repositories: tuple[RepositoryView, ...]


class ComposeRecord(Record):
    """``compose.json`` of a compose."""

    version: Literal[1] = 1
    id: str
    date: str
    respin: int
    snapshot: int
    made: int
    """Seconds since 1970."""
    images: tuple[ImageFile, ...] = ()

    @property
    def order(self) -> tuple[str, int]:
        """Sort key: the later, the greater."""
        return self.date, self.respin


@dataclass(frozen=True)
class Made:
    """What :func:`compose` did."""

    record: ComposeRecord
    new: bool
    collected: tuple[str, ...]
    """IDs of the composes that were removed."""


def content_of(snapshot: Snapshot) -> Content:
    """A snapshot as it is to be composed.

    :raises CannotRun: when one of its indexes was changed by hand: no mirror is to copy it.
    """
    snapshot.require_unchanged()
    views = tuple(
        RepositoryView(folder, snapshot.folder / folder / "repodata", snapshot.tree / folder)
        for folder in snapshot.record.repositories
    )
    return Content(snapshot.record.number, views)


def compose(
    stage: Path,
    site: Site,
    policy: Composes,
    read: Callable[[], Content],
    *,
    images: Path | None = None,
    sign: Callable[[Path], object] | None = None,
    now: float | None = None,
) -> Made:
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
    with locked(stage / ".composes.lock"):
        _sweep(folder)
        shown = _shown(stage)
        records = _records(folder)
        newest = records[-1] if records else None
        for attempt in range(1, _ATTEMPTS + 1):
            content = read()
            files = tuple(_images(images, newest))
            if newest and (newest.snapshot, newest.images) == (content.snapshot, files):
                record = newest
                break
            try:
                record = _Compose(folder, site, _release(site, records, now), newest).make(content, images, files, sign)
                break
            except FileNotFoundError as error:
                # Collected after the publication was switched: what is current now is there.
                if attempt == _ATTEMPTS:
                    what = f"snapshot {content.snapshot} lacks {error.filename}"
                    raise CannotRun(what, "kitten rollback, or publish again") from None
        if shown != record.id:
            _switch(stage, record.id)
        collected = _collect(folder, policy, record.id, now)
    return Made(record, record is not newest, collected)


def due(stage: Path, policy: Composes, now: float) -> bool:
    """Whether the newest compose is about as old as the stage's configuration lets it become.

    Who asks by a clock of ``every_minutes`` asks a moment too early every other time: a tenth less is old enough.
    """
    records = _records(stage / "composes")
    return not records or now - records[-1].made >= policy.every_minutes * 60 * 0.9


def _release(site: Site, records: list[ComposeRecord], now: float) -> Release:
    short, version = compose_metadata.short_and_version(site.repositories.layout.root)
    # Never behind the newest one, even if the clock was set back: the order of IDs is that of the composes.
    date = max(datetime.fromtimestamp(now, UTC).strftime("%Y%m%d"), records[-1].date if records else "")
    respin = max((record.respin for record in records if record.date == date), default=-1) + 1
    made = max(int(now), records[-1].made + 1 if records else 0)
    return Release(site.distribution.title, short, version, date, respin, made)


@dataclass(frozen=True)
class _Compose:
    """One compose being made.

    rsync takes a file of the same size and second of modification for the same file. So whatever comes under the same
    name with other content carries the second of its compose, and no two composes have the same: two publications
    within a second would else leave mirrors with an index of one and data of the other.
    """

    folder: Path
    site: Site
    release: Release
    before: ComposeRecord | None

    def _same_name(self, source: Path, into: Path, path: str) -> None:
        """Bring a file whose name does not change with its content."""
        old = self.folder / self.before.id / self.site.repositories.layout.root / path if self.before else None
        if old and old.is_file() and old.read_bytes() == source.read_bytes():
            os.link(old, into)
        else:
            shutil.copyfile(source, into)
            os.utime(into, (self.release.made, self.release.made))

    def make(
        self, content: Content, images: Path | None, files: tuple[ImageFile, ...], sign: Callable[[Path], object] | None
    ) -> ComposeRecord:
        """The whole compose, under its name when this returns; nothing of it when this raises."""
        return _make(self, content, images, files, sign)

    def bring_index(self, view: RepositoryView, repodata: Path) -> None:
        """repomd.xml, and its signature where the stage has one."""
        for name in ("repomd.xml", "repomd.xml.asc"):
            source = view.repodata / name
            if name == "repomd.xml" or source.exists():
                self._same_name(source, repodata / name, f"{view.folder}/repodata/{name}")


def _make(
    of: _Compose,
    content: Content,
    images: Path | None,
    files: tuple[ImageFile, ...],
    sign: Callable[[Path], object] | None,
) -> ComposeRecord:
    folder, site, release = of.folder, of.site, of.release
    partial = folder / f".{release.id}.partial"
    try:
        tree = partial / site.repositories.layout.root
        tree.mkdir(parents=True)
        indexes = {view.folder: _link_repository(of, view, tree / view.folder) for view in content.repositories}
        for file in files:
            assert images is not None  # noqa: S101 - they are from there
            _link(images / file.path, tree / file.path)
        for checksums in compose_metadata.write(tree, site, release, indexes, files):
            if sign:
                sign(checksums)
        for path in _written(tree):
            os.utime(path, (release.made, release.made))
        record = ComposeRecord(
            id=release.id,
            date=release.date,
            respin=release.respin,
            snapshot=content.snapshot,
            made=release.made,
            images=files,
        )
        (partial / "compose.json").write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _flush(partial)
        partial.rename(folder / release.id)
        flush(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return record


def _link_repository(of: _Compose, view: RepositoryView, into: Path) -> list[Any]:
    """Link the index and all it names; its packages."""
    import createrepo_c

    repodata = into / "repodata"
    repodata.mkdir(parents=True)
    of.bring_index(view, repodata)
    records = {record.type: record for record in createrepo_c.Repomd(str(repodata / "repomd.xml")).records}
    for record in records.values():
        name = PurePosixPath(record.location_href).name
        _link(view.repodata / name, repodata / name)
    packages = _packages(into / records["primary"].location_href)
    made: set[Path] = set()
    for package in packages:
        href = PurePosixPath(package.location_href)
        if href.is_absolute() or ".." in href.parts:
            raise CannotRun(f"the index of {view.folder} names {href}, outside of it", "publish the repository again")
        _link(view.packages / href, into / href, made)
        if (size := (into / href).stat().st_size) != package.size_package:
            what = f"{view.folder}/{href} has {size} bytes, its index says {package.size_package}"
            raise CannotRun(what, "it was changed by hand: kitten rollback, or publish a new release")
    return packages


def _packages(primary: Path) -> list[Any]:
    import createrepo_c

    packages: list[Any] = []
    createrepo_c.xml_parse_primary(str(primary), pkgcb=packages.append, do_files=False)
    return packages


def _link(source: Path, to: Path, made: set[Path] | None = None) -> None:
    if made is None or to.parent not in made:
        to.parent.mkdir(parents=True, exist_ok=True)
        if made is not None:
            made.add(to.parent)
    os.link(source, to)


def _images(folder: Path | None, before: ComposeRecord | None) -> Iterator[ImageFile]:
    """The images there are, by path. One that is the same file as in the last compose is not read again."""
    known: Mapping[str, ImageFile] = {file.path: file for file in (before.images if before else ())}
    for kind in IMAGES if folder else ():
        assert folder is not None  # noqa: S101
        for path in sorted((folder / kind).rglob("*")):
            relative = path.relative_to(folder)
            if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in relative.parts):
                continue  # a name that begins with a dot is still being copied there
            if path.name in ("CHECKSUM", "CHECKSUM.asc"):
                continue  # written here, of everything that is there
            stat = path.stat()
            file = known.get(str(relative))
            if file and (file.size, file.mtime, file.inode) == (stat.st_size, stat.st_mtime_ns, stat.st_ino):
                yield file
                continue
            with path.open("rb") as stream:
                digest = file_digest(stream, "sha256").hexdigest()
            yield ImageFile(str(relative), stat.st_size, stat.st_mtime_ns, stat.st_ino, digest)


def _written(folder: Path) -> Iterator[Path]:
    """The files that were written here; what is linked was on the disk before."""
    for parent, _, files in os.walk(folder):
        yield from (path for name in files if (path := Path(parent, name)).stat().st_nlink == 1)


def _flush(folder: Path) -> None:
    for path in _written(folder):
        flush(path)
    for parent, _, _ in os.walk(folder):
        flush(Path(parent))


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


def told(made: Made) -> str:
    """What was done, in a sentence."""
    record = made.record
    text = f"compose {record.id} of snapshot {record.snapshot}, made {utc(record.made)}"
    text = f"{text}: mirrors see it" if made.new else f"nothing is new: mirrors see {text}"
    return f"{text}; collected: {', '.join(made.collected)}" if made.collected else text
