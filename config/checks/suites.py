"""Suites: what targets and packages ask for is there, and runs on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.checks.names import Sections, chosen_targets, names_in, unknown
from config.positions import Document
from config.problems import Problem, show


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Suites of targets and packages that are unknown, or do not run there."""
    suites, targets = sections.get("suites"), sections.get("targets")
    if not suites or not isinstance(suites.data, list) or not targets:
        return
    known, all_targets = names_in(suites), names_in(targets)
    runs_on = {name: chosen_targets(suites, place, all_targets) for name, place in known.items()}
    for place, item in targets.mappings():
        words = list(targets.words(*place, "suites"))
        yield from unknown(targets, words, known, "suite")
        for where, word in words:
            if word in known and isinstance(name := item.get("name"), str) and name not in runs_on[word]:
                yield targets.problem(
                    where, f"suite {show(word)}, not for this target", "a suite whose targets hold it"
                )
    for package in packages:
        words = list(package.words("suites"))
        yield from unknown(package, words, known, "suite")
        for where, word in words:
            if word in known and not runs_on[word] & chosen_targets(package, (), all_targets):
                yield package.problem(
                    where, f"suite {show(word)}, on none of the package's targets", "a suite of theirs"
                )
