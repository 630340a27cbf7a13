"""Checks of stages: their roles, their gates, and how far a target may lag."""

from __future__ import annotations

from collections.abc import Iterator

from config.checks.names import Sections, duplicates, names_in, unknown_names
from config.positions import Document
from config.problems import Problem, show

# Rules that compare what users of all targets have. A buildroot belongs to one target, so they mean nothing there.
_SIGNED_ONLY = ("required-targets", "lag", "noarch-parity", "same-newest", "provides", "dnf")


def check(sections: Sections) -> Iterator[Problem]:
    """Check the stages, their roles, rules and composes, and ``lag_days`` of targets."""
    stages, suites, targets = sections.get("stages"), sections.get("suites"), sections.get("targets")
    if stages and stages.data == []:
        yield stages.problem((), "no stage", "at least one stage, in which builds are staged")
    elif stages:
        yield from _roles(stages)
    if stages:
        yield from _gates_and_composes(stages, suites)
    if targets:
        yield from _lag_days(targets)


def _gates_and_composes(stages: Document, suites: Document | None) -> Iterator[Problem]:
    for place, stage in stages.mappings():
        rules = [(where, entry) for where, entry in stages.mappings(*place, "gate")]
        yield from duplicates(stages, (((*where, "rule"), entry.get("rule")) for where, entry in rules), "rule")
        if stage.get("composes") is not None and stage.get("signed") is not True:
            found = "composes of a stage that is not signed"
            yield stages.problem(
                (*place, "composes"), found, "signed: true, or no composes: mirrors carry signed packages"
            )
        for where, entry in rules:
            if entry.get("suites") and entry.get("rule") != "tested":
                found = f"suites beside the rule {show(entry.get('rule'))}"
                yield stages.problem((*where, "suites"), found, "suites only beside the rule 'tested'")
            if suites:
                yield from unknown_names(stages, stages.words(*where, "suites"), names_in(suites), "suite")
            if entry.get("rule") in _SIGNED_ONLY and stage.get("signed") is not True:
                found = f"{show(entry.get('rule'))}, at a stage that is not signed"
                yield stages.problem((*where, "rule"), found, "this rule only at a stage with signed: true")


def _lag_days(targets: Document) -> Iterator[Problem]:
    for place, target in targets.mappings():
        if target.get("lag_days") is not None and target.get("required") is not False:
            found = "lag_days of a target that is required"
            yield targets.problem((*place, "lag_days"), found, "lag_days only beside required: false")


def _roles(stages: Document) -> Iterator[Problem]:
    """Check that each role is at one stage that can have it."""
    entries = list(stages.mappings())
    words = [word for place, _ in entries for word in stages.words(*place, "roles")]
    yield from duplicates(stages, words, "role")
    if not entries or any(not isinstance(stage.get("signed", False), bool) for _, stage in entries):
        return  # the models report it
    signed = [place for place, stage in entries if stage.get("signed") is True]
    unsigned = [place for place, stage in entries if place not in signed]
    allowed_at = {
        "buildroot": (unsigned, "the role buildroot only at a stage that is not signed"),
        "signing": (signed[:1], "the role signing only at the first stage with signed: true"),
        "users": (signed[-1:], "the role users only at the last stage with signed: true"),
    }
    for where, word in words:
        if word in allowed_at and where[: -len(("roles", 0))] not in allowed_at[word][0]:
            yield stages.problem(where, f"the role {show(word)}, at a stage that cannot have it", allowed_at[word][1])
    if len(unsigned) != 1 and not any(word == "buildroot" for _, word in words):
        found = "no stage with the role buildroot"
        yield stages.problem((), found, "roles: [buildroot] at one stage that is not signed")
