"""Targets: that there is one, and that every ``targets:`` key of the site names some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.checks.names import Sections, names_in, unknown
from config.positions import Document, Key
from config.problems import Problem


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Sites without a target, and ``targets:`` keys that name none or an unknown one."""
    if not (targets := sections.get("targets")) or not isinstance(targets.data, list):
        return
    if not targets.data:
        yield targets.problem((), "no target", "at least one target")
    known = names_in(targets)
    places: list[tuple[Document, Key]] = [(package, ("targets",)) for package in packages]
    named: tuple[tuple[str, Key], ...] = (
        ("repositories", ("repositories",)),
        ("suites", ()),
        ("schedules", ()),
        ("workers", ()),
        ("repositories", ("required",)),
        ("repositories", ("rules",)),
    )
    for package in packages:
        places += [(package, (*place, "targets")) for place, _ in package.mappings("hardware")]
    for section, path in named:
        if document := sections.get(section):
            places += [(document, (*place, "targets")) for place, _ in document.mappings(*path)]
    for document, path in places:
        if document.at(*path) == []:
            yield document.problem(path, "an empty list", "all, or at least one target")
        yield from unknown(document, document.words(*path), known, "target")
