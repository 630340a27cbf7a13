"""The plan of a guest: which packages it installs and upgrades, and whose tests it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from config.nevra import Nevra, is_debug
from workers.formats.rpm_header import RpmHeader
from workers.formats.rpm_payload import Entry
from workers.lab import dependencies, lifecycle, rpms
from workers.lab.guest import rpmtools
from workers.lab.guest.kernel import guest_parts
from workers.lab.suites import Request
from workers.lab.suites.package_files import headers_for_guest, loadable_files, solvables
from workers.lab.testfiles import tests_folder
from workers.repository.buildroot import Solvable, read_repository, read_solvable
from workers.results import Case


def script_names(tests: Mapping[str, bytes]) -> tuple[str, ...]:
    """The names of the test scripts among the files, in the order in which they run."""
    return tuple(name for name, _ in lifecycle.scripts_of(tests))


class Preparation:
    """The packages of a request, and the plan for them."""

    def __init__(self, request: Request, headers: Mapping[Path, RpmHeader]) -> None:
        self.request = request
        self.arch = request.target.rpm_arch
        self.headers = headers
        self.tested = solvables(headers)
        self.base = read_solvable(rpmtools.stand_in_package(request.site, request.target))
        self.sources = {header.source for header in headers.values()}
        self.entries = {
            path: rpms.unpack_package(path, header, request.scratch / "payloads" / str(number))
            for number, (path, header) in enumerate(headers.items())
        }
        names = {package.name for package in self.tested}
        extra = solvables(headers_for_guest(request.target, request.extra))
        self.extra = tuple(package for package in extra if package.name not in names)
        names |= {package.name for package in extra}
        self.staged = tuple(package for package in _staged(request) if package.name not in names)

    def plan(self, *, install_only: bool = False) -> tuple[list[Case], lifecycle.Plan]:
        """Make the cases that are known without a guest, and the plan of the guest.

        :param install_only: no tests, no upgrade, no dependents.
        """
        cases: list[Case] = []
        request = self.request
        wanted = (*self.tested, *self.extra)
        resolved = dependencies.resolve(wanted, self.staged, [self.base], self.arch)
        hint = "; stage the package that provides it, or name its file: --with PATH"
        for package, why in resolved.impossible:
            cases.append(Case(name=f"install {package.name}", outcome="failed", reason=why + hint))
        for package, why in resolved.excluded:
            cases.append(Case(name=f"install {package.name}", outcome="skipped", code="conflicts", reason=why))
        tested = tuple(package for package in self.tested if package in resolved.packages)
        needed = tuple(package for package in resolved.packages if package not in tested)
        for package in needed:
            click.echo(f"with {package.nevra}")
        names = {package.path: package.name for package in tested}
        entries = {path: entries for path, entries in self.entries.items() if path in names}
        plan = lifecycle.Plan(
            tested=tested,
            needed=needed,
            own=lifecycle.Tests("package", request.tests),
            programs=loadable_files(request.target, entries),
            kept=self._kept(entries),
        )
        if install_only:
            return cases, replace(plan, own=lifecycle.Tests("package", {}))
        if plan.kept:
            why = f"the guest needs {plan.kept} to run"
            cases += [
                Case(name=name, outcome="skipped", code="base-system", reason=why) for name in ("uninstall", "upgrade")
            ]
        elif tested:
            plan = self._with_upgrade(plan, cases)
        if request.dependents and tested:
            plan = self._with_dependents(plan, cases)
        return cases, plan

    def _kept(self, entries: Mapping[Path, Sequence[Entry]]) -> str:
        """A path of the tested packages that the guest needs to run; empty if they contain none."""
        parts = guest_parts(self.request.target)
        guest = {f"/usr/bin/{path.name}" for path in parts.programs} | {
            f"/usr/lib64/{path.name}" for path in parts.libraries
        }
        ours = {lifecycle.real_path(entry.path) for payload in entries.values() for entry in payload}
        return min(guest & ours, default="")

    def _with_upgrade(self, plan: lifecycle.Plan, cases: list[Case]) -> lifecycle.Plan:
        def skipped(code: str, reason: str) -> lifecycle.Plan:
            cases.append(Case(name="upgrade", outcome="skipped", code=code, reason=reason))
            return plan

        available = _published(self.request)
        users = tuple(package for package in available if package.source in self.sources)
        if not users:
            return skipped("no-published-version", f"no version of {', '.join(sorted(self.sources))} is published")
        versions = {package.name: _version(package) for package in users}
        pairs = [(_version(package), versions[package.name]) for package in plan.tested if package.name in versions]
        if pairs and all(ours == theirs for ours, theirs in pairs):
            return skipped("same-version-published", f"version {users[0].evr} is already published")
        if any(ours < theirs for ours, theirs in pairs):
            return skipped("newer-version-published", f"the published version {users[0].evr} is newer")
        others = tuple(package for package in available if package not in users)
        before = dependencies.resolve(users, others, [self.base], self.arch)
        if before.impossible or before.excluded:
            why = (*before.impossible, *before.excluded)[0][1]
            return skipped("published-not-installable", f"the published version cannot be installed: {why}")
        wanted = (*plan.tested, *(package for package in plan.needed if package in self.extra))
        after = dependencies.resolve(wanted, self.staged, [self.base, *before.packages], self.arch)
        if problems := (*after.impossible, *after.excluded):
            cases.append(Case(name="upgrade", outcome="failed", reason=f"from {users[0].evr}: {problems[0][1]}"))
            return plan
        click.echo(f"upgrade from {users[0].evr}")
        return replace(plan, published=before.packages, upgrade=after.packages)

    def _with_dependents(self, plan: lifecycle.Plan, cases: list[Case]) -> lifecycle.Plan:
        from workers.lab.builds import builds_of, carried_tests

        request = self.request
        direct = dependencies.dependents(plan.tested, self.staged, self.arch)
        by_source: dict[str, list[Solvable]] = {}
        for package in direct:
            by_source.setdefault(package.source, []).append(package)
        if not by_source:
            cases.append(
                Case(name="dependents", outcome="skipped", code="no-dependents", reason="no staged package needs it")
            )
        builds = builds_of(request.site, request.state, request.target) if by_source else {}
        installed = [self.base, *plan.tested, *plan.needed]
        planned = []
        for source in sorted(by_source):
            name = f"dependent {source}"
            build = next((build for package in by_source[source] if (build := builds.get(package.sha256))), None)
            tests = tests_folder(carried_tests(build, request.scratch / f"dependent-{source}")) if build else {}
            if not script_names(tests):
                code, why = (
                    ("no-tests", "its build contains no tests") if build else ("no-build", "its build no longer exists")
                )
                cases.append(Case(name=name, outcome="skipped", code=code, reason=why))
                continue
            whole = [package for package in self.staged if package.source == source and package not in plan.needed]
            result = dependencies.resolve(whole, self.staged, installed, self.arch)
            for package, why in result.impossible:
                cases.append(Case(name=f"{name}: install {package.name}", outcome="failed", reason=why))
            planned.append(lifecycle.Dependent(lifecycle.Tests(source, tests), result.packages))
        return replace(plan, dependents=tuple(planned))


def _staged(request: Request) -> tuple[Solvable, ...]:
    from workers.repository.buildroot import staged_folder

    packages = read_repository(staged_folder(request.site, request.state, request.target))
    return tuple(package for package in packages if not is_debug(package.name) and package.arch != "src")


def _published(request: Request) -> tuple[Solvable, ...]:
    """The packages that users of the target have. Empty if the site has no signed stage on this host."""
    from workers.repository.placement import published_repositories
    from workers.repository.state import snapshots_of

    site, target = request.site, request.target
    stage = site.stage_for("users") if site.signed_stages else None
    current = snapshots_of(site, request.state, stage).current() if stage and "://" not in stage.url else None
    if current is None:
        return ()
    layout = site.repositories.layout.packages
    folders = [
        current.tree / layout.format(repository=repository.name, arch=target.rpm_arch)
        for repository in published_repositories(site, target)
    ]
    return tuple(package for folder in folders for package in read_repository(folder))


def _version(package: Solvable) -> tuple[object, ...]:
    return tuple(Nevra.parse(f"{package.name}-{package.evr}.{package.arch}").evr_key)


def room_of(plan: lifecycle.Plan) -> int:
    """Bytes that the installed packages need. During an upgrade the old and the new ones are both on the disk."""
    dependents = max((sum(package.installed_bytes for package in d.packages) for d in plan.dependents), default=0)
    fresh = sum(package.installed_bytes for package in (*plan.tested, *plan.needed)) + dependents
    both = sum(package.installed_bytes for package in (*plan.published, *plan.upgrade))
    return max(fresh, both)
