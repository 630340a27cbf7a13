"""Remove from the artifact store what ``retention.yaml`` gives no reason to keep.

Decided anew under the publishers' locks, so that no publication takes up a build while it leaves; what goes is only
renamed there, and emptied afterwards. A command that finds a build or source again and uses it is heard
(:mod:`workers.artifacts.reuse`). A run that is killed leaves hidden folders, which the next one removes.
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
    """What would go and what would stay, with the reason of each.

    :raises CannotRun: when the store, or what the stages have, cannot be read: then nothing is known to be needless.
    """
    store = Store(artifact_store.store(site, state))
    return judge(site.retention, list(store.found()), needed(site, state), now, root=store.url)


def needed(site: Site, state: Path) -> Needed:
    """The builds that any kept snapshot of a signed stage shows packages of, and what is staged.

    :raises CannotRun: when it cannot be read.
    """
    records: list[PublishedRecord] = []
    for stage in _signed(site):
        snapshots = snapshots_of(site, state, stage)
        try:
            for number in snapshots.numbers():
                records += snapshots.get(number).published().values()
        except (CannotRun, OSError, ValueError) as error:
            what = f"cannot tell what stage {stage.name} shows: {str(error).splitlines()[0]}"
            raise CannotRun(what, "mend it first; nothing was removed") from None
    try:
        staged = staged_packages(site, state)
    except OSError as error:
        raise CannotRun(f"cannot tell what is staged: {error}", "mend it first; nothing was removed") from None
    return Needed(
        frozenset(record.build.rstrip("/") for record in records if record.build),
        frozenset(record.identity for record in records if record.identity),
        staged,
    )


def clean(site: Site, state: Path, *, clock: Callable[[], float] = time.time) -> tuple[Verdict, ...]:
    """Remove what may go. The verdict on each folder as it was carried out: what does not stay is gone.

    :raises CannotRun: as :func:`plan`, or when something cannot be removed; run again, it goes on.
    """
    store = Store(artifact_store.store(site, state))
    with _alone(state / ".clean.lock"):
        found = list(store.found())  # minutes in a large store: no publication waits for that
        ended: list[Verdict] = []
        aside: list[tuple[Found, str]] = []
        try:
            with _unchanged(site, state):
                for verdict in judge(site.retention, found, needed(site, state), clock(), root=store.url):
                    hidden = None if verdict.stays else store.aside(verdict.found)
                    if hidden is not None:
                        aside.append((verdict.found, hidden))
                    spared = not verdict.stays and hidden is None
                    again = "used again while it was looked at"
                    ended.append(Verdict(verdict.found, True, again) if spared else verdict)
            for folder, hidden in aside:
                store.remove(hidden, folder)
        except OSError as error:
            raise CannotRun(f"cannot remove: {error}", "mend that and run it again; it goes on") from None
    return tuple(ended)


@contextlib.contextmanager
def _unchanged(site: Site, state: Path) -> Iterator[None]:
    """No publication or promotion to any signed stage meanwhile."""
    with contextlib.ExitStack() as locks:
        for stage in _signed(site):
            snapshots: Snapshots = snapshots_of(site, state, stage)
            if snapshots.root.is_dir():
                locks.enter_context(snapshots.lock())
        yield


def _signed(site: Site) -> tuple[Stage, ...]:
    return tuple(stage for stage in site.signed_stages if "://" not in stage.url)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One that removes at a time; a second one says that it waits."""
    try:
        alone = cache.lock(path, cache.AT_ONCE)
    except BlockingIOError:
        click.echo("another kitten clean is at work here; waiting for it", err=True)
        alone = cache.lock(path)
    with alone:
        yield
