"""What a gate is asked about: builds that want to get to a stage, what is there, and how to look closer.

Everything the rules know is in here, as records; what costs more than a record is behind :class:`World`, asked for only
by a rule that needs it. So the rules can be held against a stage of any kind, or against one made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from config.models import Package, Site, Stage, Target
from workers.repo.builds import Build
from workers.repo.gate.metadata import Repositories
from workers.repo.gate.versions import Candidate
from workers.repo.records import PublishedRecord

Key = tuple[str, str]
"""(package, target)."""


@dataclass(frozen=True)
class Passing:
    """A build that wants to get to a stage."""

    package: Package
    target: Target
    build: Build
    evr: str
    """``[epoch:]version-release`` of its source package."""
    signed: bool = False
    """Whether it comes from a signed stage, so that dnf can take it from there."""

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

    def payload(self, package: str, target: str, file: str) -> str:
        """SHA-256 of a package file's payload, of a build that passes or of what is at the stage."""

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
    history: Mapping[Key, tuple[PublishedRecord, ...]] = field(default_factory=dict)
    """What was and is there, the oldest first, as far back as it is known."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def of_target(self, target: Target) -> tuple[Passing, ...]:
        """What passes on a target."""
        return tuple(p for p in self.passing if p.target.name == target.name)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Targets on which something passes, in the site's order."""
        named = {p.target.name for p in self.passing}
        return tuple(target for target in self.site.targets if target.name in named)
