"""Names: each once in its list, and what the checks of all sections ask of names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from config.positions import Document, Key
from config.problems import Problem, one_of, show

Sections = Mapping[str, Document]


def check(sections: Sections) -> Iterator[Problem]:
    """Named things twice in their list, workers in two pools, and pools without any."""
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
        everyone = chain.from_iterable(workers.words(*place, "workers") for place, _ in workers.mappings())
        yield from duplicates(workers, everyone, "worker")
        for place, _ in workers.mappings():
            if workers.at(*place, "workers") == []:
                yield workers.problem((*place, "workers"), "an empty list", "at least one worker")


def names_in(document: Document | None, *path: str) -> dict[str, Key]:
    """Name → place of each named thing in a list; of a name given twice, the first place."""
    found: dict[str, Key] = {}
    for place, item in document.mappings(*path) if document else ():
        if isinstance(name := item.get("name"), str):
            found.setdefault(name, place)
    return found


def duplicates(document: Document | None, words: Iterable[tuple[Key, object]], what: str) -> Iterator[Problem]:
    """A problem for each word that stood at an earlier place already.

    :param words: place → word; what is no text is left to the model.
    :param what: what they name, for people.
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
    """A problem for each word that is not among the known ones, with the nearest of those.

    :param what: what they name, for people.
    """
    known = tuple(known)
    for place, word in words:
        if word not in known:
            yield document.problem(place, f"unknown {what} {show(word)}", one_of(known, word))


def chosen_targets(document: Document, path: Key, targets: Iterable[str]) -> set[str]:
    """The targets that a ``targets:`` key chooses: all of them where it says so, says nothing or makes no sense."""
    return chosen_names(document.at(*path, "targets"), targets)


def chosen_names(names: object, every: Iterable[str]) -> set[str]:
    """The names that a key chooses before its type is checked: all where it says so, says nothing or makes no sense."""
    return set(every) & {n for n in names if isinstance(n, str)} if isinstance(names, list) else set(every)
