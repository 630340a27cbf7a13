"""What a publication breaks: the records that the modules of the search and of the explanation share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.promotion.gate.needs import Cause
from workers.repository.protocols import Pool, PoolSolvable


@dataclass(frozen=True)
class Broken:
    """A package that cannot be installed."""

    package: str
    """NEVRA."""
    name: str
    source: str
    """Name of its source package."""
    needs: tuple[str, ...] = ()
    """Dependencies that nothing provides, its own and those of packages that it needs."""
    involved: tuple[str, ...] = ()
    """Names of the binary packages that take part in it."""


@dataclass(frozen=True)
class Breakage:
    """One cause, with all that it breaks."""

    words: str
    """The cause, and the number of packages that break by it."""
    broken: tuple[Broken, ...]
    """Those that it breaks directly, then those that depend on them. One package may be in several breakages."""
    direct: int
    """Number of packages that it breaks directly."""
    roots: tuple[str, ...]
    """Names of the binary packages at the end of the chain: those that had what is missing, or that exclude another."""


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


def broken_of(solvable: PoolSolvable, causes: Sequence[Cause] = ()) -> Broken:
    """A broken package, with what libsolv's rules say about it."""
    import solv

    nothing = solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP
    return Broken(
        package=str(solvable),
        name=str(solvable.name),
        source=str(solvable.lookup_str(solv.SOLVABLE_SOURCENAME) or solvable.name),
        needs=tuple(sorted({str(cause.need) for cause in causes if cause.kind == nothing})),
        involved=tuple(sorted({str(s.name) for cause in causes for s in cause.solvables})),
    )
