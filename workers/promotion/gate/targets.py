"""Rules over all targets together: a fast target goes on, a slow target catches up, and users never see a mixture.

The others wait for a required target. A target with ``required: false`` may be behind for ``lag_days`` days. How far a
target is behind is its debt; :func:`debts` lists the debts for users, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from config.models import SourcePackage, Target
from config.nevra import Segment
from workers.promotion.gate.refusal import Refusal
from workers.promotion.gate.situation import Key, Passing, Situation
from workers.promotion.gate.versions import age
from workers.repository.records import Arrival, PublishedRecord

Refused = tuple[Passing, Refusal]

WAITING = ("required-targets", "same-newest")
"""Rules whose refusal means that a target is still missing, not that something is wrong."""


def required_targets(situation: Situation) -> Iterable[Refused]:
    """Refuse a build unless every required target of its package brings the same NEVR or has it."""
    for passing in situation.passing:
        for target, has in lacking(situation, passing).items():
            yield (
                passing,
                Refusal(
                    "required-targets",
                    f"{passing.nevr} has not passed on {target}, which {has}",
                    f"build, verify and test it on {target}; both then go together",
                ),
            )


def lacking(situation: Situation, passing: Passing) -> Mapping[str, str]:
    """Required target that neither brings a build's NEVR nor has it → a phrase about what it has."""
    found = {}
    brings = {p.target.name: p.nevr for p in situation.passing if p.package.name == passing.package.name}
    for target in (t for t in situation.site.targets_of(passing.package) if t.required):
        brought, there = brings.get(target.name), situation.published.get((passing.package.name, target.name))
        nevr = brought or (there.nevr if there else "")
        if nevr != passing.nevr:
            found[target.name] = f"brings {nevr}" if brought else f"is at {nevr}" if there else "has none"
    return found


def same_newest(situation: Situation) -> Iterable[Refused]:
    """Refuse builds unless all targets with the package have the same version afterwards, except those that may lag."""
    for package in _packages(situation):
        after = {key: (r.nevr, r.evr) for key, r in situation.published.items() if key[0] == package.name}
        ours = [p for p in situation.passing if p.package.name == package.name]
        after |= {p.key: (p.nevr, p.evr) for p in ours}
        strict = [t for t in situation.site.targets_of(package) if (package.name, t.name) in after and not _may_lag(t)]
        if not strict:
            continue
        newest = max((after[package.name, t.name] for t in strict), key=lambda v: age(package.name, v[1]))
        behind = [
            t for t in strict if age(package.name, after[package.name, t.name][1]) != age(package.name, newest[1])
        ]
        for passing in ours:
            for target in behind:
                yield (
                    passing,
                    Refusal(
                        "same-newest",
                        f"{target.name} would stay at {after[package.name, target.name][0]}; others have {newest[0]}",
                        f"let {newest[0]} pass on {target.name} as well, or give it lag_days in targets.yaml",
                    ),
                )


@dataclass(frozen=True)
class Debt:
    """How far a target is behind with a package."""

    package: str
    target: str
    has: str
    """NEVR; empty if it never had one."""
    newest: str
    """Newest NEVR of the required targets."""
    since: datetime
    days: int
    """Whole days since the first version newer than its own came to a required target."""
    allowed: int | None

    @property
    def overdue(self) -> bool:
        """Return whether it is behind for longer than it may be."""
        return self.allowed is not None and self.days > self.allowed

    def __str__(self) -> str:
        may = "" if self.allowed is None else f", {_days(self.allowed)} allowed"
        since = f"since {self.since:%Y-%m-%d}, {_days(self.days)}{may}"
        return f"{self.target} {f'is at {self.has}' if self.has else 'has none'} and others have {self.newest}: {since}"


def debts(situation: Situation, package: SourcePackage) -> tuple[Debt, ...]:
    """The debts of the targets that are not required, for a package at the stage."""
    targets = situation.site.targets_of(package)
    required = [r for t in targets if t.required and (r := situation.published.get((package.name, t.name)))]
    if not required:
        return ()
    newest = max(required, key=_age)
    seen = [r for t in targets if t.required for r in _history(situation, (package.name, t.name))]
    found = []
    for target in (t for t in targets if not t.required):
        has = situation.published.get((package.name, target.name))
        if has and _age(has) >= _age(newest):
            continue
        # A version that came and was rolled back is not owed.
        since = min(_time(r) for r in seen if _age(r) <= _age(newest) and (has is None or _age(r) > _age(has)))
        days = max(0, (situation.now - since).days)
        found.append(
            Debt(package.name, target.name, has.nevr if has else "", newest.nevr, since, days, target.lag_days)
        )
    return tuple(found)


def lag(situation: Situation) -> Iterable[Refused]:
    """Refuse newer versions of a package while a target is behind for more than ``lag_days``, unless it catches up."""
    for package in _packages(situation):
        ours = {p.target.name: p for p in situation.passing if p.package.name == package.name}
        newest = max((r for k, r in situation.published.items() if k[0] == package.name), key=_age, default=None)
        for debt in (d for d in debts(situation, package) if d.overdue):
            caught_up = ours.get(debt.target)
            if caught_up and newest and age(package.name, caught_up.evr) >= _age(newest):
                continue
            for passing in (p for name, p in ours.items() if name != debt.target):
                there = situation.published.get(passing.key)
                if there and age(package.name, passing.evr) <= _age(there):
                    continue
                yield (
                    passing,
                    Refusal(
                        "lag",
                        str(debt),
                        f"let {debt.newest} or newer pass on {debt.target} first, or give it more lag_days",
                    ),
                )


def noarch_parity(situation: Situation) -> Iterable[Refused]:
    """Refuse a noarch package that differs between targets, as a file and in what it installs, requires and runs.

    The headers differ between targets, because they also describe the build (OPTFLAGS, build host).
    """
    others: dict[str, list[tuple[Key, str]]] = {}
    replaced = {p.key for p in situation.passing}
    for key, record in situation.published.items():
        if key not in replaced:
            for name, checksum in record.unsigned.items():
                others.setdefault(name, []).append((key, checksum))
    for passing in situation.passing:
        for name, checksum in passing.unsigned.items():
            if not name.endswith(".noarch.rpm"):
                continue
            for key, other in others.get(name, ()):
                mine = passing.key
                if other != checksum and _content(situation, mine, name) != _content(situation, key, name):
                    yield (
                        passing,
                        Refusal(
                            "noarch-parity",
                            f"{name} has other content on {mine[1]} than on {key[1]}",
                            "make it the same on every target, or remove BuildArch: noarch",
                        ),
                    )
                    break
            others.setdefault(name, []).append((passing.key, checksum))


def _content(situation: Situation, key: Key, file: str) -> str:
    return situation.world.content(*key, file)


def _packages(situation: Situation) -> tuple[SourcePackage, ...]:
    return tuple({p.package.name: p.package for p in situation.passing}.values())


def _may_lag(target: Target) -> bool:
    return not target.required and target.lag_days is not None


def _age(record: PublishedRecord | Arrival) -> tuple[int, tuple[Segment, ...], tuple[Segment, ...]]:
    return age(record.package, record.evr)


def _time(record: PublishedRecord | Arrival) -> datetime:
    return datetime.fromisoformat(record.published)


def _history(situation: Situation, key: Key) -> Sequence[PublishedRecord | Arrival]:
    there = situation.published.get(key)
    return (*situation.history.get(key, ()), *((there,) if there else ()))


def _days(number: int) -> str:
    return f"{number} {'day' if number == 1 else 'days'}"
