"""suites.yaml: the tests that run in guests; schedules.yaml: what starts by the clock."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.models.base import Choice, Model, Name, Targets
from config.models.targets import Target

EMULATION_FACTOR = 10.0
"""How much more time a guest gets under software emulation than with KVM."""


class Suite(Model):
    """One test suite that runs in a guest."""

    name: Name
    description: str
    targets: Targets = Targets("all")
    timeout_seconds: int = Field(default=300, ge=1, description="s on an idle machine with KVM; scaled under emulation")
    needs_package: bool = Field(
        default=False, description="It tests a package's build, and so is on no schedule. False: it can run by itself"
    )
    reruns: int = Field(
        default=1,
        ge=0,
        le=5,
        description="How often it is asked again when something failed; what then passes is flaky",
    )

    def fits(self, target: Target) -> bool:
        """Whether it runs on the target."""
        return self.targets.includes(target.name)


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
