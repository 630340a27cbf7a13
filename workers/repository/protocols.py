"""Types for the parts of createrepo_c and libsolv that this project uses; neither library has types.

The libraries' objects match these protocols. A method that needs no explanation is an attribute here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

MetadataDependency = tuple[str, str | None, str | None, str | None, str | None, bool]
"""A dependency in createrepo_c: name, EQ, LT, GT, LE or GE, epoch, version, release, whether it is a prerequisite."""
MetadataFile = tuple[str | None, str, str, str]
"""A file in createrepo_c: ``dir``, ``ghost`` or nothing, folder with a slash at its end, name, digest."""


class IndexedPackage(Protocol):
    """``createrepo_c.Package``: a package in an index."""

    name: str
    epoch: str | None
    version: str
    release: str
    arch: str
    pkgId: str  # noqa: N815 - the library's name
    """SHA-256 of the file."""
    location_href: str
    """Relative to its repository."""
    rpm_sourcerpm: str | None
    rpm_vendor: str | None
    rpm_license: str | None
    rpm_header_start: int
    summary: str | None
    size_package: int
    size_installed: int | None
    files: Sequence[MetadataFile]
    changelogs: Sequence[tuple[str, int, str]]
    """Author, seconds since 1970, text."""
    provides: Sequence[MetadataDependency]
    requires: Sequence[MetadataDependency]
    conflicts: Sequence[MetadataDependency]
    obsoletes: Sequence[MetadataDependency]

    def nevra(self) -> str:
        """NAME-EPOCH:VERSION-RELEASE.ARCH."""
        ...


class PoolDependency(Protocol):
    """``solv.Dep``: a dependency of a pool. ``str`` returns it in the form of a spec."""

    id: int
    Rel: Callable[[int, PoolDependency], PoolDependency]
    """A relation (``solv.REL_LT`` …) to a version."""


class PoolSolvable(Protocol):
    """``solv.XSolvable``: a package in a pool. A comparison with None by ``==`` crashes the process."""

    id: int
    name: str
    evr: str
    arch: str
    add_provides: Callable[[PoolDependency], object]
    add_requires: Callable[[PoolDependency], object]
    add_conflicts: Callable[[PoolDependency], object]
    add_obsoletes: Callable[[PoolDependency], object]

    def lookup_str(self, key: int) -> str | None:
        """The text of a key, for example ``solv.SOLVABLE_SOURCENAME``."""
        ...

    def lookup_deparray(self, key: int, marker: int = -1) -> Sequence[PoolDependency]:
        """The dependencies of a key, for example ``solv.SOLVABLE_REQUIRES``."""
        ...


class PoolRepository(Protocol):
    """``solv.Repo``: a repository in a pool."""

    nsolvables: int
    solvables: Sequence[PoolSolvable]
    add_solvable: Callable[[], PoolSolvable]

    def add_rpmmd(self, stream: object, language: None, flags: int = 0) -> bool:
        """Read primary.xml or filelists.xml from a ``solv`` file handle."""
        ...


class ProblemRule(Protocol):
    """``solv.Ruleinfo``: one of the rules that cannot be met together."""

    type: int
    solvable: PoolSolvable | None
    othersolvable: PoolSolvable | None
    dep: PoolDependency | None


class RuleSet(Protocol):
    """``solv.XRule``: a rule of a problem."""

    allinfos: Callable[[], Sequence[ProblemRule]]


class Problem(Protocol):
    """``solv.Problem``; ``str`` returns the text that dnf shows."""

    findallproblemrules: Callable[[], Sequence[RuleSet]]


class Transaction(Protocol):
    """``solv.Transaction``: the packages that a solve installs."""

    newsolvables: Callable[[], Sequence[PoolSolvable]]


class PoolSolver(Protocol):
    """``solv.Solver``: resolves jobs in a pool."""

    set_flag: Callable[[int, int], object]
    solve: Callable[[Sequence[object]], Sequence[Problem]]
    transaction: Callable[[], Transaction]


class Pool(Protocol):
    """``solv.Pool``: all packages that are resolved together."""

    installed: PoolRepository | None
    solvables: Sequence[PoolSolvable]
    Dep: Callable[[str], PoolDependency]
    Job: Callable[[int, int], object]
    """An action (``solv.Job.SOLVER_INSTALL`` …) for the solvable or dependency of a number."""
    Solver: Callable[[], PoolSolver]
    setarch: Callable[[str], object]
    add_repo: Callable[[str], PoolRepository]
    addfileprovides: Callable[[], object]
    createwhatprovides: Callable[[], object]
    whatprovides: Callable[[PoolDependency], Sequence[PoolSolvable]]
    id2solvable: Callable[[int], PoolSolvable]
    parserpmrichdep: Callable[[str], PoolDependency]
    set_disabled_list: Callable[[Sequence[int]], object]
