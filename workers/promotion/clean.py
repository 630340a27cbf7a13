"""Remove the folders from the artifact store that ``retention.yaml`` does not keep.

The decision is made again under the publishers' locks, so that no publication takes a build that is being removed.
Under the locks, folders are only renamed; they are emptied later. A build or source that another command uses stays
(:mod:`workers.artifacts.reuse`). A run that is killed leaves hidden folders, which the next run removes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from config.models import Site, Stage
from workers.artifacts import artifact_store
from workers.base import cache
from workers.base.errors import CannotRun
from workers.promotion.stage import staged_packages
from workers.promotion.store import Store
from workers.repository.records import PublishedRecord
from workers.repository.retention import Found, Needed, Verdict, judge
from workers.repository.snapshot import Snapshots
from workers.repository.state import snapshots_of


def plan(site: Site, state: Path, now: float) -> tuple[Verdict, ...]:
    """The verdict on each folder of the artifact store, with its reason.

    :raises CannotRun: if the store or a stage cannot be read: then any folder may be needed.
    """
    store = Store(artifact_store.store(site, state))
    return judge(site.retention, list(store.found()), needed(site, state), now, root=store.url)


def needed(site: Site, state: Path) -> Needed:
    """The builds with packages in a kept snapshot of a signed stage, and the staged packages.

    :raises CannotRun: if a stage cannot be read.
    """
    records: list[PublishedRecord] = []
    for stage in _signed(site):
        snapshots = snapshots_of(site, state, stage)
        try:
            for number in snapshots.numbers():
                records += snapshots.get(number).published().values()
        except (CannotRun, OSError, ValueError) as error:
            what = f"cannot read stage {stage.name}: {str(error).splitlines()[0]}"
            raise CannotRun(what, "fix it first; nothing was removed") from None
    try:
        staged = staged_packages(site, state)
    except OSError as error:
        raise CannotRun(f"cannot read the staged packages: {error}", "fix it first; nothing was removed") from None
    return Needed(
        frozenset(record.build.rstrip("/") for record in records if record.build),
        frozenset(record.identity for record in records if record.identity),
        staged,
    )


def clean(site: Site, state: Path, *, clock: Callable[[], float] = time.time) -> tuple[Verdict, ...]:
    """Remove the folders that may go, and return the verdict on each folder: one that does not stay is gone.

    :raises CannotRun: as :func:`plan`, or if a folder cannot be removed; the next run goes on.
    """
    store = Store(artifact_store.store(site, state))
    with _only_cleaner(state / ".clean.lock"):
        found = list(store.found())  # takes minutes in a large store: no publication waits for it
        ended: list[Verdict] = []
        aside: list[tuple[Found, str]] = []
        try:
            with _publishers_locked(site, state):
                for verdict in judge(site.retention, found, needed(site, state), clock(), root=store.url):
                    hidden = None if verdict.stays else store.aside(verdict.found)
                    if hidden is not None:
                        aside.append((verdict.found, hidden))
                    spared = not verdict.stays and hidden is None
                    again = "used again during this run"
                    ended.append(Verdict(verdict.found, True, again) if spared else verdict)
            for folder, hidden in aside:
                store.remove(hidden, folder)
        except OSError as error:
            raise CannotRun(f"cannot remove: {error}", "fix the cause and run it again; it goes on") from None
    return tuple(ended)


@contextlib.contextmanager
def _publishers_locked(site: Site, state: Path) -> Iterator[None]:
    """Lock all signed stages against publications and promotions."""
    with contextlib.ExitStack() as locks:
        for stage in _signed(site):
            snapshots: Snapshots = snapshots_of(site, state, stage)
            if snapshots.root.is_dir():
                locks.enter_context(snapshots.lock())
        yield


def _signed(site: Site) -> tuple[Stage, ...]:
    return tuple(stage for stage in site.signed_stages if "://" not in stage.url)


@contextlib.contextmanager
def _only_cleaner(path: Path) -> Iterator[None]:
    """Lock out other cleaners; print a line if this one has to wait."""
    try:
        alone = cache.lock(path, cache.NO_WAIT)
    except BlockingIOError:
        click.echo("another kitten clean runs here; waiting for it", err=True)
        alone = cache.lock(path)
    with alone:
        yield
