"""Broken packages grouped by cause: one sentence for each cause, however many packages it breaks."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.promotion.gate.broken import Breakage, Broken, State, broken_of
from workers.promotion.gate.explain import ends_of, exclusion, few, holders, missing, named, wrong_architecture
from workers.promotion.gate.needs import Cause, Needs
from workers.repository.protocols import PoolDependency, PoolSolvable

CAUSES = 8
"""Causes under which a package is listed, of those that break other packages; all that break it directly are listed."""


@dataclass
class _Group:
    """One cause, and the numbers of the solvables that it breaks."""

    causes: Sequence[Cause]
    """The rules, as the first package showed them."""
    needs: dict[int, PoolDependency] = field(default_factory=dict)
    """Number of a dependency that nothing provides → itself."""
    lacking: set[int] = field(default_factory=set)
    """Solvables with such a dependency."""
    roots: set[str] = field(default_factory=set)
    itself: set[int] = field(default_factory=set)
    """What it breaks directly."""
    depending: set[int] = field(default_factory=set)
    """What it breaks, directly or not."""


def breakages(state: State, found: Needs, news: Mapping[int, Broken]) -> tuple[Breakage, ...]:
    """What is newly broken, by cause, the largest number of packages first; with the state before enabled in the pool.

    :param news: number of a solvable that was not broken before → its record.
    """
    merged: dict[str, Breakage] = {}
    for group in _groups(state, found):
        itself = sorted(group.itself & news.keys(), key=lambda n: news[n].package)
        depending = sorted((group.depending & news.keys()) - group.itself, key=lambda n: news[n].package)
        if itself or depending:
            broken = tuple(news[number] for number in (*itself, *depending))
            words = _sentence(state, group, itself, depending)
            each = Breakage(words, broken, len(itself), tuple(sorted(group.roots)))
            # Causes have the same sentence if their packages differ only in architecture.
            merged[words] = _union(merged[words], each) if words in merged else each
    return tuple(sorted(merged.values(), key=lambda b: (-len(b.broken), b.words)))


def wrong_architectures(state: State, solvables: Iterable[PoolSolvable]) -> tuple[Breakage, ...]:
    """Packages that come and that no system of the target accepts, by architecture."""
    by_arch: dict[str, list[PoolSolvable]] = {}
    for solvable in sorted(solvables, key=str):
        by_arch.setdefault(solvable.arch, []).append(solvable)
    found = []
    for listed in by_arch.values():
        broken = tuple(map(broken_of, listed))
        roots = tuple(sorted({each.name for each in broken}))
        found.append(Breakage(wrong_architecture(listed, state.arch), broken, len(broken), roots))
    return tuple(found)


def _sentence(state: State, group: _Group, itself: Sequence[int], depending: Sequence[int]) -> str:
    """The cause, then the packages that it breaks."""
    if group.needs:
        subjects = [state.pool.id2solvable(number) for number in itself or sorted(group.lacking)]
        words, others = missing(state, subjects, list(group.needs.values())), depending
    else:
        words, others = exclusion(state, group.causes), [*itself, *depending]
    if not others:
        return words
    return f"{words}; this breaks {few(named(state.pool.id2solvable(number)) for number in others)}"


def _union(one: Breakage, other: Breakage) -> Breakage:
    itself = {*one.broken[: one.direct], *other.broken[: other.direct]}
    depending = {*one.broken, *other.broken} - itself
    broken = (*sorted(itself, key=lambda b: b.package), *sorted(depending, key=lambda b: b.package))
    return Breakage(one.words, broken, len(itself), tuple(sorted({*one.roots, *other.roots})))


def _groups(state: State, found: Needs) -> Iterable[_Group]:
    groups: dict[Hashable, _Group] = {}
    under: dict[int, tuple[Hashable, ...]] = {}
    for number, reason in found.reasons.items():
        own = () if reason.lost else found.own(number) or ((),)
        mine = dict.fromkeys(key for causes in own for key in _direct(state, number, causes, groups))
        # What broke before is known; in a circle of needs, what breaks later has the same cause.
        for need in found.lost(number):
            for provider in found.providers[need]:
                for key in under.get(provider, ()):
                    if len(mine) < CAUSES:
                        mine.setdefault(key)
        for key in mine:
            groups[key].depending.add(number)
        under[number] = tuple(mine)
    return groups.values()


def _direct(state: State, number: int, causes: Sequence[Cause], groups: dict[Hashable, _Group]) -> Iterable[Hashable]:
    """Keys of the causes that break a package directly; needs that the same packages had are one cause."""
    import solv

    ends = ends_of(causes)
    if ends and all(end.kind == solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP for end in ends):
        for end in ends:
            had = holders(state, end.need)
            key: Hashable = ("had", *had) if had else ("never", end.need.id)
            group = groups.setdefault(key, _Group(causes))
            group.needs.setdefault(end.need.id, end.need)
            group.lacking.add(end.solvable.id)
            if end.solvable.id == number:
                group.itself.add(number)
            group.roots |= _names(state, had or (end.solvable.id,))
            yield key
        return
    key = ("rules", frozenset(map(_parts, ends or causes))) if causes else ("unknown", number)
    group = groups.setdefault(key, _Group(causes))
    group.itself.add(number)
    for cause in ends or causes:
        group.roots |= {str(s.name) for s in cause.solvables}
        if not ends and cause.dependency is not None:
            group.roots |= _names(state, (*cause.providers, *holders(state, cause.dependency)))
    yield key


def _parts(cause: Cause) -> Hashable:
    """What a rule and its mirror image share: if two packages exclude each other, each of them has a rule."""
    import solv

    pair = frozenset(s.id for s in cause.solvables)
    excludes = cause.other is not None or cause.kind == solv.Solver.SOLVER_RULE_PKG_SELF_CONFLICT
    return pair, 0 if excludes or cause.dependency is None else cause.dependency.id


def _names(state: State, numbers: Iterable[int]) -> set[str]:
    return {str(state.pool.id2solvable(number).name) for number in numbers if number > 1}
