"""libsolv's rules that cannot hold together → one sentence a packager can act on.

The sentence follows the needs from the package that was asked for to the cause, and where something was there before it
says who had it and what took its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from config.nevra import Nevra
from workers.promotion.gate.broken import Broken, State, source_of
from workers.promotion.gate.needs import Cause, is_rich
from workers.repository.protocols import PoolDependency, PoolSolvable

SHOWN = 3
"""Packages or needs that a sentence names before it counts the others."""


def named(solvable: PoolSolvable) -> str:
    """``name version-release``, the epoch only where it has one."""
    return f"{solvable.name} {solvable.evr}"


def foreign_words(solvables: Sequence[PoolSolvable], arch: str) -> str:
    """Of packages of one architecture that no system of the target takes."""
    be = "is" if len(solvables) == 1 else "are"
    takes = f"systems of {arch} take {arch} and noarch"
    return f"{few(map(named, solvables))} {be} of architecture {solvables[0].arch}, and {takes}"


def explain(state: State, solvable: PoolSolvable, causes: Sequence[Cause]) -> Broken:
    """Say why a package cannot be installed, with the state before enabled in the pool."""
    import solv

    final = _final()
    needs = [cause for cause in causes if cause.kind == solv.Solver.SOLVER_RULE_PKG_REQUIRES]
    ends = ends_of(causes)
    lacking = [end for end in ends if end.kind == solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP]
    steps: list[str] = []
    for end in ends:
        for goal in end.solvables:
            steps += _way(solvable, goal, needs)
    for number in dict.fromkeys(end.solvable.id for end in lacking):
        mine = [end.need for end in lacking if end.solvable.id == number]
        steps += lack(state, [state.pool.id2solvable(number)], mine)
    steps += [final[end.kind](state, end) for end in ends if end.kind in final]
    if not ends:  # no package lacks anything, yet a condition holds that nothing meets: a rich dependency
        for need in sorted(needs, key=lambda need: is_rich(need.need)):
            unmet = ", which cannot be met" if is_rich(need.need) else ""
            steps.append(f"{named(need.solvable)} needs {need.need}{unmet}")
    seen = [s for cause in causes for s in cause.solvables]
    return Broken(
        package=str(solvable),
        name=str(solvable.name),
        source=source_of(solvable),
        words="; ".join(dict.fromkeys(steps)) or f"{named(solvable)} cannot be installed",
        needs=tuple(sorted({str(end.need) for end in lacking})),
        involved=tuple(sorted({str(s.name) for s in seen})),
    )


def ends_of(causes: Iterable[Cause]) -> list[Cause]:
    """The causes that are at the end of a chain: what nothing has, and what excludes what."""
    import solv

    last = {solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP, *_final()}
    return [cause for cause in causes if cause.kind in last]


def _final() -> Mapping[int, Callable[[State, Cause], str]]:
    import solv

    kinds = solv.Solver
    return {
        kinds.SOLVER_RULE_PKG_CONFLICTS: _conflict,
        kinds.SOLVER_RULE_PKG_SELF_CONFLICT: _conflict,
        kinds.SOLVER_RULE_PKG_OBSOLETES: _obsoletes,
        kinds.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES: _obsoletes,
        kinds.SOLVER_RULE_PKG_SAME_NAME: _same_name,
        kinds.SOLVER_RULE_PKG_NOT_INSTALLABLE: _not_installable,
    }


def _way(start: PoolSolvable, goal: PoolSolvable, needs: Iterable[Cause]) -> list[str]:
    """The needs that lead from one package to another, the shortest way."""
    edges: dict[int, list[tuple[int, Cause]]] = {}
    for need in needs:
        edges.setdefault(need.solvable.id, []).extend((number, need) for number in need.providers)
    came: dict[int, tuple[int, Cause] | None] = {start.id: None}
    queue = deque([start.id])
    while queue and goal.id not in came:
        here = queue.popleft()
        for there, need in edges.get(here, ()):
            if there not in came:
                came[there] = here, need
                queue.append(there)
    way: list[str] = []
    step = came.get(goal.id)
    while step is not None:
        before, need = step
        way[:0] = [f"{named(need.solvable)} needs {need.need}", *(["…"] if need.leaves_out else [])]
        step = came[before]
    return way


def lack(state: State, solvables: Sequence[PoolSolvable], dependencies: Iterable[PoolDependency]) -> list[str]:
    """What packages need and nothing has, a sentence for each that had it; the dependencies are theirs together."""
    by_holder: dict[tuple[int, ...], dict[str, PoolDependency]] = {}
    for dependency in dependencies:
        by_holder.setdefault(holders(state, dependency), {})[str(dependency)] = dependency
    verb, last = ("needs", "and") if len(solvables) == 1 else ("need", "or")
    sentences = []
    for had, needs in by_holder.items():
        which = few(needs, last)
        words = f"{few(map(named, solvables))} {verb} {which}, which "
        if had:
            old = [state.pool.id2solvable(number) for number in had]
            words += f"only {few(map(named, old))} {'has' if len(old) == 1 else 'have'}; {_fate(state, old)}"
        else:
            words += "nothing has"
        sentences.append(words)
    return sentences


def holders(state: State, dependency: PoolDependency) -> tuple[int, ...]:
    """Numbers of the solvables that had what a dependency asks for, before."""
    if (known := state.holders.get(dependency.id)) is None:
        had = (s.id for s in state.pool.whatprovides(dependency))
        known = state.holders[dependency.id] = tuple(sorted(number for number in had if number not in state.fresh))
    return known


def _fate(state: State, gone: Sequence[PoolSolvable]) -> str:
    """What became of packages that were there."""
    key = tuple(s.id for s in gone)
    if key not in state.fates:
        state.fates[key] = "; ".join(dict.fromkeys(_fates(state, gone)))
    return state.fates[key]


def _fates(state: State, gone: Sequence[PoolSolvable]) -> Iterable[str]:
    fresh = [state.pool.id2solvable(number) for number in sorted(state.fresh)]
    leaving = {s.id for s in state.gone}
    shown = sorted(gone, key=str)[:SHOWN]
    for old in shown:
        what = named(old) if len(gone) > 1 else "it"
        taking = [s for s in fresh if s.name == old.name] or [s for s in fresh if _takes_over(s, old)]
        if taking:
            yield f"{few(map(named, taking))} {'replaces' if len(taking) == 1 else 'replace'} {what}"
        elif old.id in leaving:
            yield f"nothing replaces {what}"
        else:  # it is there still, and a condition of a rich dependency is no longer met
            yield f"{what} is there still"


def _takes_over(fresh: PoolSolvable, old: PoolSolvable) -> bool:
    import solv

    obsoleted = fresh.lookup_deparray(solv.SOLVABLE_OBSOLETES)
    return any(str(dependency).split(" ")[0] == old.name for dependency in obsoleted)


def _conflict(state: State, cause: Cause) -> str:  # noqa: ARG001 - a rule's signature
    words = f"{named(cause.solvable)} conflicts with {cause.dependency}"
    other = cause.other
    if other is None or other.name == str(cause.dependency):
        return words
    return f"{words}, which it is itself" if other.id == cause.solvable.id else f"{words}, which is {named(other)}"


def _obsoletes(state: State, cause: Cause) -> str:  # noqa: ARG001 - a rule's signature
    words = f"{named(cause.solvable)} obsoletes {cause.dependency}"
    return words if cause.other is None else f"{words}, which is {named(cause.other)}"


def _same_name(state: State, cause: Cause) -> str:  # noqa: ARG001 - a rule's signature
    pair = sorted(cause.solvables, key=lambda s: Nevra.parse(str(s)).evr_key)
    return f"{' and '.join(map(named, pair))} cannot be installed together"


def _not_installable(state: State, cause: Cause) -> str:
    return foreign_words([cause.solvable], state.arch)


def few(words: Iterable[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``, ``a, b, c and 9,994 more``."""
    every = sorted(dict.fromkeys(words))
    if len(every) > SHOWN + 1:
        every = [*every[:SHOWN], f"{len(every) - SHOWN:,} more"]
    return f" {last} ".join(filter(None, (", ".join(every[:-1]), every[-1])))
