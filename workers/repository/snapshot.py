"""Numbered snapshots of all repositories of a stage; one rename shows users another snapshot.

``10-kitten/`` has the packages; a package never moves. A repository's ``repodata`` there is a symbolic link through
``.snapshots/current``, which is a link to the snapshot that users see: ``.snapshots/NNNN/`` has the ``repodata`` of
every repository in that publication. So one rename of ``current`` switches all repositories at once, and the cost of a
publication depends on its changes only. No file below a snapshot changes after the snapshot appears. The catalogue
(:mod:`workers.repository.catalogue`) has the packages of each snapshot.

Anyone who changes something holds :meth:`Snapshots.lock`. A publication that is killed may leave a draft, a snapshot
that users never saw, and packages that no index names; the next draft removes them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workers.base.cache import hold_lock
from workers.base.errors import CannotRun
from workers.repository.catalogue import Catalogue
from workers.repository.draft import Draft, Groups, Sign
from workers.repository.snapshot_record import READABLE, Snapshot, SnapshotRecord, seconds, utc

if TYPE_CHECKING:
    from config.models import Retention
    from workers.repository.records import Arrival

__all__ = ["READABLE", "Draft", "Groups", "Sign", "Snapshot", "SnapshotRecord", "Snapshots", "utc"]


@dataclass(frozen=True)
class Snapshots:
    """The snapshots below one folder."""

    root: Path
    top: str
    """Name of the distribution's root in that folder: ``10-kitten``."""

    @property
    def catalogue(self) -> Path:
        """Path of the catalogue, which has the content of each snapshot."""
        return self.root / ".catalogue.sqlite"

    def arrivals(self, package: str | None = None) -> dict[tuple[str, str], tuple[Arrival, ...]]:
        """(package, target) → every version that ever came there, oldest first, even if its snapshot is gone."""
        current = self.current()
        if current is None:
            return {}
        from workers.repository.records import Arrival

        found: dict[tuple[str, str], tuple[Arrival, ...]] = {}
        with Catalogue.open(self.catalogue) as catalogue:
            for name, target, nevr, evr, came in catalogue.arrivals(current.record.number, package):
                found[name, target] = (*found.get((name, target), ()), Arrival(name, nevr, evr, came))
        return found

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Lock the snapshots: one publisher at a time."""
        return hold_lock(self.root / ".lock")

    def current(self) -> Snapshot | None:
        """The snapshot that users see; None before the first publication.

        :raises CannotRun: if an earlier version of this program made the folder.
        """
        if (self.root / self.top).is_symlink():
            raise CannotRun(
                f"{self.root / self.top} is a link, made by an earlier version of kitten; expected a folder",
                f"move {self.root} away; builds are published again without a new build",
            )
        link = self.root / ".snapshots" / "current"
        return self.get(int(link.readlink().name)) if link.is_symlink() else None

    def numbers(self) -> list[int]:
        """Numbers of the kept snapshots, up to the current one."""
        current = self.current()
        folders = (self.root / ".snapshots").glob("[0-9]*")
        return sorted(int(f.name) for f in folders if current is not None and int(f.name) <= current.record.number)

    def get(self, number: int) -> Snapshot:
        """The snapshot of a number.

        :raises CannotRun: if no such snapshot is kept.
        """
        folder = self._folder(number)
        try:
            record = SnapshotRecord(**json.loads((folder / "snapshot.json").read_bytes()))
        except (ValueError, TypeError) as error:
            raise CannotRun(f"{folder}/snapshot.json cannot be read: {error}", "restore it from a backup") from None
        except FileNotFoundError:
            kept = ", ".join(f.name.lstrip("0") for f in sorted(folder.parent.glob("[0-9]*"))) or "none"
            raise CannotRun(f"there is no snapshot {number}", f"kept snapshots: {kept}") from None
        return Snapshot(folder, self.root / self.top, record, self.catalogue)

    @contextlib.contextmanager
    def draft(self, repositories: tuple[str, ...]) -> Iterator[Draft]:
        """Begin a publication on top of the current snapshot; remove what an unfinished one left.

        :param repositories: folders that the snapshot must have, even if they are empty.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        current = self.current()
        number = current.record.number + 1 if current else 1
        for stale in (self.root / ".snapshots").glob("*"):
            if stale.name.startswith(".") or (stale.name.isdigit() and int(stale.name) >= number):
                shutil.rmtree(stale) if stale.is_dir() and not stale.is_symlink() else stale.unlink()
        with Catalogue.open(self.catalogue) as catalogue:
            for repository, path in catalogue.recover(number - 1):
                (self.root / self.top / repository / path).unlink(missing_ok=True)
            yield Draft(self.root, self.top, catalogue, current, repositories)

    def _folder(self, number: int) -> Path:
        return self.root / ".snapshots" / f"{number:04}"

    def prune(self, policy: Retention, forget: Callable[[str], None] = lambda _unsigned: None) -> None:
        """Remove snapshots that a policy does not keep, and packages that only they had and no client reads any more.

        :param forget: called for each package that no repository has any more, with its checksum before signing.
        """
        from workers.repository.retention import keep_snapshots

        made = {number: seconds(self.get(number).record.made) for number in self.numbers()}
        kept = keep_snapshots(policy, made, time.time())
        for number in made.keys() - kept:
            # A rename first: a folder whose name is a number is always complete.
            gone = self.root / ".snapshots" / f".{number:04}.gone"
            self._folder(number).rename(gone)
            shutil.rmtree(gone)
        with Catalogue.open(self.catalogue) as catalogue:
            gone_packages = []
            for repository, path, unsigned in catalogue.prune(min(kept), time.time() - READABLE):
                (self.root / self.top / repository / path).unlink(missing_ok=True)
                gone_packages.append((path, unsigned))
            for path, unsigned in gone_packages:
                if unsigned and not catalogue.has_signed(path, unsigned):
                    forget(unsigned)
