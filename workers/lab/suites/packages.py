"""The ``packages`` suite: a package's life in a root guest, as users' systems see it, and its own tests.

rpm installs it from files with all it needs from ``staged``; what is installed is held against what is listed; its tests
run; it is removed, and nothing of it is left; the published version is upgraded to it, and its tests run again.
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
from workers.lab.suites.package_files import headers_for_guest, rpath_cases
from workers.lab.suites.package_plan import Preparation, room_of, script_names
from workers.results import Case


def run(request: Request) -> Report:
    """Lead the packages through their life in a guest.

    :raises CannotRun: no package, another target's package, a damaged one, no QEMU, no guest kernel, no rpm.
    """
    target = request.target
    if not request.packages:
        raise CannotRun("suite packages has no package", "give PATHs, or --build URL")
    headers = headers_for_guest(target, request.packages)
    asked = Preparation(request, headers)
    cases, plan = asked.plan()
    cases += rpath_cases(request.site, asked.entries, headers)
    if not script_names(request.tests):
        why = "it has no tests/*.sh: its programs were not run. Add tests/smoke.sh to its dist-git repository"
        cases.append(Case(name="tests", outcome="failed", reason=why))
    if not plan.tested:
        return Report.without_guest(*cases)
    base = rpmtools.root_base(request.site, target)
    limit = request.suite.timeout_seconds * saved.time_factor(base)
    life = lifecycle.life(plan, rpmtools.loader(base.parts), limit / 2)
    payload = file_system.payload_archive(tests=life.scripts(), files=life.files)
    with saved.ready(base, payload, request.logs, room=room_of(plan)) as running:
        talk = running.finish(limit)
    cases = [*cases_of_life(life, talk, limit), *cases]
    click.echo("; ".join(f"{name} {seconds:.1f} s" for name, seconds in step_seconds(life, talk).items()))
    return Report.on(base, cases)


@dataclass(frozen=True)
class Installation:
    """What installs packages in a root guest, and nothing more."""

    cases: tuple[Case, ...]
    """What is known without a guest: packages that cannot be installed."""
    scripts: Mapping[str, bytes]
    """For ``guest.payload_archive``, as are the files; the one script comes before any whose name begins with a letter."""
    files: Mapping[str, bytes | Path]
    room: int
    """Bytes, for ``saved.ready``."""


def installation(request: Request, loader: str) -> Installation:
    """The packages of a request, with what they need from ``staged``, for a root guest.

    :param loader: ``rpmtools.loader``.
    :raises CannotRun: no package, another target's, a damaged one.
    """
    cases, plan = Preparation(request, headers_for_guest(request.target, request.packages)).plan(install_only=True)
    life = lifecycle.life(plan, loader, limit=0)
    first = replace(life, steps=life.steps[:1])
    return Installation(tuple(cases), first.scripts(), first.files, room_of(plan))
