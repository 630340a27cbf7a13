"""Packages that need each other are promoted as one set: which packages join, and why.

A set begins with the packages that the user names. If it makes a package uninstallable, a build that waits in the
previous stage joins: one that provides what is missing, or a new build of the broken package. This goes on until
nothing breaks or no further build helps. A build that joined and did not help in the end stays out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from workers.promotion.gate.closure import Closure, closure
from workers.repository import primary
from workers.repository.primary import Repositories
from workers.repository.protocols import Pool, PoolDependency


@dataclass(frozen=True)
class Waiting:
    """A source package that waits in the previous stage, as it is on one target."""

    package: str
    nevr: str
    elements: tuple[bytes, ...]
    """``<package>`` elements of its binary packages."""


@dataclass(frozen=True)
class Joined:
    """A package that joined the set, and why."""

    package: str
    why: str


@dataclass(frozen=True)
class PackageSet:
    """The packages that are promoted together on a target."""

    packages: tuple[str, ...]
    joined: tuple[Joined, ...]
    closure: Closure
    """Of the whole set; no waiting build repairs what it still breaks."""


def extend(asked: Sequence[str], waiting: Mapping[str, Waiting], before: Repositories, arch: str) -> PackageSet:
    """The smallest set found that has the named packages and breaks nothing, by adding builds that help.

    :param asked: the named source packages; those that do not wait on this target change nothing here.
    :param waiting: source package → what waits of it on this target.
    :param before: what users of the target have at the stage.
    """
    chosen = [name for name in asked if name in waiting]
    first = found = _closure(chosen, waiting, before, arch)
    joined: list[Joined] = []
    while found.broken:
        helping = _helping(found, [w for name, w in waiting.items() if name not in chosen], arch)
        if not helping:
            break
        joined += helping
        chosen += [each.package for each in helping]
        found = _closure(chosen, waiting, before, arch)
    if len(found.broken) >= len(first.broken) and joined:
        return PackageSet(tuple(n for n in asked if n in waiting), (), first)
    joined, found = _without_idle(
        asked, joined, found, lambda names: _closure([n for n in names if n in waiting], waiting, before, arch)
    )
    together = (*(n for n in asked if n in waiting), *(each.package for each in joined))
    return PackageSet(tuple(together), tuple(joined), found)


def _closure(names: Iterable[str], waiting: Mapping[str, Waiting], before: Repositories, arch: str) -> Closure:
    after = primary.replace_packages(before, {name: waiting[name].elements for name in names})
    return closure(before, after, arch)


def _helping(closure: Closure, candidates: Sequence[Waiting], arch: str) -> list[Joined]:
    """The candidates that may repair what is broken, each once, with the first reason."""
    # A binary package is made by one source package.
    makes = {binary: waiting for waiting in candidates for binary in primary.names(waiting.elements)}
    has = _providers({need for each in closure.broken for need in each.needs}, candidates, arch)
    cause = {broken.package: each.words for each in reversed(closure.breakages) for broken in each.broken}
    found: dict[str, Joined] = {}
    for each in closure.broken:
        reasons = [(w, f"it has {need}, which {each.package} needs") for need in each.needs for w in has[need]]
        if not reasons and (rebuilt := makes.get(each.name)) is not None:
            reasons = [(rebuilt, f"it replaces {each.package}, which breaks ({cause[each.package]})")]
        if not reasons:
            involved = ((makes[name], name) for name in each.involved if name in makes)
            reasons = [
                (w, f"it replaces {name}, which breaks {each.package} ({cause[each.package]})") for w, name in involved
            ]
        for waiting, why in reasons:
            found.setdefault(waiting.package, Joined(waiting.package, f"{waiting.nevr} joins: {why}"))
    return list(found.values())


def _providers(needs: Iterable[str], candidates: Sequence[Waiting], arch: str) -> dict[str, list[Waiting]]:
    """Dependency → the candidates that provide it, as libsolv reads versions, rich dependencies and files."""
    import solv

    pool: Pool = solv.Pool()
    pool.setarch(arch)
    owner: dict[int, Waiting] = {}
    for waiting in candidates:
        repository = primary.load(pool, waiting.package, waiting.elements)
        owner |= {solvable.id: waiting for solvable in repository.solvables}
    ids: dict[str, PoolDependency] = {need: dependency(pool, need) for need in needs}
    asking = pool.add_repo("needs").add_solvable()
    asking.name, asking.evr, asking.arch = "needs", "0-0", "noarch"
    for known in ids.values():  # libsolv looks through file lists only for paths that some package requires
        asking.add_requires(known)
    pool.addfileprovides()
    pool.createwhatprovides()
    return {
        need: list({owner[s.id].package: owner[s.id] for s in pool.whatprovides(known)}.values())
        for need, known in ids.items()
    }


def dependency(pool: Pool, text: str) -> PoolDependency:
    """The dependency of a pool for what libsolv prints: ``name``, ``name >= evr`` or ``(a or b)``."""
    import solv

    if text.startswith("("):
        return pool.parserpmrichdep(text)
    name, _, rest = text.partition(" ")
    sign, _, evr = rest.partition(" ")
    signs = {"<": solv.REL_LT, "=": solv.REL_EQ, ">": solv.REL_GT}
    known = pool.Dep(name)
    return known.Rel(sum(signs[letter] for letter in sign), pool.Dep(evr)) if evr else known


def _without_idle(
    asked: Sequence[str], joined: list[Joined], found: Closure, judge: Callable[[Sequence[str]], Closure]
) -> tuple[list[Joined], Closure]:
    """Leave out the packages that the set does not need; the last one that joined is tried first."""
    for each in reversed(joined.copy()):
        fewer = [other for other in joined if other is not each]
        without = judge([*asked, *(other.package for other in fewer)])
        if len(without.broken) <= len(found.broken):
            joined, found = fewer, without
    return joined, found
