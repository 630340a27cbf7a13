"""The cause of a breakage as one sentence: who needs or excludes what, who had it before, and what replaced that.

libsolv's rules are the source. The state before must be enabled in the pool, so that it shows who had what is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from config.nevra import Nevra
from workers.promotion.gate.broken import State
from workers.promotion.gate.needs import Cause, is_rich
from workers.repository.protocols import PoolDependency, PoolSolvable

SHOWN = 3
"""Packages or needs that a sentence names before it counts the others."""


def few(words: Iterable[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``, ``a, b, c and 9,994 more``."""
    every = sorted(dict.fromkeys(words))
    if len(every) > SHOWN + 1:
        every = [*every[:SHOWN], f"{len(every) - SHOWN:,} more"]
    return f" {last} ".join(filter(None, (", ".join(every[:-1]), every[-1])))


def named(solvable: PoolSolvable) -> str:
    """``name version-release``, with the epoch if the package has one."""
    return f"{solvable.name} {solvable.evr}"


def wrong_architecture(solvables: Sequence[PoolSolvable], arch: str) -> str:
    """The sentence about packages of one architecture that no system of the target accepts."""
    be = "is" if len(solvables) == 1 else "are"
    accepted = f"systems of {arch} take {arch} and noarch"
    return f"{few(map(named, solvables))} {be} of architecture {solvables[0].arch}, and {accepted}"


def missing(state: State, solvables: Sequence[PoolSolvable], needs: Sequence[PoolDependency]) -> str:
    """What packages need and no package has any more.

    :param needs: what the packages need, each of them at least one; the same packages had all of it.
    """
    old = [state.pool.id2solvable(number) for number in holders(state, needs[0])]
    had = f"only {few(map(named, old))} {'has' if len(old) == 1 else 'have'}" if old else "nothing has"
    verb, last = ("needs", "and") if len(solvables) == 1 else ("need", "or")
    cause = f"{few(map(named, solvables))} {verb} {few(map(str, needs), last)}, which {had}"
    return "; ".join([cause, *_replacements(state, old)])


def _replacements(state: State, old: Sequence[PoolSolvable]) -> Iterable[str]:
    """What replaces packages, or that they are still there."""
    fresh, gone = [state.pool.id2solvable(number) for number in sorted(state.fresh)], {s.id for s in state.gone}
    for each in sorted(old, key=str)[:SHOWN]:
        what = named(each) if len(old) > 1 else "it"
        new = [s for s in fresh if s.name == each.name] or [s for s in fresh if _obsoletes_name(s, each.name)]
        if new or each.id in gone:
            yield f"{few(map(named, new)) if new else 'nothing'} {'replace' if len(new) > 1 else 'replaces'} {what}"
        else:  # it has one part of a rich dependency, and another part is missing now
            yield f"{what} is still there"


def _obsoletes_name(solvable: PoolSolvable, name: str) -> bool:
    import solv

    return any(str(each).split(" ")[0] == name for each in solvable.lookup_deparray(solv.SOLVABLE_OBSOLETES))


def holders(state: State, dependency: PoolDependency) -> tuple[int, ...]:
    """Numbers of the solvables that had what a dependency asks for, before."""
    if (known := state.holders.get(dependency.id)) is None:
        had = (s.id for s in state.pool.whatprovides(dependency))
        known = state.holders[dependency.id] = tuple(sorted(number for number in had if number not in state.fresh))
    return known


def exclusion(state: State, causes: Sequence[Cause]) -> str:
    """Rules that cannot be met together: the needs that lead to the packages that take part, and what excludes them."""
    import solv

    ends = ends_of(causes)
    needs = [cause for cause in causes if cause.kind == solv.Solver.SOLVER_RULE_PKG_REQUIRES]
    if ends:
        excluded = dict.fromkeys(solvable.id for end in ends for solvable in end.solvables)
        needs = _needs_of(needs, reversed(excluded))
    else:  # no package is missing, but the condition of a rich dependency is true, and nothing meets it
        needs.sort(key=lambda cause: is_rich(cause.need))
    unmet = "" if ends else ", which cannot be met"
    steps = [f"{named(c.solvable)} needs {c.need}{unmet if is_rich(c.need) else ''}" for c in needs]
    steps += [_end(state, end) for end in ends]
    return "; ".join(dict.fromkeys(steps)) or "libsolv gives no reason"


def _needs_of(needs: Iterable[Cause], goals: Iterable[int]) -> list[Cause]:
    """The needs that lead to some solvables, directly or through other packages; the direct ones are last."""
    by_provider: dict[int, list[Cause]] = {}
    for need in needs:
        for provider in need.providers:
            by_provider.setdefault(provider, []).append(need)
    found: list[Cause] = []
    queue = deque(goals)
    while queue:
        for need in by_provider.pop(queue.popleft(), ()):
            found.append(need)
            queue.append(need.solvable.id)
    return found[::-1]


def ends_of(causes: Iterable[Cause]) -> list[Cause]:
    """The causes at the end of a chain: what nothing provides, and what excludes what."""
    import solv

    kinds = {solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP, solv.Solver.SOLVER_RULE_PKG_NOT_INSTALLABLE}
    kinds |= {solv.Solver.SOLVER_RULE_PKG_SAME_NAME, *_verbs()}
    return [cause for cause in causes if cause.kind in kinds]


def _verbs() -> Mapping[int, str]:
    import solv

    return {
        solv.Solver.SOLVER_RULE_PKG_CONFLICTS: "conflicts with",
        solv.Solver.SOLVER_RULE_PKG_SELF_CONFLICT: "conflicts with",
        solv.Solver.SOLVER_RULE_PKG_OBSOLETES: "obsoletes",
        solv.Solver.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES: "obsoletes",
    }


def _end(state: State, cause: Cause) -> str:
    import solv

    if cause.kind == solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP:
        return missing(state, [cause.solvable], [cause.need])
    if cause.kind == solv.Solver.SOLVER_RULE_PKG_NOT_INSTALLABLE:
        return wrong_architecture([cause.solvable], state.arch)
    if cause.kind == solv.Solver.SOLVER_RULE_PKG_SAME_NAME:
        pair = sorted(cause.solvables, key=lambda s: Nevra.parse(str(s)).evr_key)
        return f"{' and '.join(map(named, pair))} cannot be installed together"
    words = f"{named(cause.solvable)} {_verbs()[cause.kind]} {cause.dependency}"
    if cause.other is None or cause.other.name == str(cause.dependency):
        return words
    return f"{words}, which is {'itself' if cause.other.id == cause.solvable.id else named(cause.other)}"
