"""What could be installed before and cannot be after: found by libsolv, which dnf uses too, and told in words.

What lacks a need, and what falls with it, is told from the needs alone (``needs``). One solve asks for all the others at
once, weakly: whatever it brings together is installable, and of a sound distribution that is everything. What it leaves
out is asked for by itself, and what falls with that is not asked for again. Broken packages are looked at once more in
the state before, so that only what a publication breaks counts against it; a package that comes with it and cannot be
installed is always new breakage. Weak dependencies (Recommends, Supplements) break nothing; conflicts between files are
not seen.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from workers.promotion.gate.breakage import breakages, strange
from workers.promotion.gate.broken import Breakage, Broken, State
from workers.promotion.gate.explain import explain
from workers.promotion.gate.needs import Cause, Needs, is_rich
from workers.repository import primary
from workers.repository.primary import Repositories
from workers.repository.protocols import Pool, PoolDependency, PoolRepository, PoolSolvable, PoolSolver

_PATH = re.compile(r"(?:^|(?<=[ (]))/[^ ()]+")
"""A file that is needed, alone or in a rich dependency."""

_ROUNDS = 8
"""Solves for all that is left, before each is asked for alone: packages that exclude each other need a second round."""

_SPREAD = 200
"""Packages that the first of these solves asks for."""

_SAMPLES = 4
"""Packages asked for alone between two such solves: what they break by often breaks the others too."""

_LOOKED_AT = 16
"""Packages that lack something of which it is asked what else is wrong with them."""


@dataclass(frozen=True)
class Closure:
    """The answer."""

    broken: tuple[Broken, ...]
    """By what comes and goes."""
    breakages: tuple[Breakage, ...]
    """The same by cause: each of them is in at least one."""
    broken_before: tuple[Broken, ...]
    """Already, and still."""
    mended: tuple[str, ...]
    """NEVRAs that could not be installed before, of those that stay, and can be now."""
    checked: int
    """Packages there are after."""


def closure(before: Repositories, after: Repositories, arch: str, *, mended: bool = False) -> Closure:
    """Find what a publication makes uninstallable.

    :param arch: RPM architecture of the target, ``x86_64_v2`` among them; packages of others but ``noarch`` never count.
    :param mended: tell too what it mends, at the cost of a look at everything before.
    :raises CannotRun: when metadata cannot be read.
    """
    import solv

    count, later = Counter(before.packages), Counter(after.packages)
    common, gone, fresh = count & later, count - later, later - count
    pool: Pool = solv.Pool()
    pool.setarch(arch)
    staying = primary.load(pool, "staying", common.elements())
    leaving = primary.load(pool, "leaving", gone.elements())
    coming = primary.load(pool, "coming", fresh.elements())
    requires, dependencies = requirements(pool)
    if _lacks_files(pool, dependencies):
        primary.add_filelists(staying, before.filelists)
        primary.add_filelists(leaving, before.filelists)
        primary.add_filelists(coming, after.filelists)
        pool.addfileprovides()
    promised = _promise(pool)  # before anything is disabled: libsolv's map of that does not grow with its pool
    state = State(pool, frozenset(s.id for s in coming.solvables), tuple(leaving.solvables), arch)
    foreign = [s for s in pool.solvables if s.arch not in (arch, "noarch")]
    look = _Look(pool, requires, dependencies)

    def ours(repository: PoolRepository) -> list[PoolSolvable]:
        return [s for s in repository.solvables if s.arch in (arch, "noarch")]

    now = [*ours(staying), *ours(coming)]
    _enable(pool, [*leaving.solvables, *foreign, promised])
    found = look.uninstallable(now, now)
    if any(reason.lacking for reason in found.reasons.values()):
        look.promise(found, promised)
        _enable(pool, [*leaving.solvables, *foreign])
        look.besides(found, promised)
    # In the state before: what is broken there as well, and who had what nobody has any more.
    _enable(pool, [*coming.solvables, *foreign, promised])
    was = [*ours(staying), *ours(leaving)]
    asked = ours(staying) if mended else [s for s in ours(staying) if s.id in found.reasons]
    already = {s.id for s in asked} & (look.uninstallable(asked, was).reasons.keys() if asked else set())
    return _told(state, found, now, already, [s for s in foreign if s.id in state.fresh])


def _told(
    state: State, found: Needs, now: Sequence[PoolSolvable], already: Collection[int], strangers: Sequence[PoolSolvable]
) -> Closure:
    told = {s.id: explain(state, s, found.causes(s.id)) for s in now if s.id in found.reasons}
    news = {number: broken for number, broken in told.items() if number not in already}
    foreign = strange(state, strangers)
    return Closure(
        broken=tuple(sorted([*(b for each in foreign for b in each.broken), *news.values()], key=_by_name)),
        breakages=(*breakages(state, found, news), *foreign),
        broken_before=tuple(sorted((b for number, b in told.items() if number in already), key=_by_name)),
        mended=tuple(sorted(str(state.pool.id2solvable(n)) for n in already if n not in told)),
        checked=len(now) + len(strangers),
    )


def _by_name(broken: Broken) -> str:
    return broken.package


def _enable(pool: Pool, without: Iterable[PoolSolvable]) -> None:
    """Make a pool's packages those of one moment; who has the files that some need is known already."""
    pool.set_disabled_list([s.id for s in without])
    pool.createwhatprovides()


