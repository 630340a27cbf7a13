"""Numbered snapshots of all that is published, and the one rename that shows users another one.

``10-kitten/`` holds the packages, each where it stays. A repository's ``repodata`` there is a symbolic link through
``.snapshots/current``, itself a link to the snapshot that users see: ``.snapshots/NNNN/`` has the ``repodata`` of every
repository as of that publication. So one rename of ``current`` switches all repositories at once, and a publication
costs its change. No file below a snapshot changes after it appeared. What packages a snapshot names is in the
catalogue (:mod:`workers.repo.catalogue`).

A caller that alters anything holds :meth:`Snapshots.lock`. When it is killed, a draft, a snapshot that was never
switched to, and packages that no index names may be left; the next draft removes them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.cache import locked
from workers.errors import CannotRun
from workers.repo import index
from workers.repo.catalogue import Catalogue, File

READABLE = 24 * 3600.0
"""Seconds a file stays readable after the index forgot it. Mirrors synchronise every 3 hours."""

STEADY = 2.0
"""Seconds an index stays before the next of its repository is shown. A reader who meets a switch between repomd.xml and
its signature reads both once more, and is refused only if another switch falls into that: four requests later at most.
So readers to whom one takes half a second are never refused, however fast publications follow one another."""

if TYPE_CHECKING:
    from config.models import Retention
    from workers.repo.records import PublishedRecord

_ISO = "%Y-%m-%dT%H:%M:%SZ"

Sign = Callable[[Path], object]
"""Write the detached signature of a file beside it."""
Groups = Callable[[str, set[str]], bytes | None]


@dataclass(frozen=True)
class SnapshotRecord:
    """``snapshot.json``: one publication of the whole distribution."""

    number: int
    made: str
    """When: ISO 8601, UTC."""
    what: str
    """In words: what this publication changed."""
    content_of: int
    """The number whose content this is: its own, or the one a rollback went back to."""
    repositories: Sequence[str]
    """Every repository folder below the distribution's root."""
    retired: Mapping[str, float]
    """Data file (``REPOSITORY/NAME``) that no index names any more → when it left (s since 1970). It stays for a while."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """Repository → SHA-256 of its repomd.xml, by which a change by hand is found."""
    shown: Mapping[str, float] = field(default_factory=dict)
    """Repository → since when users see this index of it (s since 1970)."""
    version: int = 1


@dataclass(frozen=True)
class Snapshot:
    """One publication."""

    folder: Path
    """Holds the ``repodata`` folders: ``BaseOS/aarch64/os/repodata``."""
    tree: Path
    """The distribution's root, as users see it now; the packages of every kept snapshot are there."""
    record: SnapshotRecord
    _catalogue: Path

    def changed_by_hand(self) -> list[str]:
        """Repositories whose repomd.xml is not the one that was published: an index that no client accepts."""
        return [name for name, checksum in self.record.indexes.items() if _checksum(self.index(name)) != checksum]

    def require_unchanged(self) -> None:
        """Refuse to go on with an index that is not the one that was published.

        :raises CannotRun: naming the first that is not.
        """
        for repository in self.changed_by_hand():
            what = f"{self.index(repository)} was changed by hand: it is not what publication {self.record.number} wrote"
            raise CannotRun(what, f"kitten rollback --to {self.record.number} writes it anew")

    def index(self, repository: str) -> Path:
        """A repository's repomd.xml."""
        return self.folder / repository / "repodata" / "repomd.xml"

    def published(self) -> dict[tuple[str, str], PublishedRecord]:
        """(package, target) → what is published of it."""
        return {(record.package, record.target): record for record in self._records(None)}

    def published_of(self, package: str) -> dict[str, PublishedRecord]:
        """Target → what is published of a package there."""
        return {record.target: record for record in self._records(package)}

    def _records(self, package: str | None) -> Iterator[PublishedRecord]:
        from workers.repo.records import PublishedRecord

        with Catalogue.opened(self._catalogue) as catalogue:
            found = catalogue.published(self.record.number, package)
        return map(PublishedRecord.model_validate_json, found)


