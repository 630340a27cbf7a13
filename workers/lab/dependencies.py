"""Which packages go into a guest together, resolved with libsolv as dnf resolves them. Pure: package headers in, packages out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.repository.buildroot import Solvable, add, dep
from workers.repository.protocols import Pool


@dataclass(frozen=True)
class Installation:
    """What comes of asking for packages."""

    packages: tuple[Solvable, ...]
    """What is to be installed: the wanted packages, but for those below, and all they need; sorted by name."""
    impossible: tuple[tuple[Solvable, str], ...] = ()
    """Wanted packages that cannot be installed, not even by themselves, and why."""
    excluded: tuple[tuple[Solvable, str], ...] = ()
    """Wanted packages that could be installed, but not beside the others, and why."""


def resolve(
    wanted: Sequence[Solvable], available: Sequence[Solvable], installed: Sequence[Solvable], arch: str
) -> Installation:
    """Find what has to be installed so that all wanted packages are, or as many of them as go together.

    :param available: what else may be taken.
    :param installed: what is there; wanted packages may replace it.
    :param arch: RPM architecture of the target.
    """
    everything = [*wanted, *available]
    words, packages = _solve(everything, wanted, installed, arch)
    if not words:
        return Installation(packages)
    alone = [(package, _solve(everything, [package], installed, arch)[0]) for package in wanted]
    _, packages = _solve(everything, [package for package, problem in alone if not problem], installed, arch, weak=True)
    return Installation(
        packages,
        tuple((package, problem) for package, problem in alone if problem),
        tuple((package, words) for package, problem in alone if not problem and package not in packages),
    )


def dependents(tested: Sequence[Solvable], available: Sequence[Solvable], arch: str) -> tuple[Solvable, ...]:
    """The packages that require something, by name, library or file, that a tested package provides."""
    pool = _pool(arch)
    ours = {add(pool, pool.add_repo("tested"), package) for package in tested}
    others = pool.add_repo("available")
    for package in available:
        add(pool, others, package)
    pool.createwhatprovides()
    return tuple(
        package
        for package in available
        if any(ours & {solvable.id for solvable in pool.whatprovides(dep(pool, need))} for need in package.requires)
    )


def _solve(
    everything: Sequence[Solvable],
    wanted: Sequence[Solvable],
    installed: Sequence[Solvable],
    arch: str,
    *,
    weak: bool = False,
) -> tuple[str, tuple[Solvable, ...]]:
    """Why it cannot be, or nothing; and what is to be installed."""
    import solv

    pool = _pool(arch)
    there, available = pool.add_repo("installed"), pool.add_repo("available")
    pool.installed = there
    for package in installed:
        add(pool, there, package)
    numbers = {id(package): add(pool, available, package) for package in everything if package.arch in (arch, "noarch")}
    by_number = {numbers[id(package)]: package for package in everything if id(package) in numbers}
    pool.createwhatprovides()
    how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE | (solv.Job.SOLVER_WEAK if weak else 0)
    solver = pool.Solver()
    problems = solver.solve([pool.Job(how, numbers[id(package)]) for package in wanted])
    if problems:
        return "; ".join(dict.fromkeys(str(problem) for problem in problems)), ()
    found = [by_number[solvable.id] for solvable in solver.transaction().newsolvables()]
    return "", tuple(sorted(found, key=lambda package: package.nevra))


def _pool(arch: str) -> Pool:
    import solv

    pool: Pool = solv.Pool()
    pool.setarch(arch)
    return pool
