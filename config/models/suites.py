"""suites.yaml: the tests that run in guests; schedules.yaml: builds and suites that start at a fixed time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.models.base import Choice, Model, Name, Targets
from config.models.targets import Target

EMULATION_FACTOR = 10.0
"""Factor by which time limits of guests are longer under software emulation than with KVM."""


class Suite(Model):
    """One test suite that runs in a guest."""

    name: Name
    description: str
    targets: Targets = Targets("all")
    timeout_seconds: int = Field(default=300, ge=1, description="s with KVM; multiplied under emulation")
    needs_package: bool = Field(
        default=False,
        description="Whether it tests builds of packages, so that no schedule can run it. False: it can run without a "
        "package",
    )
    reruns: int = Field(
        default=1,
        ge=0,
        le=5,
        description="How often failed tests run again; a test that then passes is flaky",
    )

    def fits(self, target: Target) -> bool:
        """Check whether the suite runs on a target."""
        return self.targets.includes(target.name)


class Schedule(Model):
    """Builds, or suites without a package, that start at a fixed time."""

    name: Name
    description: str = ""
    kind: Literal["nightly"] = Field(description="nightly: once a day, at this hour and minute")
    hour: int = Field(ge=0, le=23, description="UTC")
    minute: int = Field(default=0, ge=0, le=59)
    targets: Targets = Targets("all")
    packages: Choice = Choice("all")
    suites: Choice = Field(
        default=Choice(()),
        description="Suites to run on each target; then no package is built. all: every suite that needs no package",
    )
    quick: bool = Field(default=False, description="Whether suites run only their shortest test, if they have one")
