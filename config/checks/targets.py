"""Targets: that there is one, that its architecture and level are known, and that every ``targets:`` key names some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config import architectures
from config.checks.names import Sections, names_in, unknown_names
from config.positions import Document, Key
from config.problems import Problem, one_of, show


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Sites without a target, and ``targets:`` keys that name none or an unknown one."""
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
    """Architectures that the project lacks, or has in part, with each file that is missing; levels that they do not have."""
    known = architectures.known()
    for place, item in targets.mappings():
        if not isinstance(name := item.get("machine_arch"), str):
            continue  # the model refuses it
        if missing := architectures.missing(name):
            found = f"architecture {show(name)}, which lacks {', '.join(missing)}"
            allowed = (
                f"{one_of(known, name)}, or another one with these files, as docs/how-to/add-an-architecture.md says"
            )
            yield targets.problem((*place, "machine_arch"), found, allowed)
            continue
        levels = [level.name for level in known[name].levels]
        for key in ("isa_level", "firmware_isa_level"):
            if isinstance(word := item.get(key), str) and word not in levels:
                found = f"unknown level {show(word)} of {name}"
                yield targets.problem((*place, key), found, one_of(levels, word))
