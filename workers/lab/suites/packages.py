"""The ``packages`` suite: a package's life in a root guest, as users' systems see it, and its own tests.

rpm installs it from files with all it needs from ``staged``; what is installed is held against what is listed; its tests
run; it is removed, and nothing of it is left; the published version is upgraded to it, and its tests run again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from config.models import Site, Target
from config.nevra import Nevra, is_debug
from workers.base.errors import CannotRun, MalformedError
from workers.formats.elf import MAGIC, Elf
from workers.formats.rpm_header import RpmHeader
from workers.formats.rpm_payload import Entry
from workers.lab import dependencies, lifecycle, rpms
from workers.lab.guest import file_system, rpmtools, saved
from workers.lab.guest.kernel import guest_parts
from workers.lab.judge import by_test, judge
from workers.lab.machine import console
from workers.lab.machine.launch import Talk
from workers.lab.suites import Report, Request
from workers.lab.testfiles import tests_folder
from workers.repository.buildroot import Solvable, read_repository, read_solvable, solvable_of, staged_folder
from workers.results import Case


def scripts(tests: Mapping[str, bytes]) -> tuple[str, ...]:
    """The test scripts among the files, in the order in which they run."""
    return tuple(name for name, _ in lifecycle.scripts_of(tests))


def run(request: Request) -> Report:
    """Lead the packages through their life in a guest.

    :raises CannotRun: no package, another target's package, a damaged one, no QEMU, no guest kernel, no rpm.
    """
    target = request.target
    if not request.packages:
        raise CannotRun("suite packages has no package", "give PATHs, or --build URL")
    headers = _headers(target, request.packages)
    asked = _Asked(request, headers)
    cases, plan = asked.plan()
    cases += _rpaths(request.site, asked.entries, headers)
    if not scripts(request.tests):
        why = "it has no tests/*.sh: its programs were not run. Add tests/smoke.sh to its dist-git repository"
        cases.append(Case(name="tests", outcome="failed", reason=why))
    if not plan.tested:
        return Report.without_guest(*cases)
    base = rpmtools.root_base(request.site, target)
    limit = request.suite.timeout_seconds * saved.time_factor(base)
    life = lifecycle.life(plan, rpmtools.loader(base.parts), limit / 2)
    payload = file_system.payload_archive(tests=life.scripts(), files=life.files)
    with saved.ready(base, payload, request.logs, room=_room(plan)) as running:
        talk = running.finish(limit)
    cases = [*judged(life, talk, limit), *cases]
    click.echo("; ".join(f"{name} {seconds:.1f} s" for name, seconds in timings(life, talk).items()))
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
    cases, plan = _Asked(request, _headers(request.target, request.packages)).plan(install_only=True)
    life = lifecycle.life(plan, loader, limit=0)
    first = replace(life, steps=life.steps[:1])
    return Installation(tuple(cases), first.scripts(), first.files, _room(plan))


class _Asked:
    """The packages of a request, and what is to be done with them."""

    def __init__(self, request: Request, headers: Mapping[Path, RpmHeader]) -> None:
        self.request = request
        self.arch = request.target.rpm_arch
        self.headers = headers
        self.tested = _solvables(headers)
        self.base = read_solvable(rpmtools.stand_in_package(request.site, request.target))
        self.sources = {header.source for header in headers.values()}
        self.entries = {
            path: rpms.unpacked(path, header, request.scratch / "payloads" / str(number))
            for number, (path, header) in enumerate(headers.items())
        }
        names = {package.name for package in self.tested}
        extra = _solvables(_headers(request.target, request.extra))
        self.extra = tuple(package for package in extra if package.name not in names)
        names |= {package.name for package in extra}
        self.staged = tuple(package for package in _staged(request) if package.name not in names)

    def plan(self, *, install_only: bool = False) -> tuple[list[Case], lifecycle.Plan]:
        """What the guest is to do; and what is known without one."""
        cases: list[Case] = []
        request = self.request
        wanted = (*self.tested, *self.extra)
        found = dependencies.resolve(wanted, self.staged, [self.base], self.arch)
        hint = "; stage the package that provides it, or name its file: --with PATH"
        for package, why in found.impossible:
            cases.append(Case(name=f"install {package.name}", outcome="failed", reason=why + hint))
        for package, why in found.excluded:
            cases.append(Case(name=f"install {package.name}", outcome="skipped", code="conflicts", reason=why))
        tested = tuple(package for package in self.tested if package in found.packages)
        needed = tuple(package for package in found.packages if package not in tested)
        for package in needed:
            click.echo(f"with {package.nevra}")
        names = {package.path: package.name for package in tested}
        entries = {path: entries for path, entries in self.entries.items() if path in names}
        plan = lifecycle.Plan(
            tested=tested,
            needed=needed,
            own=lifecycle.Tests("package", request.tests),
            programs=_programs(request.target, entries),
            kept=self._kept(entries),
        )
        if install_only:
            return cases, replace(plan, own=lifecycle.Tests("package", {}))
        if plan.kept:
            why = f"{plan.kept} is what the guest itself runs with"
            cases += [
                Case(name=name, outcome="skipped", code="base-system", reason=why) for name in ("uninstall", "upgrade")
            ]
        elif tested:
            plan = self._with_upgrade(plan, cases)
        if request.dependents and tested:
            plan = self._with_dependents(plan, cases)
        return cases, plan

    def _kept(self, entries: Mapping[Path, Sequence[Entry]]) -> str:
        """A file of the tested packages that the guest needs to go on."""
        parts = guest_parts(self.request.target)
        there = {f"/usr/bin/{path.name}" for path in parts.programs} | {
            f"/usr/lib64/{path.name}" for path in parts.libraries
        }
        ours = {lifecycle.real_path(entry.path) for of in entries.values() for entry in of}
        return min(there & ours, default="")

    def _with_upgrade(self, plan: lifecycle.Plan, cases: list[Case]) -> lifecycle.Plan:
        def skipped(code: str, reason: str) -> lifecycle.Plan:
            cases.append(Case(name="upgrade", outcome="skipped", code=code, reason=reason))
            return plan

        available = _published(self.request)
        users = tuple(package for package in available if package.source in self.sources)
        if not users:
            return skipped("no-published-version", f"nothing of {', '.join(sorted(self.sources))} is published")
        ages = {package.name: _age(package) for package in users}
        pairs = [(_age(package), ages[package.name]) for package in plan.tested if package.name in ages]
        if pairs and all(ours == theirs for ours, theirs in pairs):
            return skipped("same-version-published", f"{users[0].evr} is what is published")
        if any(ours < theirs for ours, theirs in pairs):
            return skipped("newer-version-published", f"{users[0].evr}, which is published, is newer")
        others = tuple(package for package in available if package not in users)
        before = dependencies.resolve(users, others, [self.base], self.arch)
        if before.impossible or before.excluded:
            why = (*before.impossible, *before.excluded)[0][1]
            return skipped("published-not-installable", f"what is published cannot be installed: {why}")
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
                Case(name="dependents", outcome="skipped", code="no-dependents", reason="nothing staged needs it")
            )
        builds = builds_of(request.site, request.state, request.target) if by_source else {}
        there = [self.base, *plan.tested, *plan.needed]
        found = []
        for source in sorted(by_source):
            name = f"dependent {source}"
            build = next((build for package in by_source[source] if (build := builds.get(package.sha256))), None)
            tests = tests_folder(carried_tests(build, request.scratch / f"dependent-{source}")) if build else {}
            if not scripts(tests):
                code, why = ("no-tests", "its build carries no tests") if build else ("no-build", "its build is gone")
                cases.append(Case(name=name, outcome="skipped", code=code, reason=why))
                continue
            whole = [package for package in self.staged if package.source == source and package not in plan.needed]
            result = dependencies.resolve(whole, self.staged, there, self.arch)
            for package, why in result.impossible:
                cases.append(Case(name=f"{name}: install {package.name}", outcome="failed", reason=why))
            found.append(lifecycle.Dependent(lifecycle.Tests(source, tests), result.packages))
        return replace(plan, dependents=tuple(found))


# --------------------------------------------------------------------------------------------------- packages from where


def _solvables(headers: Mapping[Path, RpmHeader]) -> tuple[Solvable, ...]:
    return tuple(solvable_of(path.absolute(), header) for path, header in headers.items())


def _staged(request: Request) -> tuple[Solvable, ...]:
    found = read_repository(staged_folder(request.site, request.state, request.target))
    return tuple(package for package in found if not is_debug(package.name) and package.arch != "src")


def _published(request: Request) -> tuple[Solvable, ...]:
    """What users of the target have; nothing if it is on another host, or the site signs nothing."""
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


def _age(package: Solvable) -> tuple[object, ...]:
    return tuple(Nevra.parse(f"{package.name}-{package.evr}.{package.arch}").evr_key)


def _room(plan: lifecycle.Plan) -> int:
    """Bytes that the packages take when they are installed, the published and the new ones beside each other for a moment."""
    more = max((sum(package.installed_bytes for package in d.packages) for d in plan.dependents), default=0)
    fresh = sum(package.installed_bytes for package in (*plan.tested, *plan.needed)) + more
    both = sum(package.installed_bytes for package in (*plan.published, *plan.upgrade))
    return max(fresh, both)


# ------------------------------------------------------------------------------------------------------ what is in them


def _programs(target: Target, entries: Mapping[Path, Sequence[Entry]]) -> tuple[str, ...]:
    """Paths of the files that the target's loader loads: its programs and libraries that name libraries."""
    found = []
    for entry, elf in _elf_files(entries):
        linked = elf.type in ("ET_EXEC", "ET_DYN") and elf.machine == target.elf_machine and elf.bits == 64
        if linked and elf.dynamic and not entry.path.startswith("/usr/lib/debug/"):
            found.append(entry.path)
    return tuple(found)