def requirements(pool: Pool) -> tuple[dict[int, tuple[int, ...]], dict[int, PoolDependency]]:
    """Number of each solvable → its dependencies, those of scriptlets too; and number of a dependency → itself."""
    import solv

    dependencies: dict[int, PoolDependency] = {}
    requires: dict[int, tuple[int, ...]] = {}
    for solvable in pool.solvables:
        listed = {d.id: d for d in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES, 0)}
        listed.pop(
            solv.SOLVABLE_PREREQMARKER, None
        )  # it stands between those of the package and those of its scriptlets
        dependencies |= listed
        requires[solvable.id] = tuple(listed)
    return requires, dependencies


def _promise(pool: Pool) -> PoolSolvable:
    """A solvable that is to stand for what is missing; it provides nothing yet."""
    promised = pool.add_repo("promised").add_solvable()
    promised.name, promised.evr, promised.arch = "promised", "0-0", "noarch"
    return promised


def _lacks_files(pool: Pool, dependencies: Mapping[int, PoolDependency]) -> bool:
    """Whether a package needs a file that primary.xml does not name: primary.xml names those of /etc and */bin only."""
    pool.addfileprovides()
    pool.createwhatprovides()
    wanted = {path for d in dependencies.values() for path in _PATH.findall(str(d))}
    return any(not pool.whatprovides(pool.Dep(path)) for path in wanted)


class _Look:
    """A look for what cannot be installed, in the state that is enabled in a pool."""

    def __init__(
        self, pool: Pool, requires: Mapping[int, tuple[int, ...]], dependencies: Mapping[int, PoolDependency]
    ) -> None:
        self._pool, self._requires, self._dependencies = pool, requires, dependencies

    def uninstallable(self, asked: Iterable[PoolSolvable], enabled: Iterable[PoolSolvable]) -> Needs:
        """Those of the solvables that cannot be installed, with reasons; of others that some need, perhaps as well."""
        import solv

        needs = Needs(self._pool, {s.id: self._requires[s.id] for s in enabled}, self._dependencies)
        how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE | solv.Job.SOLVER_WEAK
        left = {s.id for s in asked} - needs.reasons.keys()
        for turn in range(_ROUNDS):
            if not left:
                break
            # What breaks thousands is found among a few first: what a joint solve cannot bring costs it much.
            those = sorted(left)[:: 1 if turn else len(left) // _SPREAD + 1]
            solver = _solver(self._pool)
            solver.solve([self._pool.Job(how, number) for number in those])
            brought = {s.id for s in solver.transaction().newsolvables()} & left
            left -= brought
            few = _SAMPLES if brought or not turn else len(left)
            left -= self._alone(needs, left.intersection(those), few)
            left -= needs.reasons.keys()
        self._alone(needs, left, len(left))
        return needs

    def promise(self, found: Needs, promised: PoolSolvable) -> None:
        """Let one solvable provide all that is missing."""
        for need in {need for reason in found.reasons.values() for need in reason.lacking}:
            if not self._is_rich(need):
                promised.add_provides(self._dependencies[need])

    def besides(self, found: Needs, promised: PoolSolvable) -> None:
        """Look for what else is wrong with some packages that lack something, with that promised.

        A rule that speaks of what promises it is no rule of the repositories.
        """
        lacking = {number: reason.lacking for number, reason in found.reasons.items() if reason.lacking}
        alone = (n for n, needs in lacking.items() if not found.lost(n) and not any(map(self._is_rich, needs)))
        for number in itertools.islice(alone, _LOOKED_AT):
            core = causes_of(self._pool, number) or ()
            told = {s.id for cause in core for s in cause.solvables}
            if core and promised.id not in told:
                found.besides(number, core)

    def _is_rich(self, need: int) -> bool:
        return is_rich(self._dependencies[need])

    def _alone(self, needs: Needs, numbers: Iterable[int], most: int) -> set[int]:
        """Ask for packages by themselves; those that can be installed. The others are in ``needs`` then, with reasons."""
        sound = set()
        for number in needs.order(numbers):
            if number in needs.reasons:
                continue
            if not most:
                break
            most -= 1
            if (core := causes_of(self._pool, number)) is None:
                sound.add(number)
            else:
                needs.exclude(number, core)
        return sound


def _solver(pool: Pool) -> PoolSolver:
    import solv

    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
    return solver


def causes_of(pool: Pool, number: int) -> tuple[Cause, ...] | None:
    """The rules that make a package uninstallable, in the state that is enabled; None if it is not."""
    import solv

    solver = _solver(pool)
    problems = solver.solve([pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE, number)])
    if not problems:
        return None
    infos = (info for problem in problems for rule in problem.findallproblemrules() for info in rule.allinfos())
    return tuple(
        Cause(
            info.type,
            info.solvable,
            info.othersolvable,
            info.dep,
            tuple(s.id for s in pool.whatprovides(info.dep)) if info.dep is not None else (),
        )
        for info in infos
        if info.solvable is not None  # the rule that something was asked for is about no package
    )
