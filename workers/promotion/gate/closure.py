"""Find the packages that could be installed before a publication and cannot be installed after it.

libsolv, dnf's solver, decides. Packages with a need that nothing provides, and the packages that break with them,
follow from the needs alone (``needs``). One solve asks for all the others at once, weakly: everything that it installs
together is sound, and in a sound distribution that is everything. Each package that it leaves out gets a solve alone,
and the packages that break with it get none. A second look at the broken packages, in the state before, shows which
were broken already: only new breakage counts against a publication. A package that comes with it and cannot be
installed is always new breakage. Weak dependencies (Recommends, Supplements) break nothing. Conflicts between files are
not visible here.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workers.promotion.gate.breakage import breakages, wrong_architectures
from workers.promotion.gate.broken import Breakage, Broken, State, broken_of
from workers.promotion.gate.needs import Cause, Needs, is_rich
from workers.repository import primary
from workers.repository.primary import Repositories
from workers.repository.protocols import Pool, PoolDependency, PoolRepository, PoolSolvable, PoolSolver

_PATH = re.compile(r"(?:^|(?<=[ (]))/[^ ()]+")
"""A file that is needed, alone or in a rich dependency."""

_ROUNDS = 8
"""Most joint solves, before each package that is left gets its own; packages that exclude each other need two."""

_SPREAD = 200
"""Packages in the first joint solve."""

_SAMPLES = 4
"""Packages with a solve of their own between two joint solves: what breaks them often breaks the others too."""

_SECOND_LOOKS = 16
"""Packages with a missing need for which a further solve looks for other causes."""


@dataclass(frozen=True)
class Closure:
    """The answer."""

    broken: tuple[Broken, ...]
    """The packages that this publication breaks."""
    breakages: tuple[Breakage, ...]
    """The same packages by cause; each is in at least one."""
    broken_before: tuple[str, ...]
    """NEVRAs that were broken before, and still are."""
    checked: int
    """Number of packages after the publication."""


def closure(before: Repositories, after: Repositories, arch: str) -> Closure:
    """Find what a publication makes uninstallable.

    :param arch: RPM architecture of the target, for example ``x86_64_v2``; only its packages and ``noarch`` count.
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
    promised = _promise(pool)  # before anything is disabled: libsolv's map of disabled solvables does not grow
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
        look.add_second_causes(found, promised)
    # The state before shows what was broken already, and which packages had what is missing now.
    _enable(pool, [*coming.solvables, *foreign, promised])
    was = [*ours(staying), *ours(leaving)]
    asked = [s for s in ours(staying) if s.id in found.reasons]
    already = {s.id for s in asked} & (look.uninstallable(asked, was).reasons.keys() if asked else set())
    broken = [s for s in now if s.id in found.reasons]
    news = {s.id: broken_of(s, found.causes(s.id)) for s in broken if s.id not in already}
    strangers = [s for s in foreign if s.id in state.fresh]
    wrong = wrong_architectures(state, strangers)
    return Closure(
        broken=tuple(sorted([*(b for each in wrong for b in each.broken), *news.values()], key=lambda b: b.package)),
        breakages=(*breakages(state, found, news), *wrong),
        broken_before=tuple(sorted(str(s) for s in broken if s.id in already)),
        checked=len(now) + len(strangers),
    )


def _enable(pool: Pool, without: Iterable[PoolSolvable]) -> None:
    """Enable the packages of one moment in a pool; the providers of needed files are known already."""
    pool.set_disabled_list([s.id for s in without])
    pool.createwhatprovides()


def requirements(pool: Pool) -> tuple[dict[int, tuple[int, ...]], dict[int, PoolDependency]]:
    """Number of each solvable → its dependencies, with those of scriptlets; and number of a dependency → itself."""
    import solv

    dependencies: dict[int, PoolDependency] = {}
    requires: dict[int, tuple[int, ...]] = {}
    for solvable in pool.solvables:
        listed = {d.id: d for d in solvable.lookup_deparray(solv.SOLVABLE_REQUIRES, 0)}
        # This marker separates the dependencies of the package from those of its scriptlets.
        listed.pop(solv.SOLVABLE_PREREQMARKER, None)
        dependencies |= listed
        requires[solvable.id] = tuple(listed)
    return requires, dependencies


def _promise(pool: Pool) -> PoolSolvable:
    """Add a solvable that will provide what is missing; it provides nothing yet."""
    promised = pool.add_repo("promised").add_solvable()
    promised.name, promised.evr, promised.arch = "promised", "0-0", "noarch"
    return promised


def _lacks_files(pool: Pool, dependencies: Mapping[int, PoolDependency]) -> bool:
    """Return whether a package needs a file that primary.xml does not name; it names only files of /etc and */bin."""
    pool.addfileprovides()
    pool.createwhatprovides()
    wanted = {path for d in dependencies.values() for path in _PATH.findall(str(d))}
    return any(not pool.whatprovides(pool.Dep(path)) for path in wanted)


class _Look:
    """A search for packages that cannot be installed, in the state that is enabled in a pool."""

    def __init__(
        self, pool: Pool, requires: Mapping[int, tuple[int, ...]], dependencies: Mapping[int, PoolDependency]
    ) -> None:
        self._pool, self._requires, self._dependencies = pool, requires, dependencies

    def uninstallable(self, asked: Iterable[PoolSolvable], enabled: Iterable[PoolSolvable]) -> Needs:
        """The solvables that cannot be installed, with reasons.

        The answer may also have broken packages that nobody asked about, if others need them.
        """
        import solv

        needs = Needs(self._pool, {s.id: self._requires[s.id] for s in enabled}, self._dependencies)
        how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE | solv.Job.SOLVER_WEAK
        left = {s.id for s in asked} - needs.reasons.keys()
        for turn in range(_ROUNDS):
            if not left:
                break
            # First a few of them: packages that a joint solve cannot install are expensive, and often have one cause.
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
        """Let one solvable provide everything that is missing."""
        for need in {need for reason in found.reasons.values() for need in reason.lacking}:
            if not self._is_rich(need):
                promised.add_provides(self._dependencies[need])

    def add_second_causes(self, found: Needs, promised: PoolSolvable) -> None:
        """Look for further causes that break packages with a missing need, while ``promised`` provides the need.

        A rule about ``promised`` is no rule of the repositories, and is left out.
        """
        lacking = {number: reason.lacking for number, reason in found.reasons.items() if reason.lacking}
        alone = (n for n, needs in lacking.items() if not found.lost(n) and not any(map(self._is_rich, needs)))
        for number in itertools.islice(alone, _SECOND_LOOKS):
            core = causes_of(self._pool, number) or ()
            if core and promised.id not in {s.id for cause in core for s in cause.solvables}:
                found.add_rules(number, core)

    def _is_rich(self, need: int) -> bool:
        return is_rich(self._dependencies[need])

    def _alone(self, needs: Needs, numbers: Iterable[int], most: int) -> set[int]:
        """Solve for each package alone. Return those that can be installed; add the others to ``needs``, with reasons.

        :param most: number of solves.
        """
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
    """The rules that make a package uninstallable in the enabled state; None if it can be installed."""
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
        if info.solvable is not None  # the rule for the job itself is about no package
    )
