"""libsolv's rules that cannot hold together → one sentence a packager can act on.

The sentence follows the needs from the package that was asked for to the cause, and where something was there before it
says who had it and what took its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from config.nevra import Nevra
from workers.repo.gate.closure import Broken, Cause, State, _source


def named(solvable: Any) -> str:
    """``name version-release``, the epoch only where it has one."""
    return f"{solvable.name} {solvable.evr}"


def foreign_words(solvable: Any, arch: str) -> str:
    """Of a package that no system of the target takes."""
    return f"{named(solvable)} is of architecture {solvable.arch}, and systems of {arch} take {arch} and noarch"


def explain(state: State, solvable: Any, causes: Sequence[Cause]) -> Broken:
    """Say why a package cannot be installed, with the state before enabled in the pool."""
    import solv

    kinds = solv.Solver
    final: Mapping[int, Callable[[State, Cause], str]] = {
        kinds.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP: _nothing,
        kinds.SOLVER_RULE_PKG_CONFLICTS: _conflict,
        kinds.SOLVER_RULE_PKG_SELF_CONFLICT: _conflict,
        kinds.SOLVER_RULE_PKG_OBSOLETES: _obsoletes,
        kinds.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES: _obsoletes,
        kinds.SOLVER_RULE_PKG_SAME_NAME: _same_name,
        kinds.SOLVER_RULE_PKG_NOT_INSTALLABLE: _not_installable,
    }
    needs = [cause for cause in causes if cause.kind == kinds.SOLVER_RULE_PKG_REQUIRES]
    ends = [cause for cause in causes if cause.kind in final]
    steps: list[str] = []
    for end in ends:
        for goal in filter(None, (end.solvable, end.other)):
            steps += _way(solvable, goal, needs)
    steps += [final[end.kind](state, end) for end in ends]
    if not ends:  # no package lacks anything, yet a condition holds that nothing meets: a rich dependency
        for need in sorted(needs, key=lambda need: str(need.dependency).startswith("(")):
            unmet = ", which cannot be met" if str(need.dependency).startswith("(") else ""
            steps.append(f"{named(need.solvable)} needs {need.dependency}{unmet}")
    lacking = {str(end.dependency) for end in ends if end.kind == kinds.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP}
    seen = (cause.solvable for cause in causes if cause.solvable is not None)
    return Broken(
        package=str(solvable),
        name=str(solvable.name),
        source=_source(solvable),
        words="; ".join(dict.fromkeys(steps)) or f"{named(solvable)} cannot be installed",
        needs=tuple(sorted(lacking)),
        involved=tuple(
            sorted({str(s.name) for s in seen} | {str(c.other.name) for c in causes if c.other is not None})
        ),
    )


def _way(start: Any, goal: Any, needs: Iterable[Cause]) -> list[str]:
    """The needs that lead from one package to another, the shortest way."""
    edges: dict[int, list[tuple[int, str]]] = {}
    for need in needs:
        words = f"{named(need.solvable)} needs {need.dependency}"
        edges.setdefault(need.solvable.id, []).extend((number, words) for number in need.providers)
    ways: dict[int, list[str]] = {start.id: []}
    queue = deque([start.id])
    while queue:
        here = queue.popleft()
        if here == goal.id:
            return ways[here]
        for there, words in edges.get(here, ()):
            if there not in ways:
                ways[there] = [*ways[here], words]
                queue.append(there)
    return []


def _nothing(state: State, cause: Cause) -> str:
    words = f"{named(cause.solvable)} needs {cause.dependency}, which "
    had = [s for s in state.pool.whatprovides(cause.dependency) if s.id not in state.fresh]
    if not had:
        return f"{words}nothing has"
    who = _listed(named(s) for s in had)
    return f"{words}only {who} {'has' if len(had) == 1 else 'have'}; {_fate(state, had)}"


def _fate(state: State, gone: Sequence[Any]) -> str:
    """What became of packages that were there."""
    fresh = [state.pool.id2solvable(number) for number in sorted(state.fresh)]
    fates = []
    for old in sorted(gone, key=str):
        taking = [s for s in fresh if s.name == old.name] or [s for s in fresh if _takes_over(s, old)]
        what = named(old) if len(gone) > 1 else "it"
        if taking:
            fates.append(f"{_listed(map(named, taking))} {'replaces' if len(taking) == 1 else 'replace'} {what}")
        else:
            fates.append(f"nothing replaces {what}")
    return "; ".join(dict.fromkeys(fates))


def _takes_over(fresh: Any, old: Any) -> bool:
    import solv

    obsoleted = fresh.lookup_deparray(solv.SOLVABLE_OBSOLETES)
    return any(str(dependency).split(" ")[0] == old.name for dependency in obsoleted)


def _conflict(state: State, cause: Cause) -> str:  # noqa: ARG001 - a rule's signature
    words = f"{named(cause.solvable)} conflicts with {cause.dependency}"
    other = cause.other
    return words if other is None or other.name == str(cause.dependency) else f"{words}, which is {named(other)}"


def _obsoletes(state: State, cause: Cause) -> str:  # noqa: ARG001 - a rule's signature
    words = f"{named(cause.solvable)} obsoletes {cause.dependency}"
    return words if cause.other is None else f"{words}, which is {named(cause.other)}"


def _same_name(state: State, cause: Cause) -> str:  # noqa: ARG001 - a rule's signature
    pair = sorted((cause.solvable, cause.other), key=lambda s: Nevra.parse(str(s)).evr_key)
    return f"{named(pair[0])} and {named(pair[1])} cannot be installed together"


def _not_installable(state: State, cause: Cause) -> str:
    return foreign_words(cause.solvable, state.arch)


def _listed(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    every = sorted(dict.fromkeys(words))
    return " and ".join(filter(None, (", ".join(every[:-1]), every[-1])))
