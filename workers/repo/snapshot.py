"""Numbered snapshots of all that is published, and the one rename that shows users another one.

``.snapshots/NNNN/`` holds a whole tree; ``10-kitten`` beside it is a symbolic link to the tree that users see. A new
snapshot is drafted aside from hard links to the current one, so that it costs the change and not the size; only
indexes that change are written anew. No file of a snapshot changes after it appeared: whoever alters one replaces it.

A caller that alters anything holds :meth:`Snapshots.lock`. When it is killed, a draft or a snapshot that was never
switched to may be left; the next draft removes it. What users see is the old tree until the rename and the new one
after.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from workers.cache import locked
from workers.errors import CannotRun
from workers.repo import index
from workers.repo.records import PublishedRecord, SnapshotRecord, write_record

KEPT = 20
"""Snapshots that can be switched back to."""
READABLE = 24 * 3600.0
"""Seconds a file stays readable after the index forgot it. Mirrors synchronise every 3 hours."""


@dataclass(frozen=True)
class Snapshot:
    """One publication."""

    folder: Path
    tree: Path
    """What users see, or saw, as the distribution's root."""
    record: SnapshotRecord

    def published(self) -> dict[tuple[str, str], PublishedRecord]:
        """(package, target) → what is published of it."""
        found = (_read(path) for path in sorted((self.folder / ".records").glob("*/*.json")))
        return {(record.package, record.target): record for record in found}

    def published_of(self, package: str) -> dict[str, PublishedRecord]:
        """Target → what is published of a package there."""
        found = (_read(path) for path in sorted((self.folder / ".records").glob(f"*/{package}.json")))
        return {record.target: record for record in found}


@dataclass(frozen=True)
class Snapshots:
    """All publications below one folder."""

    root: Path
    top: str
    """The distribution's root in each of them: ``10-kitten``."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """One publisher at a time."""
        return locked(self.root / ".lock")

    def current(self) -> Snapshot | None:
        """What users see; None before the first publication."""
        link = self.root / self.top
        if not link.is_symlink():
            if link.exists():
                raise CannotRun(
                    f"{link} is not a link to a snapshot", "move it away: it was not published by this service"
                )
            return None
        return self.get(int(link.readlink().parts[1]))

    def numbers(self) -> list[int]:
        """Numbers of the snapshots there are, up to the current one."""
        current = self.current()
        folders = (self.root / ".snapshots").glob("[0-9]*")
        return sorted(int(f.name) for f in folders if current is not None and int(f.name) <= current.record.number)

    def get(self, number: int) -> Snapshot:
        """The snapshot of a number.

        :raises CannotRun: when it is not kept.
        """
        folder = self._folder(number)
        try:
            record = SnapshotRecord.model_validate_json((folder / "snapshot.json").read_bytes())
        except FileNotFoundError:
            kept = ", ".join(str(n) for n in self.numbers()) if (self.root / self.top).exists() else "none"
            raise CannotRun(f"there is no snapshot {number}", f"kept are: {kept}") from None
        return Snapshot(folder, folder / self.top, record)

    def draft(self, repositories: tuple[str, ...]) -> Draft:
        """Begin a publication on top of the current one.

        :param repositories: folders that must exist in it, empty ones included.
        """
        current = self.current()
        number = current.record.number + 1 if current else 1
        for stale in (self.root / ".snapshots").glob("*"):
            if stale.name.startswith(".") or int(stale.name) >= number:
                shutil.rmtree(stale)
        folder = self.root / ".snapshots" / f".{number:04}.partial"
        (folder / self.top).mkdir(parents=True)
        return Draft(self, folder, number, current, repositories)

    def _folder(self, number: int) -> Path:
        return self.root / ".snapshots" / f"{number:04}"

    def switch(self, draft: Path, number: int) -> None:
        """Show users a finished draft: the one rename."""
        folder = self._folder(number)
        for path in (draft, *(p for p in draft.rglob("*") if p.is_dir())):
            index.flush(path)
        draft.rename(folder)
        index.flush(folder.parent)
        fresh = self.root / f".{self.top}.next"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path(".snapshots", folder.name, self.top))
        fresh.replace(self.root / self.top)
        index.flush(self.root)

    def prune(self) -> None:
        """Remove snapshots older than the last :data:`KEPT`."""
        for number in self.numbers()[:-KEPT]:
            # Renamed first: a folder with a number is always whole.
            gone = self.root / ".snapshots" / f".{number:04}.gone"
            self._folder(number).rename(gone)
            shutil.rmtree(gone)


class Draft:
    """A publication that nobody sees yet."""

    def __init__(
        self, snapshots: Snapshots, folder: Path, number: int, current: Snapshot | None, repositories: tuple[str, ...]
    ) -> None:
        self.snapshots, self.folder, self.number, self.current = snapshots, folder, number, current
        self.tree = folder / snapshots.top
        self.now = int(time.time())
        self.retired: dict[str, float] = dict(current.record.retired) if current else {}
        self.repositories = tuple(sorted({*(current.record.repositories if current else ()), *repositories}))
        self.altered: list[Path] = []
        """Each repomd.xml written anew: to be signed before the switch."""
        if current:
            expired = {path for path, since in self.retired.items() if self.now - since > READABLE}
            link_tree(current.tree, self.tree, expired)
            link_tree(current.folder / ".records", folder / ".records")
            self.retired = {path: since for path, since in self.retired.items() if path not in expired}

    def add(self, repository: str, path: str, file: Path) -> None:
        """Link a file into the tree.

        :raises CannotRun: when another file has, or lately had, that name there: clients may still hold an index of it.
        """
        place = self.tree / repository / path
        if place.exists():
            if not place.samefile(file):
                raise CannotRun(f"{place.name} was published before with other content", "raise its Release")
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, place)

    def write_index(self, repository: str, packages: list[index.Package]) -> None:
        """Write a repository's index anew; what it no longer names stays readable for a while."""
        folder = self.tree / repository
        self.altered.append(index.write(folder, packages, self.now))
        (folder / "repodata" / "repomd.xml.asc").unlink(missing_ok=True)
        named = {str(package.location_href) for package in packages}
        named |= {f"repodata/{name}" for name in index.data_files(folder)}
        for file in files_below(folder):
            path = f"{repository}/{file}"
            if file in named:
                self.retired.pop(path, None)
            else:
                self.retired.setdefault(path, self.now)

    def complete(self) -> None:
        """Give every repository that has no index an empty one."""
        for repository in self.repositories:
            if not (self.tree / repository / "repodata").is_dir():
                self.write_index(repository, [])

    def write_published(self, record: PublishedRecord) -> None:
        """Note which build a package of the tree is from."""
        write_record(record, self.folder / ".records" / record.target / f"{record.package}.json")

    def finish(self, what: str, content_of: int | None = None) -> None:
        """Show it to users."""
        record = SnapshotRecord(
            number=self.number,
            made=utc(self.now),
            what=what,
            content_of=content_of or self.number,
            repositories=self.repositories,
            retired=self.retired,
        )
        write_record(record, self.folder / "snapshot.json")
        index.flush(self.folder / "snapshot.json")
        self.snapshots.switch(self.folder, self.number)


