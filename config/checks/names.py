"""Names: each is unique in its list; also the helpers that checks of all sections use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from config.positions import Document, Key
from config.problems import Problem, one_of, show

Sections = Mapping[str, Document]


def check(sections: Sections) -> Iterator[Problem]:
    """Check that names are unique in their list, that a worker is in one pool, and that each pool has a worker."""
    lists: tuple[tuple[str, Key, str], ...] = (
        ("targets", (), "target"),
        ("repositories", ("repositories",), "repository"),
        ("groups", ("groups",), "group"),
        ("groups", ("categories",), "category"),
        ("groups", ("environments",), "environment"),
        ("stages", (), "stage"),
        ("suites", (), "suite"),
        ("schedules", (), "schedule"),
        ("workers", (), "pool"),
        ("web", ("roles",), "role"),
    )
    for section, path, what in lists:
        if document := sections.get(section):
            names = (((*place, "name"), item.get("name")) for place, item in document.mappings(*path))
            yield from duplicates(document, names, what)
    if workers := sections.get("workers"):
        all_workers = chain.from_iterable(workers.words(*place, "workers") for place, _ in workers.mappings())
        yield from duplicates(workers, all_workers, "worker")
        for place, _ in workers.mappings():
            if workers.at(*place, "workers") == []:
                yield workers.problem((*place, "workers"), "an empty list", "at least one worker")


def names_in(document: Document | None, *path: str) -> dict[str, Key]:
    """Return name → path for the entries of a list; for a duplicate name, the first path."""
    found: dict[str, Key] = {}
    for place, item in document.mappings(*path) if document else ():
        if isinstance(name := item.get("name"), str):
            found.setdefault(name, place)
    return found


def duplicates(document: Document | None, words: Iterable[tuple[Key, object]], what: str) -> Iterator[Problem]:
    """Yield a problem for each word that appeared earlier.

    :param words: (path, word); the models report words that are not text.
    :param what: the kind of thing that the words name, for the message.
    """
    first: dict[str, int] = {}
    for place, word in words:
        if document is None or not isinstance(word, str):
            continue
        if word in first:
            yield document.problem(place, f"{what} {show(word)} twice, first on line {first[word]}", "each once")
        first.setdefault(word, document.line(place))


def unknown_names(
    document: Document, words: Iterable[tuple[Key, str]], known: Iterable[str], what: str
) -> Iterator[Problem]:
    """Yield a problem for each unknown word, with the most similar known one.

    :param what: the kind of thing that the words name, for the message.
    """
    known = tuple(known)
    for place, word in words:
        if word not in known:
            yield document.problem(place, f"unknown {what} {show(word)}", one_of(known, word))


def chosen_targets(document: Document, path: Key, targets: Iterable[str]) -> set[str]:
    """Return the targets that a ``targets:`` key selects: all of them if it is ``all``, absent or invalid."""
    return chosen_names(document.at(*path, "targets"), targets)


def chosen_names(names: object, every: Iterable[str]) -> set[str]:
    """Return the names that a key selects, whose type is not checked yet: all if it is ``all``, absent or invalid."""
    return set(every) & {n for n in names if isinstance(n, str)} if isinstance(names, list) else set(every)
