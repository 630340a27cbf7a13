"""Decide which folders and snapshots may go and which stay, each with a reason. No file is touched here.

The policy is ``retention.yaml`` (:class:`config.models.Retention`). An unknown folder stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from config.models import Retention

HOUR, DAY = 3600.0, 86400.0
Kind = Literal["build", "failed build", "source", "try-build", "leftover", "unknown"]


@dataclass(frozen=True)
class Found:
    """A folder of the artifact store."""

    path: str
    """Below the store: ``builds/x86_64/IDENTITY``."""
    kind: Kind
    changed: float
    """Time of the last write to a file in it, s since 1970. Proofs come after the build; reuse counts as a write."""
    size: int
    """Bytes."""
    package: str = ""
    target: str = ""
    nevr: str = ""
    srpm: str = ""
    """SHA-256 of the source package that a build was made from, or that a source has."""
    rpms: frozenset[str] = frozenset()
    """SHA-256 of each package that a build made."""
    odd: str = ""
    """Why it is unknown; empty if it is not."""

    @property
    def name(self) -> str:
        """The folder's name, which is a build's identity."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Needed:
    """The builds and packages that the stages have."""

    builds: frozenset[str] = frozenset()
    """URLs of the folders of builds with packages in a kept snapshot of a signed stage."""
    identities: frozenset[str] = frozenset()
    """Identities of the same builds: after a state folder was moved, the URLs have its old place."""
    staged: frozenset[str] = frozenset()
    """SHA-256 of the packages in the buildroots' repositories."""


@dataclass(frozen=True)
class Verdict:
    """Whether a folder stays, and why."""

    found: Found
    stays: bool
    why: str


def judge(
    policy: Retention, found: Sequence[Found], needed: Needed, now: float, *, root: str = ""
) -> tuple[Verdict, ...]:
    """The verdict on each folder, in the order of ``found``.

    :param now: seconds since 1970.
    :param root: URL or path of the store, with which the URLs of published builds begin.
    """
    ranks = _ranks(found)
    first = {f.path: _verdict(policy, f, needed, now, root, ranks) for f in found if f.kind != "source"}
    built = {v.found.srpm for v in first.values() if v.stays and v.found.srpm and v.found.kind != "try-build"}
    return tuple(first.get(f.path) or _of_source(policy, f, built, now) for f in found)


def _ranks(found: Iterable[Found]) -> Mapping[str, int]:
    """Path of a build → its rank among the builds of its package on its target; the newest has rank 1."""
    groups: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for one in found:
        if one.kind == "build":
            groups[one.package, one.target].append(one)
    newest = (sorted(group, key=lambda f: (f.changed, f.path), reverse=True) for group in groups.values())
    return {one.path: place for group in newest for place, one in enumerate(group, 1)}


def _verdict(
    policy: Retention, found: Found, needed: Needed, now: float, root: str, ranks: Mapping[str, int]
) -> Verdict:
    if found.odd or found.kind == "unknown":
        return Verdict(found, True, found.odd or "not a folder that kitten made")
    if young := _young(policy, found, now):
        return young
    match found.kind:
        case "build":
            named = f"{root.rstrip('/')}/{found.path}" in needed.builds or found.name in needed.identities
            if policy.keep_published and named:
                return Verdict(found, True, "published: a kept snapshot names it")
            if found.rpms & needed.staged:
                return Verdict(found, True, f"staged: the buildroot of {found.target} has packages of it")
            place, kept = ranks[found.path], policy.builds_per_package
            if place <= kept:
                return Verdict(found, True, f"number {place} of the {kept} newest of {found.package} on {found.target}")
            return Verdict(
                found, False, f"{kept} newer builds of {found.package} on {found.target}, neither published nor staged"
            )
        case "failed build":
            return _aged(found, now, policy.failed_days, "failed_days")
        case "try-build":
            return _aged(found, now, policy.try_days, "try_days")
    return Verdict(found, False, "left by a run that was killed: it has no result")


def _of_source(policy: Retention, found: Found, built: set[str], now: float) -> Verdict:
    if found.odd:
        return Verdict(found, True, found.odd)
    if young := _young(policy, found, now):
        return young
    if found.srpm in built:
        return Verdict(found, True, "a build that stays was made from it")
    return _aged(found, now, policy.source_days, "source_days")


def _young(policy: Retention, found: Found, now: float) -> Verdict | None:
    if now - found.changed >= policy.minimum_age_hours * HOUR:
        return None
    return Verdict(found, True, f"younger than {policy.minimum_age_hours} h: a running or waiting build may read it")


def _aged(found: Found, now: float, days: int, key: str) -> Verdict:
    age = (now - found.changed) / DAY
    stays = age < days
    return Verdict(found, stays, f"{age:.1f} days old, {'less than' if stays else 'over'} {key}: {days}")


def keep_snapshots(policy: Retention, snapshots: Mapping[int, float], now: float) -> frozenset[int]:
    """Numbers of the snapshots that stay: the newest ones, and the last one of each of the last days (UTC).

    :param snapshots: number → time when it was made (s since 1970).
    """
    newest = sorted(snapshots)[-policy.snapshots :]
    daily: dict[object, int] = {}
    for number, made in sorted(snapshots.items()):
        if now - made < policy.daily_days * DAY:
            daily[datetime.fromtimestamp(made, UTC).date()] = number
    return frozenset((*newest, *daily.values()))
