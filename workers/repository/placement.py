"""Compute the place of each file of a package below the distribution's root, from the configuration alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from config.models import Repository, Site, SourcePackage, Target
from config.nevra import is_debug
from config.placement import decide, hint
from workers.base.errors import CannotRun
from workers.repository.packages import nevra_of_file
from workers.repository.records import PublishedRecord

BASE = "sandbox-base"
"""Repository with the one package that represents the base system, if a site has it; its record has this name too."""


@dataclass(frozen=True, order=True)
class Place:
    """A file's place."""

    repository: str
    """Folder below the distribution's root: ``BaseOS/aarch64/os``."""
    path: str
    """Path in it: ``Packages/b/bzip2-1.0.8-1.el10.aarch64.rpm``."""


def place(
    site: Site, package: SourcePackage, target: Target, file: str, published: Mapping[str, str] | None = None
) -> Place | None:
    """The place of one file of a package; None if its repository is not published (``devel``).

    A source package goes to the repository of a binary package with its name, debuginfo to that of its binary package.

    :param published: binary package → repository in which users of the target have it (:func:`published_in`).
    :raises CannotRun: if no rule places it, or the repository does not exist, at all or for this target.
    """
    nevra = nevra_of_file(file)
    binary = package.name if nevra.arch == "src" else nevra.name
    decision = decide(site.repositories, package, binary, target.name, published)
    if decision is None:
        raise CannotRun(
            f"no rule names the repository of {binary} of {package.name} on {target.name}",
            f"add {hint(package.name, binary)}",
        )
    repository = _repository(site, decision.repository, package, target)
    if not repository.published:
        return None
    layout = site.repositories.layout
    template = layout.source if nevra.arch == "src" else layout.debuginfo if is_debug(nevra.name) else layout.packages
    return place_in(template.format(repository=repository.name, arch=target.rpm_arch), file)


def published_in(site: Site, target: Target, records: Iterable[PublishedRecord]) -> dict[str, str]:
    """Binary package → name of the repository in which users of a target have it.

    :param records: the records of one package, of any targets. The record of another target counts if this target has
        no record, so that a package is in the same repository on all targets.
    """
    layout = site.repositories.layout
    there = {repository.name for repository in published_repositories(site, target)}
    arches = {each.name: each.rpm_arch for each in site.targets}
    found: dict[str, str] = {}
    for record in sorted(records, key=lambda record: (record.target != target.name, record.target)):
        folders = {
            layout.packages.format(repository=name, arch=arches[record.target]): name
            for name in there
            if record.target in arches
        }
        for file in record.files:
            if file.repository in folders:
                found.setdefault(nevra_of_file(file.name).name, folders[file.repository])
    return found


def place_in(repository: str, file: str) -> Place:
    """The place of a file in a repository folder, by its first letter: mirrors serve long listings slowly."""
    return Place(repository, f"Packages/{file[0].lower()}/{file}")


def repositories_of(site: Site, target: Target) -> tuple[str, ...]:
    """Every folder that a target's users may configure, with those for debuginfo and sources."""
    layout = site.repositories.layout
    return tuple(
        sorted(
            template.format(repository=repository.name, arch=target.rpm_arch)
            for repository in published_repositories(site, target)
            for template in (layout.packages, layout.debuginfo, layout.source)
        )
    )


def published_repositories(site: Site, target: Target) -> tuple[Repository, ...]:
    """The published repositories of a target."""
    return tuple(r for r in site.repositories.repositories if r.published and _exists_for(r, target))


def _repository(site: Site, name: str, package: SourcePackage, target: Target) -> Repository:
    for repository in site.repositories.repositories:
        if repository.name == name:
            if _exists_for(repository, target):
                return repository
            raise CannotRun(
                f"repository {name} does not exist for target {target.name}", f"see packages/{package.name}.yaml"
            )
    raise CannotRun(f"{package.name} belongs to repository {name}, which does not exist", "see repositories.yaml")


def _exists_for(repository: Repository, target: Target) -> bool:
    return repository.targets.includes(target.name)
