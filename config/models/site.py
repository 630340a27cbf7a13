"""site.yaml, and a whole site: every file of a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from pydantic import Field

from config.models.base import Folder, Model, Name
from config.models.build import Build
from config.models.groups import Groups
from config.models.packages import Package
from config.models.repositories import Repositories
from config.models.retention import Retention
from config.models.schedules import Schedule
from config.models.signing import Signing
from config.models.sources import Sources
from config.models.stages import Stage
from config.models.suites import EMULATION_FACTOR, Suite
from config.models.targets import Target
from config.models.web import Web
from config.models.workers import WorkerPool

_Named = TypeVar("_Named", "Target", "Package", "Stage")


class Distribution(Model):
    """site.yaml: what this folder describes."""

    name: Name
    title: str
    description: str
    extends: Folder | None = Field(
        default=None,
        description="Folder whose section files stand where this one has none: the name of one beside it, or a path",
    )
    may_degrade: bool = Field(
        default=False,
        description="Nobody relies on what is published: `kitten demo` makes a target optional, in a copy of the site in "
        "the state folder, when what it needs cannot be fetched. False: its packages wait for that target",
    )
    artifacts: str = Field(
        default="artifacts", description="fsspec URL of build results; a relative one is below the state folder"
    )


class Site(Model):
    """A whole distribution: every file of its folder."""

    distribution: Distribution
    build: Build
    targets: tuple[Target, ...]
    repositories: Repositories
    stages: tuple[Stage, ...]
    suites: tuple[Suite, ...]
    schedules: tuple[Schedule, ...]
    workers: tuple[WorkerPool, ...]
    sources: Sources
    web: Web
    groups: Groups = Groups()
    retention: Retention = Retention()
    packages: tuple[Package, ...]
    signing: Signing = Signing()

    def target(self, name: str) -> Target:
        """Return the target of that name.

        :raises KeyError: with the names there are.
        """
        return _named("target", self.targets, name)

    def package(self, name: str) -> Package:
        """Return the package of that name.

        :raises KeyError: with the nearest names there are.
        """
        return _named("package", self.packages, name)

    def stage(self, name: str) -> Stage:
        """Return the stage of that name.

        :raises KeyError: with the names there are.
        """
        return _named("stage", self.stages, name)

    def may(self, user: str, permission: str) -> bool:
        """Whether one of a user's roles has a permission."""
        return any(user in role.users and {permission, "everything"} & set(role.may) for role in self.web.roles)

    def targets_of(self, package: Package) -> tuple[Target, ...]:
        """The targets the package is built for."""
        return tuple(t for t in self.targets if package.targets == "all" or t.name in package.targets)

    def suites_of(self, target: Target, package: Package | None = None) -> tuple[str, ...]:
        """The suites that run on each build of a package on the target: the target's, then those of the package that fit."""
        named = dict.fromkeys((*target.suites, *(package.suites if package else ())))
        return tuple(name for name in named if name in {suite.name for suite in self.suites if suite.fits(target)})

    def suites_by_themselves(self, target: Target) -> tuple[str, ...]:
        """The suites that can test the target without a package."""
        return tuple(suite.name for suite in self.suites if suite.fits(target) and not suite.needs_package)

    def runs_of(self, schedule: Schedule) -> Mapping[str, tuple[str, ...]]:
        """Target → the suites that the schedule runs on it, for each target that one of them fits."""
        runs: dict[str, tuple[str, ...]] = {}
        for target in self.targets:
            if schedule.targets == "all" or target.name in schedule.targets:
                possible = self.suites_by_themselves(target)
                chosen = tuple(name for name in possible if schedule.suites == "all" or name in schedule.suites)
                if chosen:
                    runs[target.name] = chosen
        return runs

    def longest(self, target: Target, suites: Collection[str]) -> float:
        """The most seconds that suites may take on a target: under emulation, with every rerun."""
        factor = EMULATION_FACTOR * target.machine.time_factor
        return sum(s.timeout_seconds * factor * (1 + s.reruns) for s in self.suites if s.name in suites)

    def required_of(self, target: Target) -> tuple[tuple[str, str], ...]:
        """(repository, binary package) of everything users of the target must find."""
        return tuple(
            (required.repository, package)
            for required in self.repositories.required
            if required.targets == "all" or target.name in required.targets
            for package in required.packages
        )


def _named(kind: str, things: tuple[_Named, ...], name: str) -> _Named:
    for thing in things:
        if thing.name == name:
            return thing
    raise KeyError(f"unknown {kind} {name!r}; there are: {', '.join(t.name for t in things)}")
