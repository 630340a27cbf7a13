"""Collect the status of each signed stage: its snapshot, what waits for it, and what slow targets owe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from config.models import Site, Stage
from workers.promotion.gate.targets import debts, lacking
from workers.promotion.gate.world import before, situation_of_waiting
from workers.repository.state import snapshots_of
from workers.results import Record


class Waiting(Record):
    """A package in the previous stage that this stage does not have."""

    package: str
    nevr: str
    targets: tuple[str, ...]
    """Targets on which it waits."""
    lacks: tuple[str, ...]
    """Required targets that have not brought it."""


class StageStatus(Record):
    """A signed stage."""

    stage: str
    description: str
    url: str
    snapshot: int = 0
    """0 if nothing was published yet."""
    made: str = ""
    """Time of the newest publication: ISO 8601, UTC."""
    what: str = ""
    """A phrase: what the newest publication changed."""
    kept: tuple[int, ...] = ()
    """Numbers of the snapshots that can be restored."""
    packages: Mapping[str, int] = {}
    """Target → number of source packages."""
    waiting: tuple[Waiting, ...] = ()
    owed: tuple[str, ...] = ()
    """Sentences: what targets that may lag owe."""


def status(site: Site, state: Path) -> tuple[StageStatus, ...]:
    """The status of every signed stage, in the order in which packages pass them.

    :raises CannotRun: if a stage cannot be read.
    """
    return tuple(_status(site, state, stage) for stage in site.signed_stages)


def _status(site: Site, state: Path, stage: Stage) -> StageStatus:
    snapshots = snapshots_of(site, state, stage)
    found = StageStatus(stage=stage.name, description=stage.description, url=str(snapshots.root))
    waiting: tuple[Waiting, ...] = ()
    owed: tuple[str, ...] = ()
    if before(site, stage) is not None:
        situation = situation_of_waiting(site, state, stage)
        together: dict[tuple[str, str], list[str]] = {}
        lacks: dict[tuple[str, str], dict[str, None]] = {}
        for passing in situation.passing:
            key = (passing.package.name, passing.nevr)
            together.setdefault(key, []).append(passing.target.name)
            lacks.setdefault(key, {}).update(dict.fromkeys(lacking(situation, passing)))
        waiting = tuple(
            Waiting(package=key[0], nevr=key[1], targets=tuple(targets), lacks=tuple(lacks[key]))
            for key, targets in together.items()
        )
        owed = tuple(f"{p.name}: {debt}" for p in site.packages for debt in debts(situation, p))
    current = snapshots.current()
    if current is None:
        return found.model_copy(update={"waiting": waiting})
    counts = {target.name: 0 for target in site.targets}
    for _, target in current.published():
        counts[target] = counts.get(target, 0) + 1
    return found.model_copy(
        update={
            "snapshot": current.record.number,
            "made": current.record.made,
            "what": current.record.what,
            "kept": tuple(snapshots.numbers()),
            "packages": counts,
            "waiting": waiting,
            "owed": owed,
        }
    )
