"""What could be installed before and cannot be after: found by libsolv, which dnf uses too, and told in words.

One solve asks for everything at once, weakly: whatever it brings together is installable, and of a sound distribution
that is nearly everything. What it leaves out is asked for by itself. A broken package is looked at once more in the state
before, so that only what a publication breaks counts against it; a package that comes with it and cannot be installed
is always new breakage. Weak dependencies (Recommends, Supplements) break nothing; conflicts between files are not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workers.repo.gate import metadata
from workers.repo.gate.metadata import Repositories

_ROUNDS = 8
"""Solves for all that is left, before each is asked for alone: packages that exclude each other need a second round."""


@dataclass(frozen=True)
class Broken:
    """A package that cannot be installed."""

    package: str
    """NEVRA."""
    name: str
    source: str
    """Name of its source package."""
    words: str
    """Why, with the chain that leads there."""
    needs: tuple[str, ...] = ()
    """Dependencies that nothing provides."""
    involved: tuple[str, ...] = ()
    """Names of the binary packages that take part in it."""


@dataclass(frozen=True)
class Closure:
    """The answer."""

    broken: tuple[Broken, ...]
    """By what comes and goes."""
    broken_before: tuple[Broken, ...]
    """Already, and still."""
    mended: tuple[str, ...]
    """NEVRAs that could not be installed before, of those that stay, and can be now."""
    checked: int
    """Packages there are after."""


@dataclass(frozen=True)
class State:
    """The pool with the packages of one moment enabled."""

    pool: Any
    fresh: frozenset[int]
    """Numbers of the solvables that come."""
    gone: Sequence[Any]
    """Solvables that go."""
    arch: str


def closure(before: Repositories, after: Repositories, arch: str, *, mended: bool = False) -> Closure:
    """Find what a publication makes uninstallable.

    :param arch: RPM architecture of the target, ``x86_64_v2`` among them; packages of others but ``noarch`` never count.
    :param mended: tell too what it mends, at the cost of a look at everything before.
    :raises CannotRun: when metadata cannot be read.
    """
    import solv

    count, later = Counter(before.packages), Counter(after.packages)
    common, gone, fresh = count & later, count - later, later - count
    pool = solv.Pool()
    pool.setarch(arch)
    staying = metadata.load(pool, "staying", common.elements())
    leaving = metadata.load(pool, "leaving", gone.elements())
    coming = metadata.load(pool, "coming", fresh.elements())
    if _lacks_files(pool):
        metadata.add_filelists(staying, before.filelists)
        metadata.add_filelists(leaving, before.filelists)
        metadata.add_filelists(coming, after.filelists)
    state = State(pool, frozenset(s.id for s in coming.solvables), tuple(leaving.solvables), arch)
    foreign = [s for s in pool.solvables if s.arch not in (arch, "noarch")]
    now = [s for s in (*staying.solvables, *coming.solvables) if s.arch in (arch, "noarch")]
    return _compare(state, staying, leaving, coming, foreign, now, mended=mended)


def _compare(
    state: State,
    staying: Any,
    leaving: Any,
    coming: Any,
    foreign: Sequence[Any],
    now: Sequence[Any],
    *,
    mended: bool,
) -> Closure:
    from workers.repo.gate.explain import explain, foreign_words

    pool = state.pool
    _enable(pool, [*leaving.solvables, *foreign])
    broken = uninstallable(pool, now)
    causes = {s.id: causes_of(pool, s) for s in broken}
    # In the state before: what is broken there as well, and who had what nobody has any more.
    _enable(pool, [*coming.solvables, *foreign])
    staying_broken = [s for s in broken if s.id not in state.fresh]
    already = {s.id for s in uninstallable(pool, staying_broken)}
    told = {s.id: explain(state, s, causes[s.id]) for s in broken}
    was = uninstallable(pool, [s for s in staying.solvables if s.arch in (state.arch, "noarch")]) if mended else []
    now_broken = {s.id for s in broken}
    strangers = [
        Broken(str(s), s.name, _source(s), foreign_words(s, state.arch)) for s in foreign if s.id in state.fresh
    ]
    return Closure(
        broken=tuple(sorted([*strangers, *(told[s.id] for s in broken if s.id not in already)], key=_by_name)),
        broken_before=tuple(sorted((told[s.id] for s in broken if s.id in already), key=_by_name)),
        mended=tuple(sorted(str(s) for s in was if s.id not in now_broken)),
        checked=len(now) + len(strangers),
    )


def _by_name(broken: Broken) -> str:
    return broken.package


def _source(solvable: Any) -> str:
    import solv

    return str(solvable.lookup_str(solv.SOLVABLE_SOURCENAME) or solvable.name)


def _enable(pool: Any, without: Iterable[Any]) -> None:
    """Make a pool's packages those of one moment."""
    pool.set_disabled_list([s.id for s in without])
    pool.addfileprovides()
    pool.createwhatprovides()


def _lacks_files(pool: Any) -> bool:
    """Whether a package needs a file that primary.xml does not name: primary.xml names those of /etc and */bin only."""
    import solv

    pool.addfileprovides()
    pool.createwhatprovides()
    wanted = {d for s in pool.solvables for d in s.lookup_deparray(solv.SOLVABLE_REQUIRES) if str(d).startswith("/")}
    return any(not pool.whatprovides(d) for d in wanted)


def uninstallable(pool: Any, solvables: Collection[Any]) -> list[Any]:
    """Those of the solvables that cannot be installed, in the order given."""
    import solv

    left = {s.id: s for s in solvables}
    how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE | solv.Job.SOLVER_WEAK
    for _ in range(_ROUNDS):
        if not left:
            break
        solver = _solver(pool)
        solver.solve([pool.Job(how, number) for number in left])
        brought = {s.id for s in solver.transaction().newsolvables()} & left.keys()
        if not brought:
            break
        for number in brought:
            del left[number]
    return [s for s in left.values() if _solve(pool, s)]


def _solver(pool: Any) -> Any:
    import solv

    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
    return solver


def _solve(pool: Any, solvable: Any) -> list[Any]:
    import solv

    job = pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE, solvable.id)
    problems: list[Any] = _solver(pool).solve([job])
    return problems


@dataclass(frozen=True, eq=False)
class Cause:
    """One of libsolv's rules that together cannot be met. Its solvables end a process that compares them with None."""

    kind: int
    solvable: Any
    other: Any
    dependency: Any
    providers: tuple[int, ...] = ()
    """Numbers of the solvables that provide the dependency at that moment."""


def causes_of(pool: Any, solvable: Any) -> tuple[Cause, ...]:
    """The rules that make a package uninstallable, in the state that is enabled."""
    import solv

    solver = _solver(pool)
    problems = solver.solve([pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE, solvable.id)])
    infos = (info for problem in problems[:1] for rule in problem.findallproblemrules() for info in rule.allinfos())
    return tuple(
        Cause(
            info.type,
            info.solvable,
            info.othersolvable,
            info.dep,
            tuple(s.id for s in pool.whatprovides(info.dep)) if info.dep is not None else (),
        )
        for info in infos
    )
