"""What is published, read without a lock: from the snapshot that users see at this moment."""

from __future__ import annotations

from pathlib import Path

from config.models import Site, Stage, StageRole
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


def named_stage(site: Site, name: str, role: StageRole = "users") -> Stage:
    """A stage by its name; without a name, the stage of a role.

    :raises CannotRun: naming the stages there are.
    """
    try:
        return site.stage(name) if name else site.stage_for(role)
    except KeyError as error:
        raise CannotRun(str(error.args[0]), "see stages.yaml") from None


def published(site: Site, state: Path, stage: str = "") -> dict[tuple[str, str], PublishedRecord]:
    """(package, target) → which build of it users see.

    :raises CannotRun: when there is no such stage.
    """
    current = snapshots_of(site, state, named_stage(site, stage)).current()
    return current.published() if current else {}
