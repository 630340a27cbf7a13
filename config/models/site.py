"""site.yaml, and the whole site: all files of a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints

from config.models.base import Folder, Model, Name
from config.models.build import Build, Sources
from config.models.groups import Groups
from config.models.packages import SourcePackage
from config.models.repositories import Repositories
from config.models.service import Retention, Web, WorkerPool
from config.models.signing import Signing
from config.models.stages import Stage, StageRole
from config.models.suites import EMULATION_FACTOR, Schedule, Suite
from config.models.targets import Target

_Named = TypeVar("_Named", "Target", "SourcePackage", "Stage")


class Distribution(Model):
    """site.yaml: the distribution that this folder describes."""

    name: Name
    title: str
    description: str
    extends: Folder | None = Field(
        default=None,
        description="Folder from which missing section files are taken: the name of a folder beside this one, or a "
        "path",
    )
    may_degrade: bool = Field(
        default=False,
        description="Whether nobody relies on the published packages. `kitten demo` then makes a target optional, in a "
        "copy of the site in the state folder, if its downloads fail. False: packages wait for that target",
    )
    short: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")] = Field(
        description="Short name of the distribution, in the names of composes: kitten in kitten-10-20260801.0"
    )
    version: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)*$")] = Field(
        description="Version of the distribution, as text: 10"
    )
    tag: Annotated[str, StringConstraints(pattern=r"^tag:[^\s:,]+,\d{4}(-\d{2}){0,2}:[^\s]+$")] = Field(
        description="Name of this CI as a tag URI (RFC 4151). In provenance, names of builders and build types begin "
        "with it"
    )
    artifacts: str = Field(
        default="artifacts", description="fsspec URL of the artifact store; a relative path is below the state folder"
    )


class Site(Model):
    """A whole site: all files of its folder."""

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
    packages: tuple[SourcePackage, ...]
    signing: Signing = Signing()

    def target(self, name: str) -> Target:
        """Return the target of that name.

        :raises KeyError: with the known names.
        """
        return _entry("target", self.targets, name)

    def package(self, name: str) -> SourcePackage:
        """Return the package of that name.

        :raises KeyError: with the known names.
        """
        return _entry("package", self.packages, name)

    def stage(self, name: str) -> Stage:
        """Return the stage of that name.

        :raises KeyError: with the known names.
        """
        return _entry("stage", self.stages, name)

    @property
    def signed_stages(self) -> tuple[Stage, ...]:
        """The signed stages, in the order in which packages pass them."""
        return tuple(stage for stage in self.stages if stage.signed)

    def stage_for(self, role: StageRole) -> Stage:
        """Return the stage that names a role. If none does: the only unsigned stage, the first or the last signed one.

        :raises KeyError: if no stage can have the role, because the site has no signed stage.
        """
        named = [stage for stage in self.stages if role in stage.roles]
        fitting = [stage for stage in self.stages if stage.signed == (role != "buildroot")]
        if not (stages := named or fitting):
            raise KeyError(f"no stage of the site has the role {role}")
        return stages[-1 if role == "users" else 0]

    def may(self, user: str, permission: str) -> bool:
        """Check whether one of a user's roles has a permission."""
        return any(user in role.users and {permission, "everything"} & set(role.may) for role in self.web.roles)

    def targets_of(self, package: SourcePackage) -> tuple[Target, ...]:
        """Return the targets that a package is built for."""
        return tuple(t for t in self.targets if package.targets.includes(t.name))

    def suites_of(self, target: Target, package: SourcePackage | None = None) -> tuple[str, ...]:
        """Return the suites that test builds of a package on a target: the target's, then the package's."""
        named = dict.fromkeys((*target.suites, *(package.suites if package else ())))
        return tuple(name for name in named if name in {suite.name for suite in self.suites if suite.fits(target)})

    def suites_without_package(self, target: Target) -> tuple[str, ...]:
        """Return the suites that can test a target without a package."""
        return tuple(suite.name for suite in self.suites if suite.fits(target) and not suite.needs_package)

    def runs_of(self, schedule: Schedule) -> Mapping[str, tuple[str, ...]]:
        """Return target → the suites that a schedule runs on it, without targets on which none runs."""
        runs: dict[str, tuple[str, ...]] = {}
        for target in self.targets:
            if schedule.targets.includes(target.name):
                possible = self.suites_without_package(target)
                chosen = schedule.suites.names(possible)
                if chosen:
                    runs[target.name] = chosen
        return runs

    def suite_seconds(self, target: Target, suites: Collection[str]) -> float:
        """Return the seconds that suites may take at most on a target: under emulation, with all reruns."""
        factor = EMULATION_FACTOR * target.machine.time_factor
        return sum(s.timeout_seconds * factor * (1 + s.reruns) for s in self.suites if s.name in suites)

    def required_of(self, target: Target) -> tuple[tuple[str, str], ...]:
        """Return (repository, binary package) of all packages that users of a target must find."""
        return tuple(
            (required.repository, package)
            for required in self.repositories.required
            if required.targets.includes(target.name)
            for package in required.packages
        )


def _entry(kind: str, things: tuple[_Named, ...], name: str) -> _Named:
    for thing in things:
        if thing.name == name:
            return thing
    raise KeyError(f"unknown {kind} {name!r}; there are: {', '.join(t.name for t in things)}")
