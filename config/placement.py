"""Decide which repository a binary package belongs to, and why. Pure: reads no file and no network.

The first of these decides: the package's own ``placement``; the repository in which the binary package is published
already, because users who have configured only that repository would lose a package that moves; the first matching
rule of ``repositories.yaml``; the package's ``repository``; the site's ``default``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from config.nevra import without_debug

if TYPE_CHECKING:
    from config.models import Repositories, SourcePackage


@dataclass(frozen=True)
class Placement:
    """The repository of a binary package, with the reason."""

    repository: str
    because: str
    """The setting that decides: ``rule 2 of repositories.yaml``."""


@dataclass(frozen=True)
class BinaryPackage:
    """One binary package of a source package, on one target."""

    package: str
    binary: str
    target: str


def decide(
    repositories: Repositories,
    package: SourcePackage,
    binary: str,
    target: str,
    published: Mapping[str, str] | None = None,
) -> Placement | None:
    """Return the placement of a binary package on a target; None if nothing decides.

    debuginfo and debugsource packages follow the package they belong to.

    :param target: the target's name.
    :param published: binary package → name of the repository in which users of the target have it.
    """
    base = without_debug(binary)
    file = f"packages/{package.name}.yaml"
    if (own := package.placement.get(base)) is not None:
        return Placement(own, f"placement in {file}")
    if (current := (published or {}).get(base)) is not None:
        return Placement(current, "it is published there")
    for number, rule in enumerate(repositories.rules, 1):
        if rule.targets.includes(target) and fits(rule.binary, rule.source, BinaryPackage(package.name, base, target)):
            return Placement(rule.repository, f"rule {number} of repositories.yaml")
    if package.repository is not None:
        return Placement(package.repository, f"repository in {file}")
    if repositories.default is not None:
        return Placement(repositories.default, "default of repositories.yaml")
    return None


def fits(binary: str, source: str, package: BinaryPackage) -> bool:
    """Check whether a rule's globs match; upper and lower case differ, as in package names."""
    return fnmatchcase(package.binary, binary) and fnmatchcase(package.package, source)


def hint(package: str, binary: str) -> str:
    """Return what to add, and in which file, to place a binary package."""
    return f"placement: {{{binary}: REPOSITORY}} in packages/{package}.yaml, or a rule for it in repositories.yaml"


def moves(
    repositories: Repositories, package: SourcePackage, target: str, published: Mapping[str, str]
) -> Iterator[str]:
    """Yield a sentence for each binary package that would move away from the repository where users have it.

    :param published: binary package of this package → name of the repository in which users of the target have it.
    """
    for binary, old in sorted(published.items()):
        new = decide(repositories, package, binary, target, published)
        if new is not None and new.repository != old:
            yield (
                f"{binary} moves from {old} to {new.repository} on {target} ({new.because}): "
                f"users who have only {old} configured get no further update of it"
            )