def restore(draft: Draft, to: Snapshot) -> None:
    """Give a draft the content of an earlier snapshot.

    Indexes that differ are written anew, because a client ignores one that is older than the one it has.
    """
    for repository in draft.repositories:
        there = to.tree / repository
        if _same_index(there, draft.tree / repository):
            continue
        packages = index.load(there)
        for package in packages:
            draft.add(repository, package.location_href, there / package.location_href)
        draft.write_index(repository, packages)
    records = draft.folder / ".records"
    shutil.rmtree(records, ignore_errors=True)
    link_tree(to.folder / ".records", records)


def _same_index(one: Path, other: Path) -> bool:
    a, b = one / "repodata" / "repomd.xml", other / "repodata" / "repomd.xml"
    return a.is_file() and b.is_file() and a.samefile(b)


def link_tree(source: Path, into: Path, without: Set[str] = frozenset()) -> None:
    """Hard-link every file of a folder into another one.

    :param without: paths relative to ``source`` that are left out.
    """
    made: set[Path] = set()
    for file in files_below(source):
        if file not in without:
            place = into / file
            if place.parent not in made:
                place.parent.mkdir(parents=True, exist_ok=True)
                made.add(place.parent)
            os.link(source / file, place)


def files_below(folder: Path) -> Iterator[str]:
    """Paths of the files below a folder, relative to it."""
    for parent, _, files in os.walk(folder):
        for file in files:
            yield os.path.relpath(os.path.join(parent, file), folder)  # noqa: PTH118 - one of thousands


def utc(seconds: float) -> str:
    """ISO 8601 of a time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(path: Path) -> PublishedRecord:
    return PublishedRecord.model_validate_json(path.read_bytes())
