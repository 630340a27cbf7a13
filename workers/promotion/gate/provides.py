"""The rule ``provides`` of the gate: which packages may replace which others.

dnf installs a package that provides a name, and removes a package that is obsoleted. So a package that provides or
obsoletes the name of another source package's binary package can remove that package from every machine, by mistake or
intent. The rule: a package may newly have, provide or obsolete the name of a binary package that users of the target
have from another source package only if ``replaces`` in packages/NAME.yaml lists the name. A claim that users have
already is not new. A name that users no longer have is free, and so is a name of no package (``webserver``,
``bundled(zlib)``).

All functions are pure, except :func:`against_repositories`, which reads from the catalogue what users have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from config.models import Site, SourcePackage, Target
from config.nevra import compare_versions
from workers.promotion.gate.refusal import Refusal
from workers.repository import index
from workers.repository.catalogue import Catalogue
from workers.repository.placement import repositories_of
from workers.repository.protocols import IndexedPackage
from workers.repository.snapshot import Snapshot

_ORDERS = {"EQ": (0,), "LT": (-1,), "LE": (-1, 0), "GT": (1,), "GE": (0, 1)}


@dataclass(frozen=True)
class Claim:
    """A name that a binary package has, provides or obsoletes."""

    verb: str
    """"is called", "provides" or "obsoletes"."""
    name: str
    flag: str = ""
    """EQ, LT, LE, GT or GE; only for an Obsoletes with a version."""
    version: tuple[str, str, str] = ("", "", "")
    """Its epoch, version and release; empty if not given."""

    def meets(self, evr: str) -> bool:
        """Return whether it matches a package of this ``[epoch:]version-release``; only an Obsoletes has a version."""
        if self.verb != "obsoletes" or not self.flag:
            return True
        epoch, version, release = _parts(evr)
        theirs, ours = [(epoch or "0"), version], [(self.version[0] or "0"), self.version[1]]
        if self.version[2] and release:  # rpm compares releases only if both have one
            theirs.append(release)
            ours.append(self.version[2])
        orders = (compare_versions(their, our) for their, our in zip(theirs, ours, strict=True))
        return next((order for order in orders if order), 0) in _ORDERS.get(self.flag, (-1, 0, 1))


@dataclass(frozen=True)
class Owner:
    """The source package and the version of a binary package that users have."""

    source: str
    evr: str


def claims_of(described: IndexedPackage) -> tuple[Claim, ...]:
    """The claims of a package; its name comes first."""
    provided = (Claim("provides", name) for name, *_ in described.provides)
    obsoleted = (
        Claim("obsoletes", name, flag or "", (epoch or "", version or "", release or ""))
        for name, flag, epoch, version, release, *_ in described.obsoletes
    )
    return (Claim("is called", described.name), *provided, *obsoleted)


def judge(
    package: SourcePackage,
    new: Mapping[str, Iterable[Claim]],
    owners: Mapping[str, Owner],
    known: frozenset[tuple[str, str]] = frozenset(),
) -> tuple[Refusal, ...]:
    """Refuse claims to names of other source packages that ``replaces`` does not allow.

    :param new: file name → its claims.
    :param owners: binary package → its owner, for the packages that users of the target have.
    :param known: (verb, name) of the claims that the package has at the stage already.
    """

    def refusals(file: str, claim: Claim) -> Iterator[Refusal]:
        owner = owners.get(claim.name)
        allowed = claim.name in package.replaces or (claim.verb, claim.name) in known
        if owner is None or owner.source == package.name or allowed or not claim.meets(owner.evr):
            return
        yield Refusal(
            "provides",
            f"{file} {claim.verb} {claim.name}, which users have from {owner.source}",
            f"take it out of the spec, or add it to replaces: in packages/{package.name}.yaml",
        )

    every = (refusal for file, claims in sorted(new.items()) for claim in claims for refusal in refusals(file, claim))
    return tuple(dict.fromkeys(every))


def against_repositories(
    site: Site,
    target: Target,
    package: SourcePackage,
    new: Mapping[str, tuple[Claim, ...]],
    current: Snapshot | None,
    catalogue: Path,
) -> tuple[Refusal, ...]:
    """Check the claims of new packages against all packages that users of the target have.

    :param new: file name → its claims, without source packages.
    :param current: the snapshot that users see; before the first publication, nothing is refused.
    :param catalogue: path of the stage's catalogue.
    """
    if current is None:
        return ()
    names = {claim.name for claims in new.values() for claim in claims}
    at, repositories = current.record.number, repositories_of(site, target)
    with Catalogue.open(catalogue) as rows:
        owners = {name: Owner(source, evr) for name, source, evr in rows.owners(at, repositories, sorted(names))}
        if all(owner.source == package.name for owner in owners.values()):
            return ()
        there = current.published_of(package.name).get(target.name)
        files = [rows.file(at, file.repository, file.path) for file in there.files] if there else []
    before = [claim for file in files if file and file.metadata for claim in claims_of(index.package_of(file.metadata))]
    return judge(package, new, owners, frozenset((claim.verb, claim.name) for claim in before))


def _parts(evr: str) -> tuple[str, str, str]:
    epoch, _, rest = evr.rpartition(":")
    version, _, release = rest.partition("-")
    return epoch, version, release
