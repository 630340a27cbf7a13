"""Which packages a guest installs together. libsolv resolves their dependencies, as in dnf.

Pure functions: they read package headers and return packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.repository.buildroot import Solvable, add, dep
from workers.repository.protocols import Pool


@dataclass(frozen=True)
class Installation:
    """The result of a dependency resolution."""

    packages: tuple[Solvable, ...]
    """The packages to install: the wanted ones, except those below, and all they need; sorted by name."""
    impossible: tuple[tuple[Solvable, str], ...] = ()
    """Wanted packages that cannot be installed even alone, and why."""
    excluded: tuple[tuple[Solvable, str], ...] = ()
    """Wanted packages that can be installed alone, but not beside the others, and why."""


def resolve(
    wanted: Sequence[Solvable], available: Sequence[Solvable], installed: Sequence[Solvable], arch: str
) -> Installation:
    """Find the packages to install for all wanted packages, or for as many of them as go together.

    :param available: further packages that may be installed.
    :param installed: the packages that are installed already; wanted packages may replace them.
    :param arch: RPM architecture of the target.
    """
    everything = [*wanted, *available]
    conflict, packages = _solve(everything, wanted, installed, arch)
    if not conflict:
        return Installation(packages)
    alone = [(package, _solve(everything, [package], installed, arch)[0]) for package in wanted]
    _, packages = _solve(everything, [package for package, problem in alone if not problem], installed, arch, weak=True)
    return Installation(
        packages,
        tuple((package, problem) for package, problem in alone if problem),
        tuple((package, conflict) for package, problem in alone if not problem and package not in packages),
    )


def dependents(tested: Sequence[Solvable], available: Sequence[Solvable], arch: str) -> tuple[Solvable, ...]:
    """Return the available packages that require a name, library or file that a tested package provides."""
    pool = _pool(arch)
    tested_ids = {add(pool, pool.add_repo("tested"), package) for package in tested}
    others = pool.add_repo("available")
    for package in available:
        add(pool, others, package)
    pool.createwhatprovides()
    return tuple(
        package
        for package in available
        if any(
            tested_ids & {solvable.id for solvable in pool.whatprovides(dep(pool, need))} for need in package.requires
        )
    )


def _solve(
    everything: Sequence[Solvable],
    wanted: Sequence[Solvable],
    installed: Sequence[Solvable],
    arch: str,
    *,
    weak: bool = False,
) -> tuple[str, tuple[Solvable, ...]]:
    """Return the problem that prevents the installation (empty if none), and the packages to install."""
    import solv

    pool = _pool(arch)
    system, available = pool.add_repo("installed"), pool.add_repo("available")
    pool.installed = system
    for package in installed:
        add(pool, system, package)
    numbers = {id(package): add(pool, available, package) for package in everything if package.arch in (arch, "noarch")}
    by_number = {numbers[id(package)]: package for package in everything if id(package) in numbers}
    pool.createwhatprovides()
    flags = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE | (solv.Job.SOLVER_WEAK if weak else 0)
    solver = pool.Solver()
    problems = solver.solve([pool.Job(flags, numbers[id(package)]) for package in wanted])
    if problems:
        return "; ".join(dict.fromkeys(str(problem) for problem in problems)), ()
    new = [by_number[solvable.id] for solvable in solver.transaction().newsolvables()]
    return "", tuple(sorted(new, key=lambda package: package.nevra))


def _pool(arch: str) -> Pool:
    import solv

    pool: Pool = solv.Pool()
    pool.setarch(arch)
    return pool
