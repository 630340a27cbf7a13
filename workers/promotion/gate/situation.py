"""What a gate is asked about: builds that want to get to a stage, what is there, and how to look closer.

Everything the rules know is in here, as records; what costs more than a record is behind :class:`World`, asked for only
by a rule that needs it. So the rules can be held against a stage of any kind, or against one made up.
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
    """A build that wants to get to a stage."""

    package: SourcePackage
    target: Target
    build: Build
    evr: str
    """``[epoch:]version-release`` of its source package."""
    record: PublishedRecord | None = None
    """What the signed stage it comes from has of it; None of a build that comes by itself."""

    @property
    def waiting(self) -> PublishedRecord:
        """What the stage before has of it.

        :raises ValueError: of a build that comes by itself.
        """
        if self.record is None:
            raise ValueError(f"{self.nevr} comes from a build, and from no stage")
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
        """File name → checksum as built."""
        result = self.build.result
        return {a.name: a.sha256 for a in (*result.rpms, *((result.srpm,) if result.srpm else ()))}

    @property
    def candidate(self) -> Candidate:
        """What the rules over versions look at."""
        return Candidate(self.package.name, self.nevr, self.evr, self.unsigned)


class World(Protocol):
    """What is behind the records."""

    def before(self, target: Target) -> Repositories:
        """What users of a target have at the stage, debuginfo and sources left out."""

    def elements(self, passing: Passing) -> tuple[bytes, ...]:
        """``<package>`` elements of primary.xml of what a build brings there, debuginfo and sources left out."""

    def content(self, package: str, target: str, file: str) -> str:
        """Digest of what a package file installs, asks for and runs: of a build that passes, or of what is at the stage."""

    def takeovers(self, passing: Passing) -> tuple[Refusal, ...]:
        """Names of other source packages that a build would newly claim, each refused by the rule ``provides``."""

    def dnf(self, target: Target, passing: Sequence[Passing]) -> str:
        """Let dnf install, upgrade and remove what passes; its last words where it refuses, else nothing."""


@dataclass(frozen=True)
class Situation:
    """One question to a gate."""

    site: Site
    stage: Stage
    passing: tuple[Passing, ...]
    world: World
    published: Mapping[Key, PublishedRecord] = field(default_factory=dict)
    """What is at the stage."""
    history: Mapping[Key, tuple[Arrival, ...]] = field(default_factory=dict)
    """Every version that ever came there, the oldest first."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def where(self, holds: Callable[[Passing], bool]) -> Situation:
        """The same question about those builds for which something holds."""
        return replace(self, passing=tuple(p for p in self.passing if holds(p)))

    def without(self, keys: Collection[Key]) -> Situation:
        """The same question without some builds."""
        return self.where(lambda p: p.key not in keys)

    def only(self, packages: Collection[str]) -> Situation:
        """The same question about some of the packages."""
        return self.where(lambda p: p.package.name in packages)

    def level(self) -> Situation:
        """The same question without builds of targets that may lag where they are not what required targets bring."""
        brings: dict[str, set[str]] = {}
        for passing in self.passing:
            if passing.target.required:
                brings.setdefault(passing.package.name, set()).add(passing.nevr)
        return self.where(lambda p: p.target.required or p.nevr in brings.get(p.package.name, {p.nevr}))

    def of_target(self, target: Target) -> tuple[Passing, ...]:
        """What passes on a target."""
        return tuple(p for p in self.passing if p.target.name == target.name)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Targets on which something passes, in the site's order."""
        named = {p.target.name for p in self.passing}
        return tuple(target for target in self.site.targets if target.name in named)
