"""The input of a gate: the builds that want to pass to a stage, and what the stage has.

The rules read records here. Data that costs more than a record comes from :class:`World`, only for the rules that need
it. So the rules can be applied to a stage of any kind, and to one that a test makes up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from config.models import Site, SourcePackage, Stage, Target
from workers.artifacts.builds import Build
from workers.promotion.gate.refusal import Refusal
from workers.promotion.gate.versions import Candidate
from workers.repository.primary import Repositories
from workers.repository.records import Arrival, PublishedRecord

Key = tuple[str, str]
"""(package, target)."""


@dataclass(frozen=True)
class Passing:
    """A build that wants to pass to a stage."""

    package: SourcePackage
    target: Target
    build: Build
    evr: str
    """``[epoch:]version-release`` of its source package."""
    record: PublishedRecord | None = None
    """Its record in the previous signed stage; None for a build that comes from no stage."""

    @property
    def waiting(self) -> PublishedRecord:
        """Its record in the previous signed stage.

        :raises ValueError: if it comes from no stage.
        """
        if self.record is None:
            raise ValueError(f"{self.nevr} comes from a build, not from a stage")
        return self.record

    @property
    def nevr(self) -> str:
        """NEVR of the source package."""
        return self.build.result.nevr

    @property
    def key(self) -> Key:
        """(package, target)."""
        return self.package.name, self.target.name

    @property
    def unsigned(self) -> Mapping[str, str]:
        """File name → checksum before signing."""
        result = self.build.result
        return {a.name: a.sha256 for a in (*result.rpms, *((result.srpm,) if result.srpm else ()))}

    @property
    def candidate(self) -> Candidate:
        """The data for the rules over versions."""
        return Candidate(self.package.name, self.nevr, self.evr, self.unsigned)


class World(Protocol):
    """Access to repositories, packages and dnf, for rules that need more than records."""

    def before(self, target: Target) -> Repositories:
        """The packages that users of a target have at the stage, without debuginfo and sources."""

    def elements(self, passing: Passing) -> tuple[bytes, ...]:
        """``<package>`` elements of primary.xml for a build, without debuginfo and sources."""

    def content(self, package: str, target: str, file: str) -> str:
        """Digest of what a package file installs, requires and runs; the file is in a build or at the stage."""

    def takeovers(self, passing: Passing) -> tuple[Refusal, ...]:
        """Refusals of the rule ``provides``: names of other source packages that a build would newly claim."""

    def dnf(self, target: Target, passing: Sequence[Passing]) -> str:
        """Let dnf install, upgrade and remove the builds, and return its last lines if it refuses, else ""."""


@dataclass(frozen=True)
class Situation:
    """One question to a gate."""

    site: Site
    stage: Stage
    passing: tuple[Passing, ...]
    world: World
    published: Mapping[Key, PublishedRecord] = field(default_factory=dict)
    """The records at the stage."""
    history: Mapping[Key, tuple[Arrival, ...]] = field(default_factory=dict)
    """Every version that ever came to the stage, oldest first."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def filter(self, condition: Callable[[Passing], bool]) -> Situation:
        """The same question about the builds for which a condition is true."""
        return replace(self, passing=tuple(p for p in self.passing if condition(p)))

    def without(self, keys: Collection[Key]) -> Situation:
        """The same question without some builds."""
        return self.filter(lambda p: p.key not in keys)

    def only(self, packages: Collection[str]) -> Situation:
        """The same question about some of the packages."""
        return self.filter(lambda p: p.package.name in packages)

    def level(self) -> Situation:
        """The same question without builds of targets that may lag, if required targets bring another version."""
        brings: dict[str, set[str]] = {}
        for passing in self.passing:
            if passing.target.required:
                brings.setdefault(passing.package.name, set()).add(passing.nevr)
        return self.filter(lambda p: p.target.required or p.nevr in brings.get(p.package.name, {p.nevr}))

    def of_target(self, target: Target) -> tuple[Passing, ...]:
        """The builds of a target."""
        return tuple(p for p in self.passing if p.target.name == target.name)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Targets with a build, in the site's order."""
        named = {p.target.name for p in self.passing}
        return tuple(target for target in self.site.targets if target.name in named)
