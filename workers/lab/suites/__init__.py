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
    """What a suite is asked for."""

    site: Site
    target: Target
    suite: Suite
    state: Path
    """The site's state folder: the buildroot's stage is below it."""
    packages: tuple[Path, ...]
    """The RPMs under test, debuginfo and source packages among them; none: the suite looks at what the target promises alone."""
    tests: Mapping[str, bytes]
    """The files of the package's tests/ folder, by relative name."""
    extra: tuple[Path, ...]
    """Further packages for the guest (--with)."""
    logs: Path
    """Folder for whatever should be kept: consoles, reports, pictures. All of it is shown beside the result."""
    scratch: Path
    """Folder that is gone afterwards."""
    fmf: Mapping[str, bytes] = field(default_factory=dict)
    """The files of its dist-git repository, by relative name, if that is an fmf tree; none otherwise."""
    dependents: bool = False
    """Whether the tests of the packages that need the tested ones are run as well (--dependents)."""
    quick: bool = False
    """Whether the suite's shortest proof will do, if it has one (--quick)."""


@dataclass(frozen=True)
class Report:
    """What came of a suite."""

    cases: tuple[Case, ...]
    accelerator: str
    """``tcg`` or ``kvm``."""
    reason: str
    """Why that accelerator."""
    cpu: str
    kernel: str
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further facts worth telling, by name: the chain that booted, the server's version …"""

    @classmethod
    def on(
        cls,
        base: Base,
        cases: Iterable[Case],
        *,
        cpu: str = "",
        kernel: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> Self:
        """What came of guests that start from a base.

        :param cpu: where it is not that of the target's machine.
        :param kernel: where it is not the base's.
        """
        how = base.accelerator
        cpu = cpu or base.target.machine.cpu_under(how.name)
        return cls(tuple(cases), how.name, how.reason, cpu, kernel or base.parts.release, extra or {})

    @classmethod
    def without_guest(cls, *cases: Case) -> Self:
        """What was found before any guest was worth its start."""
        return cls(cases, "none", "", "", "")


class Runner(Protocol):
    """A module of this package."""

    def run(self, request: Request) -> Report:
        """Run the suite.

        :raises CannotRun: when it cannot: a tool, a kernel module, a machine variant is missing.
        :raises LaunchFailedError: when QEMU does not start.
        """


def runner(name: str) -> Runner:
    """The module that runs a suite.

    :raises KeyError: when there is none.
    """
    return cast("Runner", importlib.import_module(RUNNERS[name]))
