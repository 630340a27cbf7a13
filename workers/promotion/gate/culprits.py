"""Find the builds of a set that cause a refusal, so that the others need not wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from workers.promotion.gate.broken import Breakage
from workers.promotion.gate.explain import few
from workers.promotion.gate.situation import Passing, Situation
from workers.repository import primary
from workers.repository.primary import Repositories
from workers.repository.protocols import Pool

Unit = tuple[Passing, ...]
"""Builds of one target that need each other."""


def names_by_source(packages: Iterable[bytes]) -> dict[str, set[str]]:
    """Source package → names of its binary packages."""
    found: dict[str, set[str]] = {}
    for element in packages:
        found.setdefault(primary.source_of(element), set()).update(primary.names((element,)))
    return found


def culprits(passing: Sequence[Passing], changed: Sequence[set[str]], breakage: Breakage) -> tuple[Passing, ...]:
    """The builds that are refused for a cause.

    They remove what is missing, or bring a package that excludes another one. If no build does: those that bring what
    breaks; else all that take part. A build that only depends on a broken package may pass without the culprit.

    :param changed: for each build, names of the binary packages that it brings or takes away.
    """
    itself = {broken.name for broken in breakage.broken[: breakage.direct]}
    involved = {name for broken in breakage.broken for name in (*broken.involved, broken.name)}
    for names in (set(breakage.roots), itself, involved):
        found = tuple(each for each, mine in zip(passing, changed, strict=True) if mine & names)
        if found:
            return found
    return tuple(passing)


def hint(culprit: Passing, breakage: Breakage) -> str:
    """What to do about a cause, and the command that shows more."""
    name = culprit.package.name
    sources = {b.source for b in breakage.broken[: breakage.direct] or breakage.broken} - {name}
    if not sources:
        return f"fix {name}, or publish what it needs, then: kitten gate {name}"
    return f"rebuild {few(sources)}, then: kitten gate {name}"


def units(situation: Situation, passing: Sequence[Passing], before: Repositories, arch: str) -> tuple[Unit, ...]:
    """The builds of one target in groups: two are together if one needs what only the other brings."""
    import solv

    if len(passing) < 2:
        return (tuple(passing),)
    pool: Pool = solv.Pool()
    pool.setarch(arch)
    primary.load(pool, "before", before.packages)
    owner: dict[int, int] = {}
    for position, each in enumerate(passing):
        repository = primary.load(pool, each.package.name, situation.world.elements(each))
        owner |= {solvable.id: position for solvable in repository.solvables}
    pool.addfileprovides()
    pool.createwhatprovides()
    leader = list(range(len(passing)))

    def head(position: int) -> int:
        while leader[position] != position:
            position = leader[position]
        return position

    for number, position in owner.items():
        for needed in _only_among(pool, number, owner):
            if position not in needed:
                for other in needed:
                    leader[head(other)] = head(position)
    found: dict[int, list[Passing]] = {}
    for position, each in enumerate(passing):
        found.setdefault(head(position), []).append(each)
    return tuple(map(tuple, found.values()))


def _only_among(pool: Pool, number: int, owner: Mapping[int, int]) -> Iterable[set[int]]:
    """For each need of a package that only new packages provide: positions of the builds that bring it."""
    import solv

    for marker in (-1, 1):
        for need in pool.id2solvable(number).lookup_deparray(solv.SOLVABLE_REQUIRES, marker):
            providers = [s.id for s in pool.whatprovides(need)]
            if providers and all(provider in owner for provider in providers):
                yield {owner[provider] for provider in providers}


def bisect_failing(every: Sequence[Unit], message: str, check: Callable[[Unit], str]) -> list[tuple[Passing, str]]:
    """Find units that make an expensive check of all of them fail: at least one, each build with its message.

    The check passes for the first units up to some unit, and fails with it: that unit fails, alone or together with an
    earlier one. log2(n) checks find it, and one more checks the others without it. After 4·log2(n) checks the search
    ends.

    :param message: of the check of all units.
    :param check: returns the message of a failure; "" if the check passes.
    """
    rest, checks = list(every), 0
    found: list[tuple[Passing, str]] = []
    while rest and message:
        passes, fails = 0, len(rest)
        while fails - passes > 1:
            middle = (passes + fails) // 2
            checks += 1
            if answer := check(_builds(rest[:middle])):
                fails, message = middle, answer
            else:
                passes = middle
        found += [(each, message) for each in rest.pop(fails - 1)]
        if not rest or checks >= 4 * len(every).bit_length():
            break
        checks += 1
        message = check(_builds(rest))
    return found


def _builds(some: Iterable[Unit]) -> Unit:
    return tuple(each for unit in some for each in unit)