def _elf_files(entries: Mapping[Path, Sequence[Entry]]) -> Iterable[tuple[Entry, Elf]]:
    for of in entries.values():
        for entry in of:
            if entry.kind != "file" or entry.content is None:
                continue
            with entry.content.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    continue
            try:
                yield entry, Elf(entry.content.read_bytes())
            except MalformedError:
                continue  # the proof names it


def _rpaths(site: Site, entries: Mapping[Path, Sequence[Entry]], headers: Mapping[Path, RpmHeader]) -> list[Case]:
    """One case: no program looks for its libraries where it should not. What is right, and what is exempt, is what the proof says."""
    from datetime import UTC, datetime

    from config.exemptions import Exemptions
    from workers.formats import rpath
    from workers.formats.traits import read_traits

    sources = {header.source for header in headers.values()}
    entered = [package for package in site.packages if package.name in sources]
    exemptions = [exemption for package in entered for exemption in package.exemptions]
    excused = Exemptions(", ".join(sources), exemptions, datetime.now(UTC).date())
    files = frozenset(path for header in headers.values() for path in header.files)
    wrong = [
        f"{entry.path}: {folder or '(empty)'}: {why}"
        for entry, elf in _elf_files(entries)
        for folder in read_traits(elf, ()).rpath
        if (why := rpath.why_not(folder, str(entry.path), files)) and not excused.cover("rpath", str(entry.path))
    ]
    return [
        Case(
            name="rpath",
            outcome="failed" if wrong else "passed",
            reason=wrong[0] if wrong else "",
            detail="\n".join(wrong),
        )
    ]


