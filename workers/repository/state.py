"""What is published, read without a lock: from the snapshot that users see at this moment."""

from __future__ import annotations

from pathlib import Path

from config.models import Site, Stage
from workers.base.errors import CannotRun
from workers.repository.records import PublishedRecord
from workers.repository.snapshot import Snapshots


def snapshots_of(site: Site, state: Path, stage: Stage) -> Snapshots:
    """The snapshots of a stage.

    :raises CannotRun: when the stage is not a signed one in a folder.
    """
    if not stage.signed:
        raise CannotRun(f"stage {stage.name} is not a signed one", "use `kitten stage` for it, or see stages.yaml")
    if "://" in stage.url:
        raise CannotRun(f"stage {stage.name} lies at {stage.url}; only a folder can be published to", "see stages.yaml")
    return Snapshots((state / stage.url).absolute(), site.repositories.layout.root)


def named_stage(site: Site, name: str) -> Stage:
    """A stage by its name; without one, the last: what users install from.

    :raises CannotRun: naming the stages there are.
    """
    try:
        return site.stage(name) if name else site.stages[-1]
    except KeyError as error:
        raise CannotRun(str(error.args[0])) from None


def first_signed(site: Site) -> Stage:
    """Where builds get their signature.

    :raises CannotRun: when no stage is signed.
    """
    found = next((stage for stage in site.stages if stage.signed), None)
    if found is None:
        raise CannotRun("the site has no signed stage", "add one to stages.yaml")
    return found


def published(site: Site, state: Path, stage: str = "") -> dict[tuple[str, str], PublishedRecord]:
    """(package, target) → which build of it users see.

    :raises CannotRun: when there is no such stage.
    """
    current = snapshots_of(site, state, named_stage(site, stage)).current()
    return current.published() if current else {}
