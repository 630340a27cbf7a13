"""Broken packages by what breaks them: one sentence for each cause, however many packages fall with it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.promotion.gate.broken import Breakage, Broken, State, source_of
from workers.promotion.gate.explain import ends_of, explain, few, foreign_words, holders, lack, named
from workers.promotion.gate.needs import Cause, Needs
from workers.repository.protocols import PoolDependency, PoolSolvable

CAUSES = 8
"""Causes that one package is told under, of those that break others; those that break it itself are all told."""


@dataclass
class _Group:
    """What one cause breaks, as it is found."""

    needs: dict[int, PoolDependency] = field(default_factory=dict)
    """Number of a dependency → itself, of those that nothing provides."""
    roots: set[str] = field(default_factory=set)
    itself: dict[int, Sequence[Cause]] = field(default_factory=dict)
    """What it breaks by itself, each with the chain that leads to the cause."""
    depending: set[int] = field(default_factory=set)
    """What it breaks, directly or not."""


def breakages(state: State, found: Needs, news: Mapping[int, Broken]) -> tuple[Breakage, ...]:
    """What is newly broken, by cause, what breaks most first; with the state before enabled in the pool.

    :param news: number of a solvable → what is told of it alone.
    """
    groups = _groups(state, found)
    told: list[Breakage] = []
    for group in groups.values():
        itself = sorted(group.itself.keys() & news.keys(), key=lambda n: news[n].package)
        depending = sorted((group.depending & news.keys()) - group.itself.keys(), key=lambda n: news[n].package)
        if itself or depending:
            told.append(_breakage(state, group, itself, depending, news))
    # Several causes are told in the same words where only what was broken before stands between, and where packages differ
    # in their architecture alone.
    merged: dict[str, Breakage] = {}
    for each in told:
        merged[each.words] = _together(merged[each.words], each) if each.words in merged else each
    return tuple(sorted(merged.values(), key=lambda b: (-len(b.broken), b.words)))


def strange(state: State, solvables: Iterable[PoolSolvable]) -> tuple[Breakage, ...]:
    """Packages that come and are of architectures that no system of the target takes."""
    by_arch: dict[str, list[PoolSolvable]] = {}
    for solvable in sorted(solvables, key=str):
        by_arch.setdefault(solvable.arch, []).append(solvable)
    found = []
    for listed in by_arch.values():
        broken = tuple(Broken(str(s), s.name, source_of(s), foreign_words([s], state.arch)) for s in listed)
        roots = tuple(sorted({each.name for each in broken}))
        found.append(Breakage(foreign_words(listed, state.arch), broken, len(broken), roots))
    return tuple(found)


def _together(one: Breakage, other: Breakage) -> Breakage:
    """Two causes told in the same words, as one."""
    itself = {*one.broken[: one.itself], *other.broken[: other.itself]}
    depending = {*one.broken, *other.broken} - itself
    broken = (*sorted(itself, key=lambda b: b.package), *sorted(depending, key=lambda b: b.package))
    return Breakage(one.words, broken, len(itself), tuple(sorted({*one.roots, *other.roots})))


def _breakage(
    state: State, group: _Group, itself: Sequence[int], depending: Sequence[int], news: Mapping[int, Broken]
) -> Breakage:
    first = (itself or depending)[0]
    if group.needs and itself:
        subjects = [state.pool.id2solvable(number) for number in itself]
        words = lack(state, subjects, group.needs.values())
    else:
        words = [_alone(state, first, group).words if itself else news[first].words]
        if others := _named(state, (*itself, *(() if itself else depending))[1:]):
            words.append(f"so it is with {few(others)}")
    if itself and depending:
        who = _named(state, depending)
        what = state.pool.id2solvable(first).name if len(itself) == 1 else "these packages"
        words.append(f"{few(who)} {'depends' if len(who) == 1 else 'depend'} on {what}")
    broken = tuple(news[number] for number in (*itself, *depending))
    return Breakage("; ".join(words), broken, len(itself), tuple(sorted(group.roots)))


def _alone(state: State, number: int, group: _Group) -> Broken:
    """A package, as if this were the only cause."""
    return explain(state, state.pool.id2solvable(number), group.itself[number])


def _named(state: State, numbers: Iterable[int]) -> list[str]:
    return [named(state.pool.id2solvable(number)) for number in numbers]


def _groups(state: State, found: Needs) -> Mapping[Hashable, _Group]:
    groups: dict[Hashable, _Group] = {}
    under: dict[int, tuple[Hashable, ...]] = {}
    for number, reason in found.reasons.items():
        own = () if reason.lost else found.own(number) or ((),)
        mine = dict.fromkeys(key for causes in own for key in _of_itself(state, number, causes, groups))
        # What fell before is known; of circles, what falls later tells of the same cause.
        for need in found.lost(number):
            for provider in found.providers[need]:
                for key in under.get(provider, ()):
                    if len(mine) < CAUSES:
                        mine.setdefault(key)
        for key in mine:
            groups[key].depending.add(number)
        under[number] = tuple(mine)
    return groups


def _of_itself(
    state: State, number: int, causes: Sequence[Cause], groups: dict[Hashable, _Group]
) -> Iterable[Hashable]:
    """What breaks a package not because another one is broken: needs that the same packages had are one cause."""
    import solv

    ends = ends_of(causes)
    if ends and all(end.kind == solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP for end in ends):
        for end in ends:
            had = holders(state, end.need)
            key: Hashable = ("had", *had) if had else ("never", end.need.id)
            group = groups.setdefault(key, _Group())
            if end.solvable.id == number:
                group.itself[number] = causes
                group.needs.setdefault(end.need.id, end.need)
            group.roots |= _names(state, had or (end.solvable.id,))
            yield key
        return
    key = ("rules", frozenset(map(_parts, ends or causes))) if causes else ("unknown", number)
    group = groups.setdefault(key, _Group())
    group.itself[number] = causes
    for cause in ends or causes:
        group.roots |= {str(s.name) for s in cause.solvables}
        if not ends and cause.dependency is not None:
            group.roots |= _names(state, (*cause.providers, *holders(state, cause.dependency)))
    yield key


def _parts(cause: Cause) -> Hashable:
    """The same for the rule and its mirror image: of two packages that exclude each other there is one for each."""
    import solv

    pair = frozenset(s.id for s in cause.solvables)
    excludes = cause.other is not None or cause.kind == solv.Solver.SOLVER_RULE_PKG_SELF_CONFLICT
    return pair, 0 if excludes or cause.dependency is None else cause.dependency.id


def _names(state: State, numbers: Iterable[int]) -> set[str]:
    return {str(state.pool.id2solvable(number).name) for number in numbers if number > 1}
