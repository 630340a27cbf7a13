"""schedules.yaml: what starts by the clock."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.models.base import Choice, Model, Name, Targets


class Schedule(Model):
    """When builds, or suites, start by themselves."""

    name: Name
    description: str = ""
    kind: Literal["nightly"] = Field(description="nightly: once a day, at this hour and minute")
    hour: int = Field(ge=0, le=23, description="UTC")
    minute: int = Field(default=0, ge=0, le=59)
    targets: Targets = Targets("all")
    packages: Choice = Choice("all")
    suites: Choice = Field(
        default=Choice(()),
        description="Suites that test each of the targets itself; no package is built then. all: those that need none",
    )
    quick: bool = Field(default=False, description="Of each suite only its shortest proof, where it has one")
