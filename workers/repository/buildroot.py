"""Resolve the BuildRequires of an SRPM to the packages of its buildroot, with libsolv.

sandbox-base is installed already. The target's ``staged`` repository has the packages that can be installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.models import Site, Target
from workers.base import cache
from workers.base.errors import CannotRun, CheckFailed
from workers.base.files import sha256_of
from workers.formats.rpm_file import header_of
from workers.formats.rpm_header import Dependency, RpmHeader
from workers.repository.protocols import IndexedPackage, MetadataDependency, Pool, PoolDependency, PoolRepository


@dataclass(frozen=True)
class Solvable:
    """An RPM with everything that the resolver needs."""

    name: str
    evr: str
    arch: str
    path: Path
    sha256: str = ""
    provides: tuple[Dependency, ...] = ()
    requires: tuple[Dependency, ...] = ()
    conflicts: tuple[Dependency, ...] = ()
    obsoletes: tuple[Dependency, ...] = ()
    files: tuple[str, ...] = ()
    source: str = ""
    """Name of the source package it was built from."""
    installed_bytes: int = 0

    @property
    def nevra(self) -> str:
        """NAME-[EPOCH:]VERSION-RELEASE.ARCH."""
        return f"{self.name}-{self.evr}.{self.arch}"


def staged_folder(site: Site, state: Path, target: Target) -> Path:
    """The folder of the repository from which a target's builds install; a remote one is copied to the cache first.

    :raises CannotRun: if a remote repository cannot be read.
    """
    url = site.stage_for("buildroot").url
    if "://" not in url:
        return (state / url).absolute() / target.name
    import fsspec

    copy = cache.root() / "buildroots" / hashlib.sha256(url.encode()).hexdigest()[:16] / target.name
    try:
        system, path = fsspec.core.url_to_fs(f"{url}/{target.name}")
        with cache.hold_lock(copy.with_name(f".{target.name}.lock")):
            for name in system.find(path) if system.exists(path) else []:
                local = copy / name[len(path) :].lstrip("/")
                if "/repodata/" in name or not local.exists():
                    local.parent.mkdir(parents=True, exist_ok=True)
                    system.get_file(name, str(local))
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(
            f"cannot read {url}/{target.name}: {error}", "check stages.yaml, the network, the credentials"
        ) from None
    return copy


def read_solvable(path: Path) -> Solvable:
    """Read a package's header and checksum.

    :raises CannotRun: if the file is no RPM package.
    """
    return solvable_of(path, header_of(path))


def solvable_of(path: Path, header: RpmHeader) -> Solvable:
    """Return the solvable for a package whose header was read.

    :raises CannotRun: if the header has text that is not UTF-8, which libsolv does not accept.
    """
    dependencies = (*header.provides, *header.requires, *header.conflicts, *header.obsoletes)
    try:
        "".join((str(header.nevra), header.source, *map(str, dependencies), *header.files)).encode()
    except UnicodeEncodeError:
        raise CannotRun(f"the header of {path.name} has text that is not UTF-8", "fix its spec") from None
    return Solvable(
        header.name,
        header.nevra.evr,
        header.arch,
        path,
        sha256_of(path),
        header.provides,
        header.requires,
        header.conflicts,
        header.obsoletes,
        header.files,
        header.source,
        header.installed_bytes,
    )


def read_repository(folder: Path) -> list[Solvable]:
    """The packages of a repository, from its index; from the folder if it has no index yet.

    :raises CannotRun: if the index cannot be read.
    """
    if not (folder / "repodata/repomd.xml").is_file():
        return [read_solvable(path) for path in sorted(folder.glob("*.rpm"))]
    import createrepo_c

    try:
        reader = createrepo_c.RepositoryReader.from_path(str(folder))
        return [_package(each, folder / each.location_href) for each in reader.iter_packages(warningcb=None)]
    except Exception as error:
        raise CannotRun(f"the index of {folder} cannot be read: {error}", "stage a package again") from None


def _package(found: IndexedPackage, path: Path) -> Solvable:
    def dependencies(tuples: Iterable[MetadataDependency]) -> tuple[Dependency, ...]:
        return tuple(Dependency(t[0], t[1] or "", _evr(t[2], t[3], t[4]) if t[1] else "") for t in tuples)

    return Solvable(
        found.name,
        _evr(found.epoch, found.version, found.release),
        found.arch,
        path,
        found.pkgId,
        dependencies(found.provides),
        dependencies(r for r in found.requires if not r[0].startswith("rpmlib(")),
        dependencies(found.conflicts),
        dependencies(found.obsoletes),
        tuple(f"{file[1]}{file[2]}" for file in found.files),
        (found.rpm_sourcerpm or "").rsplit("-", 2)[0],
        found.size_installed or 0,
    )


def _evr(epoch: str | None, version: str | None, release: str | None) -> str:
    text = f"{version or ''}-{release}" if release else version or ""
    return f"{epoch}:{text}" if epoch and epoch != "0" else text


def resolve(
    what: str, requires: Sequence[Dependency], base: Solvable, staged: Sequence[Solvable], arch: str
) -> list[Solvable]:
    """The staged packages to install so that every dependency of ``requires`` is met, sorted by name.

    :param what: the source package with these dependencies, for the message.
    :param base: the package that is installed already.
    :param arch: RPM architecture of the target.
    :raises CheckFailed: if no such set exists, with the reason.
    """
    import solv

    pool: Pool = solv.Pool()
    pool.setarch(arch)
    installed, available = pool.add_repo("sandbox-base"), pool.add_repo("buildroot")
    pool.installed = installed
    add(pool, installed, base)
    by_id = {add(pool, available, package): package for package in staged if package.arch in {arch, "noarch"}}
    pool.createwhatprovides()
    wanted = [(dependency, dep(pool, dependency)) for dependency in requires]
    missing = [str(d) for d, known in wanted if not d.name.startswith("(") and not pool.whatprovides(known)]
    if missing:
        raise CheckFailed(f"{what} needs {', '.join(missing)}, which nothing staged on {arch} provides")
    solver = pool.Solver()
    problems = solver.solve(
        [pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE_PROVIDES, known.id) for _, known in wanted]
    )
    if problems:
        raise CheckFailed(f"the buildroot of {what} on {arch} cannot be made: {'; '.join(str(p) for p in problems)}")
    return sorted((by_id[s.id] for s in solver.transaction().newsolvables()), key=lambda package: package.name)


def add(pool: Pool, repository: PoolRepository, package: Solvable) -> int:
    """Add a package to a repository of libsolv's pool, and return its number there."""
    solvable = repository.add_solvable()
    solvable.name, solvable.evr, solvable.arch = package.name, package.evr, package.arch
    solvable.add_provides(dep(pool, Dependency(package.name, "EQ", package.evr)))
    for dependency in package.provides:
        solvable.add_provides(dep(pool, dependency))
    for path in package.files:
        solvable.add_provides(pool.Dep(path))
    for dependency in package.requires:
        solvable.add_requires(dep(pool, dependency))
    for dependency in package.conflicts:
        solvable.add_conflicts(dep(pool, dependency))
    for dependency in package.obsoletes:
        solvable.add_obsoletes(dep(pool, dependency))
    identity: int = solvable.id
    return identity


def dep(pool: Pool, dependency: Dependency) -> PoolDependency:
    """The dependency of libsolv's pool for one of a header."""
    import solv

    if dependency.name.startswith("("):
        return pool.parserpmrichdep(dependency.name)
    signs = {
        "EQ": solv.REL_EQ,
        "LT": solv.REL_LT,
        "GT": solv.REL_GT,
        "LE": solv.REL_LT | solv.REL_EQ,
        "GE": solv.REL_GT | solv.REL_EQ,
    }
    name = pool.Dep(dependency.name)
    return name.Rel(signs[dependency.relation], pool.Dep(dependency.evr)) if dependency.relation else name
