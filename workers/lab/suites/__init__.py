"""The test suites that run in guests. ``RUNNERS`` names the module of each, which has ``run(request) -> Report``."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, cast

from config.models import Site, Suite, Target
from workers.lab.guest.file_system import Base
from workers.results import Case

RUNNERS: Mapping[str, str] = {
    "packages": "workers.lab.suites.packages",
    "power-kvm": "workers.lab.suites.power_kvm",
    "tmt": "workers.lab.suites.tmt",
    "secure-boot": "workers.lab.suites.secure_boot",
    "cpu-level": "workers.lab.suites.cpu_level",
    "perf": "workers.lab.suites.perf",
    "spice": "workers.lab.suites.spice",
    "spice-guest": "workers.lab.suites.spice",
}


@dataclass(frozen=True)
class Request:
    """What a suite tests, and with what."""

    site: Site
    target: Target
    suite: Suite
    state: Path
    """The site's state folder. The stage of the buildroot is below it."""
    packages: tuple[Path, ...]
    """The RPMs under test, with debuginfo and source packages. If empty, the suite tests only the target's promises."""
    tests: Mapping[str, bytes]
    """The files of the package's tests/ folder, by relative name."""
    extra: tuple[Path, ...]
    """Further packages for the guest (--with)."""
    logs: Path
    """Folder for the files to keep: consoles, reports, pictures. All of them are shown beside the result."""
    scratch: Path
    """Folder that the caller removes after the run."""
    fmf: Mapping[str, bytes] = field(default_factory=dict)
    """The files of the package's dist-git repository, by relative name, if that is an fmf tree; else empty."""
    dependents: bool = False
    """Run the tests of the packages that need the tested ones, too (--dependents)."""
    quick: bool = False
    """Run the shortest form of the suite, if it has one (--quick)."""


@dataclass(frozen=True)
class Report:
    """The result of a suite."""

    cases: tuple[Case, ...]
    accelerator: str
    """``tcg`` or ``kvm``."""
    reason: str
    """Why the guest used that accelerator."""
    cpu: str
    kernel: str
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further facts for the reader, by name: the chain that booted, the version of the server."""

    @classmethod
    def of_guests(
        cls,
        base: Base,
        cases: Iterable[Case],
        *,
        cpu: str = "",
        kernel: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> Self:
        """Make the report of guests that start from a base.

        :param cpu: if it is not the CPU of the target's machine.
        :param kernel: if it is not the kernel of the base.
        """
        used = base.accelerator
        cpu = cpu or base.target.machine.cpu_under(used.name)
        return cls(tuple(cases), used.name, used.reason, cpu, kernel or base.parts.release, extra or {})

    @classmethod
    def without_guest(cls, *cases: Case) -> Self:
        """Make the report of a suite that ended before it started a guest."""
        return cls(cases, "none", "", "", "")


class Runner(Protocol):
    """The module of a suite."""

    def run(self, request: Request) -> Report:
        """Run the suite.

        :raises CannotRun: if a tool, a kernel module or a machine variant is missing.
        :raises LaunchFailedError: if QEMU does not start.
        """


def runner(name: str) -> Runner:
    """Import the module that runs a suite.

    :raises KeyError: if no suite has this name.
    """
    return cast("Runner", importlib.import_module(RUNNERS[name]))
