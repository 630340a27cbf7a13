"""Rules over what is at a stage already: a version never goes back, and a name never changes its content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from config.nevra import Nevra, Segment
from workers.promotion.gate.refusal import Refusal
from workers.repository.records import Arrival, PublishedRecord


@dataclass(frozen=True)
class Candidate:
    """A package about to be published on a target."""

    package: str
    nevr: str
    evr: str
    """``epoch:version-release`` of its source package."""
    unsigned: Mapping[str, str]
    """File name → checksum as built."""


def age(package: str, evr: str) -> tuple[int, tuple[Segment, ...], tuple[Segment, ...]]:
    """Sort key of a version, as rpm orders versions."""
    return Nevra.parse(f"{package}-{evr}.src").evr_key


def not_taken_back(new: Candidate, old: PublishedRecord | None, came: Iterable[Arrival]) -> Iterable[Refusal]:
    """not-taken-back: the version was not there before and gone since, by a rollback as a rule."""
    if (old is None or old.nevr != new.nevr) and new.nevr in {arrival.nevr for arrival in came}:
        now = f"{old.nevr} took its place" if old else "nothing took its place"
        words = f"{new.nevr} was published before and was taken back; {now}"
        yield Refusal("not-taken-back", words, "mend it and raise its Release, or --override not-taken-back")


def not_older(new: Candidate, old: PublishedRecord | None) -> Iterable[Refusal]:
    """no-downgrade: the version is not older than what the target has."""
    if old is not None and age(new.package, new.evr) < age(old.package, old.evr):
        yield Refusal(
            "no-downgrade",
            f"{new.nevr} is older than the published {old.nevr}",
            "kitten rollback goes back; else raise its version, or --override no-downgrade",
        )


def not_replaced(new: Candidate, old: PublishedRecord | None) -> Iterable[Refusal]:
    """no-replaced-file: no file comes with other content under the same name."""
    if old is None:
        return
    for name in other_content(new.unsigned, old.unsigned):
        came = f"commit {old.commit[:12]}" if old.commit else f"build {old.identity[:12]}"
        yield Refusal("no-replaced-file", f"{name} is published from {came} with other content", "raise its Release")


def same_source(new: Candidate, others: Iterable[PublishedRecord]) -> Iterable[Refusal]:
    """one-source: the source package is the one other targets have under that name."""
    for other in others:
        for name in other_content(new.unsigned, other.unsigned):
            if name.endswith(".src.rpm"):
                yield Refusal(
                    "one-source", f"{name} is published with other content by {other.target}", "raise its Release"
                )


def other_content(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """Names that both have, with different checksums."""
    return sorted(name for name in new if old.get(name, new[name]) != new[name])
