"""Checks of repositories: those that packages and ``required`` name exist, for the same targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.checks.names import Sections, chosen_targets, duplicates, names_in, unknown_names
from config.positions import Document, Key
from config.problems import Problem, show


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Check the repositories that packages and ``required`` name."""
    yield from _repositories_of_packages(sections, packages)
    yield from _required_packages(sections)


def _repositories_of_packages(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    repositories, targets = sections.get("repositories"), sections.get("targets")
    if not repositories or not isinstance(repositories.data, dict):
        return
    known = names_in(repositories, "repositories")
    if repositories.at("repositories") == []:
        yield repositories.problem(("repositories",), "an empty list", "at least one repository")
    default = repositories.at("default")
    if isinstance(default, str):
        yield from unknown_names(repositories, [(("default",), default)], known, "repository")
    all_targets = names_in(targets)
    for package in packages:
        placement = package.at("placement")
        placed = placement if isinstance(placement, dict) else {}
        places: list[tuple[Key, object]] = [(("placement", name), place) for name, place in placed.items()]
        places.append((("repository",), package.at("repository")))
        words = [(where, word) for where, word in places if isinstance(word, str)]
        yield from unknown_names(package, words, known, "repository")
        for where, word in words:
            if word not in known:
                continue
            if missing := chosen_targets(package, (), all_targets) - chosen_targets(
                repositories, known[word], all_targets
            ):
                yield package.problem(
                    where,
                    f"{show(word)}, which has no {', '.join(sorted(missing))}",
                    "a repository of all the package's targets, or fewer targets",
                )
        yield from duplicates(package, package.words("replaces"), "binary package")
        binaries = package.at("binaries")
        if isinstance(binaries, list) and binaries:
            names = [(("placement", name), name) for name in placed]
            yield from unknown_names(package, names, (b for b in binaries if isinstance(b, str)), "binary package")


def _required_packages(sections: Sections) -> Iterator[Problem]:
    """Check that ``required`` names published repositories of the same targets, and each package once."""
    if not (repositories := sections.get("repositories")):
        return
    known, all_targets = names_in(repositories, "repositories"), names_in(sections.get("targets"))
    for place, item in repositories.mappings("required"):
        if repositories.at(*place, "packages") == []:
            yield repositories.problem((*place, "packages"), "an empty list", "at least one binary package")
        yield from duplicates(repositories, repositories.words(*place, "packages"), "package")
        if not isinstance(name := item.get("repository"), str):
            continue
        where = (*place, "repository")
        yield from unknown_names(repositories, [(where, name)], known, "repository")
        if name not in known:
            continue
        if repositories.at(*known[name], "published") is False:
            yield repositories.problem(where, f"{show(name)}, which is not published", "a published repository")
        chosen = chosen_targets(repositories, place, all_targets)
        if missing := chosen - chosen_targets(repositories, known[name], all_targets):
            found = f"{show(name)}, which has no {', '.join(sorted(missing))}"
            yield repositories.problem(where, found, "a repository of all these targets, or fewer targets")
