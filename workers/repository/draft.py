"""Write a publication beside the snapshot that users see, then show it by one rename.

The order: rows of the next number in the catalogue, packages at their places, the changed indexes in a new folder, a
flush of everything, the switch.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base.errors import CannotRun
from workers.base.files import flush
from workers.repository import index
from workers.repository.catalogue import Catalogue
from workers.repository.snapshot_record import READABLE, Snapshot, SnapshotRecord, seconds, utc
from workers.repository.tables import File

if TYPE_CHECKING:
    from workers.repository.records import PublishedRecord

STEADY = 2.0
"""Seconds an index stays before users see the next one of its repository. If a switch comes between the read of
repomd.xml and of its signature, a client reads both again. It fails only if another switch comes during that, at most
four requests later. So a client whose requests take less than half a second never fails, however fast publications
follow each other."""

Sign = Callable[[Path], object]
"""Write the detached signature of a file beside it."""
Groups = Callable[[str, set[str]], bytes | None]
"""Return the comps.xml of a repository with packages of these names, or None."""


class Draft:
    """A publication that nobody sees yet."""

    def __init__(
        self, root: Path, top: str, catalogue: Catalogue, current: Snapshot | None, repositories: tuple[str, ...]
    ) -> None:
        """Begin a draft on top of the current snapshot; see :meth:`workers.repository.snapshot.Snapshots.draft`."""
        self.number = current.record.number + 1 if current else 1
        self.current = current
        self.tree = root / top
        # rsync treats files of the same size and second as equal: no two publications share a second.
        self.now = max(int(time.time()), seconds(current.record.made) + 1 if current else 0)
        self.repositories = tuple(sorted({*(current.record.repositories if current else ()), *repositories}))
        self._catalogue = catalogue
        self._snapshots = root / ".snapshots"
        self._folder = self._snapshots / f".{self.number:04}.partial"
        self._sources: dict[tuple[str, str], tuple[File, Path]] = {}
        self._gone: list[tuple[str, str]] = []
        self._records: list[PublishedRecord] = []
        self._errata: dict[tuple[str, str], str | None] = {}
        self._restored: Snapshot | None = None
        self._fresh: list[str] = []
        self._indexes = dict(current.record.indexes) if current else {}

    def add(self, file: File, source: Path) -> None:
        """Add a file to a repository.

        :raises CannotRun: if another file has, or recently had, that name there: clients may still use its index.
        """
        known = self._catalogue.file_at(file.repository, file.path)
        if known and known.sha256 != file.sha256 and (self.tree / file.repository / file.path).exists():
            raise CannotRun(f"{Path(file.path).name} was published before with other content", "raise its Release")
        if known is None or self._catalogue.file(self.number - 1, file.repository, file.path) is None:
            self._sources.setdefault((file.repository, file.path), (file, source))

    def document(self, repository: str, path: str) -> File | None:
        """The document that was published at a place before and still exists; it is published again as it is."""
        return self._catalogue.file_at(repository, path) if (self.tree / repository / path).is_file() else None

    def remove(self, repository: str, path: str) -> None:
        """Remove a file from a repository's index; it stays readable for a while."""
        self._gone.append((repository, path))

    def set_record(self, record: PublishedRecord) -> None:
        """Set the record of a package: the build it comes from."""
        self._records.append(record)

    def set_erratum(self, repository: str, package: str, erratum: str | None) -> None:
        """Set the erratum (an ``<update>`` element) of a package in a repository, or remove it."""
        self._errata[repository, package] = erratum

    def restore(self, to: Snapshot) -> None:
        """Use the content of an earlier snapshot instead of the current one."""
        self._restored = to

    def finish(self, what: str, sign: Sign, *, content_of: int | None = None, groups: Groups | None = None) -> None:
        """Write the snapshot and show it to users.

        :param sign: called for each new repomd.xml.
        :param groups: called for each repository that changes.
        """
        changed = self._write_rows(groups) | self._changed_by_hand()
        self._place_files()
        self._write_indexes(changed, sign)
        at = self._due()
        record = SnapshotRecord(
            number=self.number,
            made=utc(self.now),
            what=what,
            content_of=content_of or self.number,
            repositories=self.repositories,
            retired=self._retired,
            indexes=self._indexes,
            shown={**(self.current.record.shown if self.current else {}), **dict.fromkeys(self._fresh, at)},
        )
        path = self._folder / "snapshot.json"
        path.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
        flush(path)
        time.sleep(max(0.0, at - time.time()))
        self._switch()

    def _due(self) -> float:
        """Time of the switch (s since 1970): each index that changes stays for at least :data:`STEADY`."""
        now, shown = time.time(), self.current.record.shown if self.current else {}
        due = max((shown.get(repository, 0.0) for repository in self._fresh), default=0.0) + STEADY
        return min(max(now, due), now + STEADY)  # in case somebody set the clock

    def _changed_by_hand(self) -> set[str]:
        """Repositories whose index somebody changed; it will be written again, from the catalogue."""
        if self.current is None:
            return set()
        changed = set(self.current.changed_by_hand())
        for repository in sorted(changed):
            click.echo(f"warning: {self.current.index(repository)} was changed by hand; it is written again", err=True)
        return changed

    def _write_rows(self, groups: Groups | None) -> set[str]:
        """Write the rows of the catalogue, and return the repositories whose index changes."""
        catalogue, number = self._catalogue, self.number
        changed = {file.repository for file, _ in self._sources.values()} | {repository for repository, _ in self._gone}
        changed |= {repository for repository, _ in self._errata}
        with catalogue.transaction():
            if self._restored:
                changed |= catalogue.restore(number, self._restored.record.content_of, self.now)
            for repository, path in self._gone:
                catalogue.retire(number, repository, path, self.now)
            for file, _ in self._sources.values():
                catalogue.add(number, file)
            for (repository, package), erratum in self._errata.items():
                catalogue.set_erratum(number, repository, package, erratum)
            for record in self._records:
                catalogue.set_record(number, record.package, record.target, record.model_dump_json())
                catalogue.add_arrival(number, record.package, record.target, record.nevr, record.evr, record.published)
            catalogue.compress(number)
            if groups is not None and not self._restored:
                for repository in changed:
                    comps = groups(repository, catalogue.names(repository))
                    if comps != catalogue.extras(repository).get("group"):
                        catalogue.set_extra(number, repository, "group", comps)
        return changed

    def _place_files(self) -> None:
        folders = set()
        for file, source in self._sources.values():
            place = self.tree.joinpath(file.repository, file.path)
            if (folder := place.parent) not in folders:
                folder.mkdir(parents=True, exist_ok=True)
                folders.add(folder)
            _link(source, place)
        for repository in self.repositories:
            link = self.tree / repository / "repodata"
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                shown = self._snapshots / "current" / repository / "repodata"
                link.symlink_to(os.path.relpath(shown, link.parent))
                folders.add(link.parent)
        above = {parent for folder in folders for parent in folder.parents if parent.is_relative_to(self.tree)}
        for folder in folders | above:
            flush(folder)

    def _write_indexes(self, changed: set[str], sign: Sign) -> None:
        self._folder.mkdir(parents=True)
        expired = {path for path, since in self._before.items() if self.now - since > READABLE}
        self._retired = {path: since for path, since in self._before.items() if path not in expired}
        for repository in self.repositories:
            folder = self._folder / repository / "repodata"
            folder.mkdir(parents=True)
            old = self.current.folder / repository / "repodata" if self.current else None
            fresh = old is None or not old.is_dir() or repository in changed
            if old is not None and old.is_dir():
                self._keep(repository, old, folder, expired, fresh)
            if fresh:
                repomd = index.write(folder, self._catalogue, repository, self.number, self.now)
                path = folder / "repomd.xml"
                path.write_bytes(repomd)
                self._fresh.append(repository)
                self._indexes[repository] = sha256(repomd).hexdigest()
                flush(path)
                sign(path)
                for file in (path, path.with_name("repomd.xml.asc")):
                    if file.is_file():
                        os.utime(file, (self.now, self.now))
                for name in index.data_files(folder.parent):
                    self._retired.pop(f"{repository}/{name}", None)

    def _keep(self, repository: str, old: Path, folder: Path, expired: set[str], fresh: bool) -> None:
        for file in old.iterdir():
            if f"{repository}/{file.name}" in expired or (fresh and file.name.startswith("repomd.xml")):
                continue
            os.link(file, folder / file.name)
            if fresh:
                self._retired.setdefault(f"{repository}/{file.name}", self.now)

    def _switch(self) -> None:
        """Show users the finished snapshot, by one rename."""
        for path in (self._folder, *(p for p in self._folder.rglob("*") if p.is_dir())):
            flush(path)
        folder = self._snapshots / f"{self.number:04}"
        self._folder.rename(folder)
        fresh = self._snapshots / ".current.next"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name)
        flush(self._snapshots)
        fresh.replace(self._snapshots / "current")
        flush(self._snapshots)

    @property
    def _before(self) -> dict[str, float]:
        return dict(self.current.record.retired) if self.current else {}


def _link(source: Path, place: Path) -> None:
    """Make a hard link, or a complete copy on another file system. An existing file stays."""
    try:
        os.link(source, place)
    except FileExistsError:
        return
    except OSError:
        partial = place.with_name(f".{place.name}.partial")
        shutil.copyfile(source, partial)
        flush(partial)
        partial.replace(place)
