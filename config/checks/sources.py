"""Sources: branches to follow, and places that tarballs come from."""

from __future__ import annotations

from collections.abc import Iterator

from config.checks.names import Sections
from config.problems import Problem


def check(sections: Sections) -> Iterator[Problem]:
    """Empty lists, and places for tarballs without a location."""
    if not (sources := sections.get("sources")):
        return
    for key, what in (("lookaside", "place to take tarballs from"), ("branches", "branch")):
        if sources.at(key) == []:
            yield sources.problem((key,), "an empty list", f"at least one {what}")
    for place, item in sources.mappings("lookaside"):
        if item.get("kind") in ("folder", "http") and not item.get("location"):
            yield sources.problem(place, f"a lookaside of kind {item['kind']} without a location", "a location")
