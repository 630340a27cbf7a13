"""Find a stage's snapshots, and read what users see at this moment, without a lock."""

from __future__ import annotations

from pathlib import Path

from config.models import Site, Stage, StageRole
from workers.base.errors import CannotRun
from workers.repository.records import PublishedRecord
from workers.repository.snapshot import Snapshots


def snapshots_of(site: Site, state: Path, stage: Stage) -> Snapshots:
    """The snapshots of a stage.

    :raises CannotRun: if the stage is not signed, or is not in a folder.
    """
    if not stage.signed:
        raise CannotRun(f"stage {stage.name} is not a signed one", "use `kitten stage` for it, or see stages.yaml")
    if "://" in stage.url:
        raise CannotRun(f"stage {stage.name} is at {stage.url}; only a folder can be published to", "see stages.yaml")
    return Snapshots((state / stage.url).absolute(), site.repositories.layout.root)


def named_stage(site: Site, name: str, role: StageRole = "users") -> Stage:
    """The stage of a name; without a name, the stage with a role.

    :raises CannotRun: if it does not exist; the message names the stages.
    """
    try:
        return site.stage(name) if name else site.stage_for(role)
    except KeyError as error:
        raise CannotRun(str(error.args[0]), "see stages.yaml") from None


def published(site: Site, state: Path, stage: str = "") -> dict[tuple[str, str], PublishedRecord]:
    """(package, target) → the record of the build that users see.

    :raises CannotRun: if the stage does not exist.
    """
    current = snapshots_of(site, state, named_stage(site, stage)).current()
    return current.published() if current else {}
