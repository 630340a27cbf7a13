"""Checks of suites and schedules: suites that other entries name exist and run on the targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.checks.names import Sections, chosen_names, chosen_targets, names_in, unknown_names
from config.positions import Document, Key
from config.problems import Problem, one_of, show


def check(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Check suites.yaml and schedules.yaml."""
    yield from _suites(sections, packages)
    yield from _schedules(sections, packages)


def _suites(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Check that suites of targets and packages exist and run on the targets."""
    suites, targets = sections.get("suites"), sections.get("targets")
    if not suites or not isinstance(suites.data, list) or not targets:
        return
    known, all_targets = names_in(suites), names_in(targets)
    runs_on = {name: chosen_targets(suites, place, all_targets) for name, place in known.items()}
    for place, item in targets.mappings():
        words = list(targets.words(*place, "suites"))
        yield from unknown_names(targets, words, known, "suite")
        for where, word in words:
            if word in known and isinstance(name := item.get("name"), str) and name not in runs_on[word]:
                yield targets.problem(
                    where, f"suite {show(word)}, which does not run on this target", "a suite that runs on it"
                )
    for package in packages:
        words = list(package.words("suites"))
        yield from unknown_names(package, words, known, "suite")
        for where, word in words:
            if word in known and not runs_on[word] & chosen_targets(package, (), all_targets):
                yield package.problem(
                    where, f"suite {show(word)}, which runs on no target of the package", "a suite that runs on one"
                )


def _schedules(sections: Sections, packages: Sequence[Document]) -> Iterator[Problem]:
    """Check that packages and suites of schedules exist, and that each schedule starts something."""
    known = [name for package in packages if isinstance(name := package.at("name"), str)]
    if not (schedules := sections.get("schedules")):
        return
    for place, item in schedules.mappings():
        yield from unknown_names(schedules, schedules.words(*place, "packages"), known, "package")
        if "suites" in item:
            if "packages" in item:
                yield schedules.problem((*place, "packages"), "packages beside suites", "two schedules, one for each")
            yield from _scheduled_suites(sections, schedules, place)


def _scheduled_suites(sections: Sections, schedules: Document, place: Key) -> Iterator[Problem]:
    """Check that a schedule's suites exist, need no package, and run on each target that it names."""
    suites, targets = sections.get("suites"), sections.get("targets")
    where = (*place, "suites")
    if (selected := schedules.at(*where)) == []:
        yield schedules.problem(where, "an empty list", "all, or at least one suite")
        return
    if (
        not suites
        or not isinstance(suites.data, list)
        or not targets
        or not (selected == "all" or isinstance(selected, list))
    ):
        return
    known, all_targets = names_in(suites), names_in(targets)
    standalone = {
        name: chosen_targets(suites, at, all_targets)
        for name, at in known.items()
        if not suites.at(*at, "needs_package")
    }
    chosen, words = chosen_targets(schedules, place, all_targets), list(schedules.words(*where))
    yield from unknown_names(schedules, words, known, "suite")
    for key, name in words:
        if name in known and name not in standalone:
            yield schedules.problem(key, f"suite {show(name)}, which needs a package", one_of(standalone, name))
        elif name in standalone and not standalone[name] & chosen:
            yield schedules.problem(
                key, f"suite {show(name)}, which runs on none of these targets", "a suite that runs on one"
            )
    if not all(name in standalone and standalone[name] & chosen for _, name in words):
        return
    tested = set().union(*(standalone[name] for name in chosen_names(selected, standalone)))
    if not tested & chosen:
        yield schedules.problem(
            where, "all, but no suite runs without a package there", "a schedule that starts something"
        )
        return
    for key, target in schedules.words(*place, "targets"):
        if target in all_targets and target not in tested:
            yield schedules.problem(
                key, f"target {show(target)}, on which none of its suites runs", "a target of its suites"
            )
