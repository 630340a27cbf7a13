"""What a build backend is. Nothing above this interface knows which one ran."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workers.repository.buildroot import Solvable


@dataclass(frozen=True)
class Plan:
    """What a build will be made of, known before it starts."""

    packages: tuple[Solvable, ...]
    """Installed in the buildroot on top of the tree or chroot, as far as the backend decides that itself."""
    tools: str
    """Identity of the tree or chroot."""
    inputs: tuple[tuple[str, str], ...] = ()
    """Whatever else decides the outcome, by name; part of the build's identity."""


@dataclass(frozen=True)
class Built:
    """What came of a build."""

    rpms: tuple[Path, ...] = ()
    logs: tuple[Path, ...] = ()
    cause: str = ""
    """Why it failed, in a line a person should read first; empty when it did not."""
    buildroot: tuple[str, ...] = ()
    """NEVRA of what was installed, where only the build itself finds out."""


class Backend(Protocol):
    """A way to make RPMs of an SRPM, for one site and target."""

    def plan(self, srpm: Solvable) -> Plan:
        """Decide what the build is made of.

        :raises CheckFailed: when the BuildRequires cannot be met.
        :raises CannotRun: when this host cannot build for the target.
        """

    def build(self, srpm: Solvable, plan: Plan, into: Path) -> Built:
        """Build in, and leave RPMs and logs in, the empty folder ``into``; echo the log as it comes.

        :raises CannotRun: when this host cannot build for the target.
        """