# --------------------------------------------------------------------------------------------------------- what came of it


def judged(life: lifecycle.Life, talk: Talk, limit: float) -> list[Case]:
    """The cases of a life, under the steps' names; and one for each thing on the console that a test said it provokes."""
    said = talk.console.decode(errors="replace")
    excused, cases = _expected(life, said)
    return [*(_told(life, case) for case in judge(talk, limit, excused)), *cases]


def _told(life: lifecycle.Life, case: Case) -> Case:
    changes = {"name": life.label(case.name)}
    if case.outcome == "skipped":
        reason, code = lifecycle.coded(case.reason)
        changes |= {"reason": reason, "code": code or case.code}
    elif found := re.search(r"^it did not end within \d+ s$", case.detail, re.MULTILINE):
        changes["reason"] = found.group()
    elif case.outcome == "failed" and case.reason.startswith("exit status") and life.label(case.name) in _STEPS:
        lines = case.detail.splitlines()
        changes["reason"] = lines[0] if lines else case.reason
    return case.model_copy(update=changes)


_STEPS = (
    "install",
    "verify",
    "files",
    "libraries",
    "uninstall",
    "install published",
    "upgrade",
    "verify after upgrade",
)


def _expected(life: lifecycle.Life, said: str) -> tuple[frozenset[str], list[Case]]:
    """Rules that are excused, since nothing but tests that say so provoke them; and a case for each such word of a test."""
    slices = by_test(said)
    heard = {name: {hit.rule.name for hit in console.hits(slices.get(name, ""))} for name in life.names()}
    announced = {name: step.expects for name, step in zip(life.names(), life.steps, strict=True)}
    every = [hit.rule.name for hit in console.hits(said)]
    excused, cases = set(), []
    for name, step in zip(life.names(), life.steps, strict=True):
        for rule in sorted(step.expects):
            came = rule in heard[name]
            reason = "" if came else f"it says it provokes {rule}, and nothing of the kind came"
            cases.append(
                Case(name=f"{step.label}: expects {rule}", outcome="passed" if came else "failed", reason=reason)
            )
            inside = sum(
                sum(hit.rule.name == rule for hit in console.hits(slices.get(other, "")))
                for other in life.names()
                if rule in announced[other]
            )
            if came and inside == every.count(rule):
                excused.add(rule)
    return frozenset(excused), cases


