"""The ``packages`` suite: install, test, remove and upgrade packages in a root guest, and run their own tests.

rpm installs the packages from files, with all that they need from ``staged``. The suite compares the installed files
with the listed ones and runs the packages' tests. It removes the packages and checks that no file is left. Then it
installs the published version, upgrades it to the packages under test, and runs their tests again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from workers.base.errors import CannotRun
from workers.lab import lifecycle
from workers.lab.guest import file_system, rpmtools, saved
from workers.lab.suites import Report, Request
from workers.lab.suites.package_cases import cases_of_life, step_seconds
from workers.lab.suites.package_files import headers_for_guest, rpath_case
from workers.lab.suites.package_plan import Preparation, room_of, script_names
from workers.results import Case


def run(request: Request) -> Report:
    """Run all steps of the suite in one guest.

    :raises CannotRun: if there is no package, a package is damaged or for another target, or QEMU, the guest kernel or
        rpm is missing.
    """
    target = request.target
    if not request.packages:
        raise CannotRun("suite packages has no package", "give PATHs, or --build URL")
    headers = headers_for_guest(target, request.packages)
    preparation = Preparation(request, headers)
    cases, plan = preparation.plan()
    cases.append(rpath_case(request.site, preparation.entries, headers))
    if not script_names(request.tests):
        why = (
            "the package has no tests/*.sh, so its programs did not run: add tests/smoke.sh to its dist-git repository"
        )
        cases.append(Case(name="tests", outcome="failed", reason=why))
    if not plan.tested:
        return Report.without_guest(*cases)
    base = rpmtools.root_base(request.site, target)
    limit = request.suite.timeout_seconds * saved.time_factor(base)
    life = lifecycle.life(plan, rpmtools.loader(base.parts), limit / 2)
    payload = file_system.payload_archive(tests=life.scripts(), files=life.files)
    with saved.start_guest(base, payload, request.logs, room=room_of(plan)) as running:
        talk = running.finish(limit)
    cases = [*cases_of_life(life, talk, limit), *cases]
    click.echo("; ".join(f"{name} {seconds:.1f} s" for name, seconds in step_seconds(life, talk).items()))
    return Report.of_guests(base, cases)


@dataclass(frozen=True)
class Installation:
    """What a root guest needs to install packages, and nothing more."""

    cases: tuple[Case, ...]
    """The packages that cannot be installed, as cases: known before the guest starts."""
    scripts: Mapping[str, bytes]
    """For ``payload_archive``, like the files. The script runs before all scripts whose names begin with a letter."""
    files: Mapping[str, bytes | Path]
    room: int
    """Bytes that the packages need, for ``saved.start_guest``."""


def installation(request: Request, loader: str) -> Installation:
    """The packages of a request, with all that they need from ``staged``, for a root guest.

    :param loader: path of the guest's program interpreter; ``rpmtools.loader``.
    :raises CannotRun: if there is no package, or one is damaged or for another target.
    """
    cases, plan = Preparation(request, headers_for_guest(request.target, request.packages)).plan(install_only=True)
    life = lifecycle.life(plan, loader, limit=0)
    first = replace(life, steps=life.steps[:1])
    return Installation(tuple(cases), first.scripts(), first.files, room_of(plan))
