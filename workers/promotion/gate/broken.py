"""What a publication breaks, as the modules that find it and tell it hand it to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.repository.protocols import Pool, PoolSolvable


@dataclass(frozen=True)
class Broken:
    """A package that cannot be installed."""

    package: str
    """NEVRA."""
    name: str
    source: str
    """Name of its source package."""
    words: str
    """Why, with the chain that leads there."""
    needs: tuple[str, ...] = ()
    """Dependencies that nothing provides."""
    involved: tuple[str, ...] = ()
    """Names of the binary packages that take part in it."""


@dataclass(frozen=True)
class Breakage:
    """One cause, with all that it breaks."""

    words: str
    """What the matter is, the first packages that it breaks, and how many more."""
    broken: tuple[Broken, ...]
    """Those that it breaks itself first, then those that depend on them. One may be in several breakages."""
    itself: int
    """How many of them it breaks itself."""
    roots: tuple[str, ...]
    """Names of the binary packages at the end of the chain: who had what is missing, or who excludes whom."""


@dataclass(frozen=True)
class State:
    """The pool with the packages of one moment enabled."""

    pool: Pool
    fresh: frozenset[int]
    """Numbers of the solvables that come."""
    gone: Sequence[PoolSolvable]
    """Solvables that go."""
    arch: str
    holders: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Number of a dependency → numbers of the solvables that had it before; each is looked up once."""
    fates: dict[tuple[int, ...], str] = field(default_factory=dict)
    """Numbers of solvables that had something → what became of them, in words."""


def source_of(solvable: PoolSolvable) -> str:
    """Name of a solvable's source package."""
    import solv

    return str(solvable.lookup_str(solv.SOLVABLE_SOURCENAME) or solvable.name)
