"""Groups of packages: those that categories and environments name, with members that the site builds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.checks.names import Sections, names_in, twice, unknown
from config.positions import Document
from config.problems import Problem


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Groups that there are, with members the site builds, each once."""
    if not (groups := sections.get("groups")):
        return
    known = names_in(groups, "groups")
    for kind, keys in (("categories", ("groups",)), ("environments", ("groups", "optional"))):
        for place, _ in groups.mappings(kind):
            words = [word for key in keys for word in groups.words(*place, key)]
            yield from unknown(groups, words, known, "group")
            yield from twice(groups, words, "group")
    recorded = [package.at("binaries") for package in packages]
    # A package whose binaries nobody recorded may make any of them.
    whole = bool(recorded) and all(isinstance(binaries, list) and binaries for binaries in recorded)
    made = {name for binaries in recorded if isinstance(binaries, list) for name in binaries if isinstance(name, str)}
    for place, _ in groups.mappings("groups"):
        words = [word for key in ("mandatory", "default", "optional") for word in groups.words(*place, key)]
        if not words and all(groups.at(*place, key) in (None, []) for key in ("mandatory", "default", "optional")):
            yield groups.problem(place, "a group without packages", "at least one of mandatory, default, optional")
        yield from twice(groups, words, "package")
        if whole:
            yield from unknown(groups, words, made, "binary package")
