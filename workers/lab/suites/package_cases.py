"""The cases of a package suite, made of what its guest reports."""

from __future__ import annotations

import re

from workers.lab import lifecycle
from workers.lab.judge import by_test, judge
from workers.lab.machine import console
from workers.lab.machine.launch import Talk
from workers.results import Case


def cases_of_life(life: lifecycle.Life, talk: Talk, limit: float) -> list[Case]:
    """The cases of a life, under the steps' names; and one for each thing on the console that a test said it provokes."""
    said = talk.console.decode(errors="replace")
    excused, cases = _expected(life, said)
    return [*(_step_case(life, case) for case in judge(talk, limit, excused)), *cases]


def _step_case(life: lifecycle.Life, case: Case) -> Case:
    changes = {"name": life.label(case.name)}
    if case.outcome == "skipped":
        reason, code = lifecycle.coded(case.reason)
        changes |= {"reason": reason, "code": code or case.code}
    elif found := re.search(r"^it did not end within \d+ s$", case.detail, re.MULTILINE):
        changes["reason"] = found.group()
    elif case.outcome == "failed" and case.reason.startswith("exit status") and life.label(case.name) in _STEPS:
        lines = case.detail.splitlines()
        changes["reason"] = lines[0] if lines else case.reason
    return case.model_copy(update=changes)


_STEPS = (
    "install",
    "verify",
    "files",
    "libraries",
    "uninstall",
    "install published",
    "upgrade",
    "verify after upgrade",
)


def _expected(life: lifecycle.Life, said: str) -> tuple[frozenset[str], list[Case]]:
    """Rules that are excused, since nothing but tests that say so provoke them; and a case for each such word of a test."""
    slices = by_test(said)
    heard = {name: {hit.rule.name for hit in console.hits(slices.get(name, ""))} for name in life.names()}
    announced = {name: step.expects for name, step in zip(life.names(), life.steps, strict=True)}
    every = [hit.rule.name for hit in console.hits(said)]
    excused, cases = set(), []
    for name, step in zip(life.names(), life.steps, strict=True):
        for rule in sorted(step.expects):
            came = rule in heard[name]
            reason = "" if came else f"it says it provokes {rule}, and nothing of the kind came"
            cases.append(
                Case(name=f"{step.label}: expects {rule}", outcome="passed" if came else "failed", reason=reason)
            )
            inside = sum(
                sum(hit.rule.name == rule for hit in console.hits(slices.get(other, "")))
                for other in life.names()
                if rule in announced[other]
            )
            if came and inside == every.count(rule):
                excused.add(rule)
    return frozenset(excused), cases


def step_seconds(life: lifecycle.Life, talk: Talk) -> dict[str, float]:
    """Step → seconds it took in the guest."""
    found: dict[str, float] = {}
    pattern = re.compile(
        r"^(?:not )?ok \d+ - (\S+)\n(?:# exit status \d+\n)?# from ([\d.]+) to ([\d.]+)$", re.MULTILINE
    )
    for name, begun, ended in pattern.findall(talk.tap.decode(errors="replace").replace("\r", "")):
        found[life.label(name)] = float(ended) - float(begun)
    return found
