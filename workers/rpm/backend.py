"""The interface of a build backend. Its users do not know which backend runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workers.repository.buildroot import Solvable


@dataclass(frozen=True)
class Plan:
    """The inputs of a build, known before it starts."""

    packages: tuple[Solvable, ...]
    """Packages to install in the buildroot, on top of the tree or chroot, as far as the backend chooses them."""
    tools: str
    """Identity of the tree or chroot."""
    inputs: tuple[tuple[str, str], ...] = ()
    """(name, value) of other inputs that decide the result; part of the build's identity."""


@dataclass(frozen=True)
class BuildOutput:
    """The files and facts that a build leaves."""

    rpms: tuple[Path, ...] = ()
    logs: tuple[Path, ...] = ()
    cause: str = ""
    """Why it failed: the line to read first; empty if it passed."""
    buildroot: tuple[str, ...] = ()
    """NEVRA of the installed packages, if the plan could not name them."""


class Backend(Protocol):
    """Makes RPMs of an SRPM, for one site and target."""

    def plan(self, srpm: Solvable) -> Plan:
        """Decide the inputs of the build.

        :raises CheckFailed: no package provides some BuildRequires.
        :raises CannotRun: this host cannot build for the target.
        """

    def build(self, srpm: Solvable, plan: Plan, into: Path) -> BuildOutput:
        """Build, leave RPMs and logs in the empty folder ``into``, and print the log as it is written.

        :raises CannotRun: this host cannot build for the target.
        """
