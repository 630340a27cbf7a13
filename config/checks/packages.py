"""Checks of packages, their groups and their sources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

from config.checks.names import Sections, duplicates, names_in, unknown_names
from config.positions import Document
from config.problems import Problem, show


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Check packages, groups and sources."""
    yield from _exemptions(packages)
    yield from _groups(sections, packages)
    yield from _sources(sections)


def _exemptions(packages: Sequence[Document]) -> Iterator[Problem]:
    """Check that ``until`` of each exemption is a day of the calendar."""
    for package in packages:
        for place, item in package.mappings("exemptions"):
            until = item.get("until")
            if isinstance(until, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", until):  # the model reports other forms
                try:
                    date.fromisoformat(until)
                except ValueError:
                    yield package.problem((*place, "until"), show(until), "a day of the calendar: YYYY-MM-DD")


def _groups(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Check that groups which are named exist, and that the site builds their members, each listed once."""
    if not (groups := sections.get("groups")):
        return
    known = names_in(groups, "groups")
    for kind, keys in (("categories", ("groups",)), ("environments", ("groups", "optional"))):
        for place, _ in groups.mappings(kind):
            words = [word for key in keys for word in groups.words(*place, key)]
            yield from unknown_names(groups, words, known, "group")
            yield from duplicates(groups, words, "group")
    recorded = [package.at("binaries") for package in packages]
    # A package without recorded binary packages may make any of them.
    all_recorded = bool(recorded) and all(isinstance(binaries, list) and binaries for binaries in recorded)
    known_binaries = {
        name for binaries in recorded if isinstance(binaries, list) for name in binaries if isinstance(name, str)
    }
    for place, _ in groups.mappings("groups"):
        words = [word for key in ("mandatory", "default", "optional") for word in groups.words(*place, key)]
        if not words and all(groups.at(*place, key) in (None, []) for key in ("mandatory", "default", "optional")):
            yield groups.problem(place, "a group without packages", "at least one of mandatory, default, optional")
        yield from duplicates(groups, words, "package")
        if all_recorded:
            yield from unknown_names(groups, words, known_binaries, "binary package")


def _sources(sections: Sections) -> Iterator[Problem]:
    """Check that the lists have entries, and that each lookaside has a location."""
    if not (sources := sections.get("sources")):
        return
    for key, what in (("lookaside", "place to take tarballs from"), ("branches", "branch")):
        if sources.at(key) == []:
            yield sources.problem((key,), "an empty list", f"at least one {what}")
    for place, item in sources.mappings("lookaside"):
        if item.get("kind") in ("folder", "http") and not item.get("location"):
            yield sources.problem(place, f"a lookaside of kind {item['kind']} without a location", "a location")
