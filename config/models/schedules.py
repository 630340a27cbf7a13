"""schedules.yaml: what starts by the clock."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.models.base import Model, Name


class Schedule(Model):
    """When builds, or suites, start by themselves."""

    name: Name
    description: str = ""
    kind: Literal["nightly"] = Field(description="nightly: once a day, at this hour and minute")
    hour: int = Field(ge=0, le=23, description="UTC")
    minute: int = Field(default=0, ge=0, le=59)
    targets: Literal["all"] | tuple[Name, ...] = "all"
    packages: Literal["all"] | tuple[Name, ...] = "all"
    suites: Literal["all"] | tuple[Name, ...] = Field(
        default=(),
        description="Suites that test each of the targets itself; no package is built then. all: those that need none",
    )
    quick: bool = Field(default=False, description="Of each suite only its shortest proof, where it has one")