def timings(life: lifecycle.Life, talk: Talk) -> dict[str, float]:
    """Step → seconds it took in the guest."""
    found: dict[str, float] = {}
    pattern = re.compile(
        r"^(?:not )?ok \d+ - (\S+)\n(?:# exit status \d+\n)?# from ([\d.]+) to ([\d.]+)$", re.MULTILINE
    )
    for name, begun, ended in pattern.findall(talk.tap.decode(errors="replace").replace("\r", "")):
        found[life.label(name)] = float(ended) - float(begun)
    return found


# --------------------------------------------------------------------------------------------------- files without an rpm


def laid_out(
    site: Site, target: Target, state: Path, packages: Sequence[Path], scratch: Path, extra: Sequence[Path] = ()
) -> tuple[tuple[Entry, ...], ...]:
    """The files of packages and of what they need of the target's staged packages, unpacked below ``scratch``.

    :raises CannotRun: another target's package, a damaged one, a library nobody brings.
    """
    wanted = _solvables(_headers(target, packages) | _headers(target, extra))
    available = [
        package for package in read_repository(staged_folder(site, state, target)) if not is_debug(package.name)
    ]
    names = {package.name for package in wanted}
    others = [package for package in available if package.name not in names]
    base = read_solvable(rpmtools.stand_in_package(site, target))
    found = dependencies.resolve(wanted, others, [base], target.rpm_arch)
    for package, why in (*found.impossible, *found.excluded):
        raise CannotRun(
            f"{package.nevra} cannot be installed for {target.name}: {why}",
            "stage the package that provides it, or name its file: --with PATH",
        )
    for package in found.packages:
        if package not in wanted:
            click.echo(f"with {package.path.name}")
    headers = _headers(target, [package.path for package in found.packages])
    return tuple(
        rpms.unpacked(path, header, scratch / "payloads" / str(number))
        for number, (path, header) in enumerate(headers.items())
    )


def _headers(target: Target, packages: Sequence[Path]) -> dict[Path, RpmHeader]:
    """The headers of the packages that go into a guest: not the debuginfo, not the source.

    :raises CannotRun: for a package of another architecture, and a damaged one.
    """
    headers = {path: rpms.header_for(target, path) for path in packages}
    return {path: header for path, header in headers.items() if header.arch != "src" and not header.is_debug}
