"""Who of those that pass together is to blame: the others are not to wait for them."""

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
    """The builds that a cause is to be laid to.

    Those that take away what is missing, or bring one of what excludes each other; else those that bring what breaks; else
    all that take part. What only depends on a broken package is not to blame: without the culprit it may pass.

    :param changed: for each build, names of the binary packages that it brings or takes away.
    """
    itself = {broken.name for broken in breakage.broken[: breakage.itself]}
    involved = {name for broken in breakage.broken for name in (*broken.involved, broken.name)}
    for names in (set(breakage.roots), itself, involved):
        found = tuple(each for each, mine in zip(passing, changed, strict=True) if mine & names)
        if found:
            return found
    return tuple(passing)


def hint(culprit: Passing, breakage: Breakage) -> str:
    """What to do about a cause."""
    name = culprit.package.name
    sources = sorted({b.source for b in breakage.broken[: breakage.itself] or breakage.broken} - {name})
    if not sources:
        return f"mend {name}, or let what it needs go with it: kitten gate {name} …"
    together = "both" if len(sources) == 1 else "all"
    more = " …" if len(sources) > 4 else ""
    command = " ".join(["kitten gate", name, *sources[: 3 if more else 4]])
    return f"rebuild {few(sources)} and let {together} go together: {command}{more}"


def units(situation: Situation, passing: Sequence[Passing], before: Repositories, arch: str) -> tuple[Unit, ...]:
    """Builds of one target, those together of which one needs what only the other brings."""
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
    """For each need of a package that only what comes provides: who brings it."""
    import solv

    for marker in (-1, 1):
        for need in pool.id2solvable(number).lookup_deparray(solv.SOLVABLE_REQUIRES, marker):
            providers = [s.id for s in pool.whatprovides(need)]
            if providers and all(provider in owner for provider in providers):
                yield {owner[provider] for provider in providers}


def guilty(every: Sequence[Unit], words: str, refused: Callable[[Unit], str]) -> list[tuple[Passing, str]]:
    """Find those of many by which a dear question to all of them fails: at least one unit, with what was said of it.

    The first ones hold up to some unit, and fail with it: that unit is to blame, alone or together with one before it. It
    is found by log2(n) questions; one more asks whether the others hold without it. After 4·log2(n) questions no further
    one is looked for.

    :param words: what was said against all of them.
    :param refused: what is said against some; nothing if they hold.
    """
    rest, said, asked = list(every), words, 0
    found: list[tuple[Passing, str]] = []
    while rest and said:
        holds, fails = 0, len(rest)
        while fails - holds > 1:
            middle = (holds + fails) // 2
            asked += 1
            if answer := refused(_builds(rest[:middle])):
                fails, said = middle, answer
            else:
                holds = middle
        found += [(each, said) for each in rest.pop(fails - 1)]
        if not rest or asked >= 4 * len(every).bit_length():
            break
        asked += 1
        said = refused(_builds(rest))
    return found


def _builds(some: Iterable[Unit]) -> Unit:
    return tuple(each for unit in some for each in unit)
