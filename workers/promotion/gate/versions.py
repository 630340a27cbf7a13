"""Rules over the versions at a stage: a version never goes back, and a file name never changes its content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from config.nevra import Nevra, Segment
from workers.promotion.gate.refusal import Refusal
from workers.repository.records import Arrival, PublishedRecord


@dataclass(frozen=True)
class Candidate:
    """A package that wants to pass on a target."""

    package: str
    nevr: str
    evr: str
    """``epoch:version-release`` of its source package."""
    unsigned: Mapping[str, str]
    """File name → checksum before signing."""


def age(package: str, evr: str) -> tuple[int, tuple[Segment, ...], tuple[Segment, ...]]:
    """The sort key of a version, in rpm's order."""
    return Nevra.parse(f"{package}-{evr}.src").evr_key


def not_taken_back(new: Candidate, old: PublishedRecord | None, came: Iterable[Arrival]) -> Iterable[Refusal]:
    """Rule not-taken-back: refuse a version that was at the stage before and was removed, usually by a rollback."""
    if (old is None or old.nevr != new.nevr) and new.nevr in {arrival.nevr for arrival in came}:
        now = f"the stage has {old.nevr}" if old else "the stage has none"
        words = f"{new.nevr} was published before and was rolled back; now {now}"
        yield Refusal("not-taken-back", words, "fix it and raise its Release, or --override not-taken-back")


def not_older(new: Candidate, old: PublishedRecord | None) -> Iterable[Refusal]:
    """Rule no-downgrade: refuse a version older than that of the target."""
    if old is not None and age(new.package, new.evr) < age(old.package, old.evr):
        yield Refusal(
            "no-downgrade",
            f"{new.nevr} is older than the published {old.nevr}",
            "raise its version, go back with kitten rollback, or --override no-downgrade",
        )


def not_replaced(new: Candidate, old: PublishedRecord | None) -> Iterable[Refusal]:
    """Rule no-replaced-file: refuse a file with other content under a published name."""
    if old is None:
        return
    for name in other_content(new.unsigned, old.unsigned):
        came = f"commit {old.commit[:12]}" if old.commit else f"build {old.identity[:12]}"
        yield Refusal("no-replaced-file", f"{name} is published from {came} with other content", "raise its Release")


def same_source(new: Candidate, others: Iterable[PublishedRecord]) -> Iterable[Refusal]:
    """Rule one-source: refuse a source package that differs from the one of the same name on other targets."""
    for other in others:
        for name in other_content(new.unsigned, other.unsigned):
            if name.endswith(".src.rpm"):
                yield Refusal(
                    "one-source", f"{name} is published with other content on {other.target}", "raise its Release"
                )


def other_content(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """The names in both, if their checksums differ; sorted."""
    return sorted(name for name in new if old.get(name, new[name]) != new[name])