@dataclass(frozen=True)
class Snapshots:
    """All publications below one folder."""

    root: Path
    top: str
    """The distribution's root in it: ``10-kitten``."""

    @property
    def catalogue(self) -> Path:
        """What each of them holds."""
        return self.root / ".catalogue.sqlite"

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """One publisher at a time."""
        return locked(self.root / ".lock")

    def current(self) -> Snapshot | None:
        """What users see; None before the first publication.

        :raises CannotRun: when something else lies there.
        """
        if (self.root / self.top).is_symlink():
            raise CannotRun(
                f"{self.root / self.top} is a link: an earlier version laid it out",
                f"move {self.root} away; what was built is published again without being built again",
            )
        link = self.root / ".snapshots" / "current"
        return self.get(int(link.readlink().name)) if link.is_symlink() else None

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
            record = SnapshotRecord(**json.loads((folder / "snapshot.json").read_bytes()))
        except (ValueError, TypeError) as error:
            raise CannotRun(f"{folder}/snapshot.json cannot be read: {error}", "restore it from a backup") from None
        except FileNotFoundError:
            kept = ", ".join(f.name.lstrip("0") for f in sorted(folder.parent.glob("[0-9]*"))) or "none"
            raise CannotRun(f"there is no snapshot {number}", f"kept are: {kept}") from None
        return Snapshot(folder, self.root / self.top, record, self.catalogue)

    @contextlib.contextmanager
    def draft(self, repositories: tuple[str, ...]) -> Iterator[Draft]:
        """Begin a publication on top of the current one; what is not finished is gone.

        :param repositories: folders that must exist in it, empty ones included.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        current = self.current()
        number = current.record.number + 1 if current else 1
        for stale in (self.root / ".snapshots").glob("*"):
            if stale.name.startswith(".") or (stale.name.isdigit() and int(stale.name) >= number):
                shutil.rmtree(stale) if stale.is_dir() and not stale.is_symlink() else stale.unlink()
        with Catalogue.opened(self.catalogue) as catalogue:
            for repository, path in catalogue.recover(number - 1):
                (self.root / self.top / repository / path).unlink(missing_ok=True)
            yield Draft(self, catalogue, number, current, repositories)

    def _folder(self, number: int) -> Path:
        return self.root / ".snapshots" / f"{number:04}"

    def switch(self, draft: Path, number: int) -> None:
        """Show users a finished draft: the one rename."""
        folder = self._folder(number)
        for path in (draft, *(p for p in draft.rglob("*") if p.is_dir())):
            index.flush(path)
        draft.rename(folder)
        fresh = folder.with_name(".current.next")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name)
        index.flush(folder.parent)
        fresh.replace(folder.with_name("current"))
        index.flush(folder.parent)

    def prune(self, policy: Retention, forget: Callable[[str], None] = lambda _unsigned: None) -> None:
        """Remove snapshots that a policy does not keep, and packages that only they named and nobody still reads.

        :param forget: told of each package of which nothing is left, by its checksum before signing.
        """
        from workers.repo.retention import keep_snapshots

        made = {number: seconds(self.get(number).record.made) for number in self.numbers()}
        kept = keep_snapshots(policy, made, time.time())
        for number in made.keys() - kept:
            # Renamed first: a folder with a number is always whole.
            gone = self.root / ".snapshots" / f".{number:04}.gone"
            self._folder(number).rename(gone)
            shutil.rmtree(gone)
        with Catalogue.opened(self.catalogue) as catalogue:
            gone_packages = []
            for repository, path, unsigned in catalogue.prune(min(kept), time.time() - READABLE):
                (self.root / self.top / repository / path).unlink(missing_ok=True)
                gone_packages.append(unsigned)
            for unsigned in gone_packages:
                if unsigned and not catalogue.holds(unsigned):
                    forget(unsigned)


class Draft:
    """A publication that nobody sees yet."""

    def __init__(
        self,
        snapshots: Snapshots,
        catalogue: Catalogue,
        number: int,
        current: Snapshot | None,
        repositories: tuple[str, ...],
    ) -> None:
        self.snapshots, self.number, self.current = snapshots, number, current
        self.tree = snapshots.root / snapshots.top
        # rsync takes files of one size and one second for the same: no two publications share a second.
        self.now = max(int(time.time()), seconds(current.record.made) + 1 if current else 0)
        self.repositories = tuple(sorted({*(current.record.repositories if current else ()), *repositories}))
        self._catalogue = catalogue
        self._folder = snapshots.root / ".snapshots" / f".{number:04}.partial"
        self._sources: list[tuple[File, Path]] = []
        self._gone: list[tuple[str, str]] = []
        self._records: list[PublishedRecord] = []
        self._errata: dict[tuple[str, str], str | None] = {}
        self._restored: Snapshot | None = None
        self._fresh: list[str] = []
        self._indexes = dict(current.record.indexes) if current else {}

    def add(self, file: File, source: Path) -> None:
        """Put a file into a repository.

        :raises CannotRun: when another file has, or lately had, that name there: clients may still hold an index of it.
        """
        known = self._catalogue.known(file.repository, file.path)
        there = (self.tree / file.repository / file.path).exists()
        if known is not None and known.sha256 != file.sha256 and there:
            raise CannotRun(f"{Path(file.path).name} was published before with other content", "raise its Release")
        if known is None or self._catalogue.file(self.number - 1, file.repository, file.path) is None:
            self._sources.append((file, source))

    def document(self, repository: str, path: str) -> File | None:
        """What was published at a place before, and still lies there: a document that comes back stays as it was."""
        return self._catalogue.known(repository, path) if (self.tree / repository / path).is_file() else None

    def remove(self, repository: str, path: str) -> None:
        """Take a file out of a repository; it stays readable for a while."""
        self._gone.append((repository, path))

    def note(self, record: PublishedRecord) -> None:
        """Note which build a package of the tree is from."""
        self._records.append(record)

    def tell(self, repository: str, package: str, erratum: str | None) -> None:
        """Set what users of a repository are told of a package's update (an ``<update>`` element), or take it away."""
        self._errata[repository, package] = erratum

    def restore(self, to: Snapshot) -> None:
        """Take the content of an earlier snapshot in place of the current one."""
        self._restored = to

    def finish(
        self, what: str, sign: Sign, *, content_of: int | None = None, groups: Groups | None = None
    ) -> None:
        """Show it to users.

        :param sign: called with each repomd.xml that is written anew.
        :param groups: repository, names of its packages → its comps.xml, or none; asked of each that changes.
        """
        changed = self._write_rows(groups) | self._mended()
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
        index.flush(path)
        time.sleep(max(0.0, at - time.time()))
        self.snapshots.switch(self._folder, self.number)

    def _due(self) -> float:
        """When to switch: not before each index that changes was there for :data:`STEADY` (s since 1970)."""
        now, shown = time.time(), self.current.record.shown if self.current else {}
        due = max((shown.get(repository, 0.0) for repository in self._fresh), default=0.0) + STEADY
        return min(max(now, due), now + STEADY)  # whatever a clock says that was set

    def _mended(self) -> set[str]:
        """Repositories whose index somebody changed: it is written anew, from the catalogue."""
        if self.current is None:
            return set()
        mended = set(self.current.changed_by_hand())
        for repository in sorted(mended):
            click.echo(f"warning: {self.current.index(repository)} was changed by hand; it is written anew", err=True)
        return mended

    def _write_rows(self, groups: Groups | None) -> set[str]:
        """The catalogue's part; the repositories whose index changes."""
        catalogue, number = self._catalogue, self.number
        changed = {file.repository for file, _ in self._sources} | {repository for repository, _ in self._gone}
        changed |= {repository for repository, _ in self._errata}
        with catalogue.writing():
            if self._restored:
                changed |= catalogue.restore(number, self._restored.record.content_of, self.now)
            for repository, path in self._gone:
                catalogue.retire(number, repository, path, self.now)
            for file, _ in self._sources:
                catalogue.add(number, file)
            for (repository, package), erratum in self._errata.items():
                catalogue.set_erratum(number, repository, package, erratum)
            for record in self._records:
                catalogue.note(number, record.package, record.target, record.model_dump_json())
            catalogue.compress(number)
            if groups is not None and not self._restored:
                for repository in changed:
                    comps = groups(repository, catalogue.names(repository))
                    if comps != catalogue.extras(repository).get("group"):
                        catalogue.set_extra(number, repository, "group", comps)
        return changed

    def _place_files(self) -> None:
        folders = set()
        for file, source in self._sources:
            place = self.tree / file.repository / file.path
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                _link(source, place)
            folders.add(place.parent)
        for repository in self.repositories:
            link = self.tree / repository / "repodata"
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                shown = self.snapshots.root / ".snapshots" / "current" / repository / "repodata"
                link.symlink_to(os.path.relpath(shown, link.parent))
                folders.add(link.parent)
        above = {parent for folder in folders for parent in folder.parents if parent.is_relative_to(self.tree)}
        for folder in folders | above:
            index.flush(folder)

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
                index.flush(path)
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

    @property
    def _before(self) -> dict[str, float]:
        return dict(self.current.record.retired) if self.current else {}


def _link(source: Path, place: Path) -> None:
    """A hard link, or a copy where that is another file system; whole in either case."""
    try:
        os.link(source, place)
    except OSError:
        partial = place.with_name(f".{place.name}.partial")
        shutil.copyfile(source, partial)
        index.flush(partial)
        partial.replace(place)


def _checksum(path: Path) -> str:
    """SHA-256 of a small file; "" where there is none."""
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def utc(time: float) -> str:
    """ISO 8601 of a time in seconds since 1970."""
    return datetime.fromtimestamp(time, UTC).strftime(_ISO)


def seconds(text: str) -> int:
    """The reverse."""
    return int(datetime.strptime(text, _ISO).replace(tzinfo=UTC).timestamp())
