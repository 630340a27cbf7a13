"""Checks of targets: architecture and level are known, and every ``targets:`` key names known targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config import architectures
from config.checks.names import Sections, names_in, unknown_names
from config.positions import Document, Key
from config.problems import Problem, one_of, show


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Check that the site has a target, and that ``targets:`` keys name at least one known target."""
    if not (targets := sections.get("targets")) or not isinstance(targets.data, list):
        return
    if not targets.data:
        yield targets.problem((), "no target", "at least one target")
    yield from _architectures(targets)
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
        yield from unknown_names(document, document.words(*path), known, "target")


def _architectures(targets: Document) -> Iterator[Problem]:
    """Check that the architectures of targets are complete, with each missing file, and that their levels exist."""
    known = architectures.by_name()
    for place, item in targets.mappings():
        if not isinstance(name := item.get("machine_arch"), str):
            continue  # the model reports it
        if missing := architectures.missing_files(name):
            found = f"architecture {show(name)}, which lacks {', '.join(missing)}"
            allowed = f"{one_of(known, name)}, or a new one with these files: docs/how-to/add-an-architecture.md"
            yield targets.problem((*place, "machine_arch"), found, allowed)
            continue
        levels = [level.name for level in known[name].levels]
        for key in ("isa_level", "firmware_isa_level"):
            if isinstance(word := item.get(key), str) and word not in levels:
                found = f"unknown level {show(word)} of {name}"
                yield targets.problem((*place, key), found, one_of(levels, word))
