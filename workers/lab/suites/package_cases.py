"""The cases of the ``packages`` suite, made from the report and the console of its guest."""

from __future__ import annotations

import re
from collections import Counter

from workers.lab import lifecycle
from workers.lab.judge import console_by_test, judge
from workers.lab.machine import console, tap
from workers.lab.machine.launch import Talk
from workers.results import Case


def cases_of_life(life: lifecycle.Life, talk: Talk, limit: float) -> list[Case]:
    """The cases of all steps, named after the steps, and one for each console rule that a test announces.

    :param limit: seconds that the guest had.
    """
    excused, cases = _announced_cases(life, talk.console.decode(errors="replace"))
    return [*(_step_case(life, case) for case in judge(talk, limit, excused)), *cases]


def _step_case(life: lifecycle.Life, case: Case) -> Case:
    changes = {"name": life.label(case.name)}
    if case.outcome == "skipped":
        reason, code = lifecycle.split_reason(case.reason)
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


def _announced_cases(life: lifecycle.Life, text: str) -> tuple[frozenset[str], list[Case]]:
    """Compare the console with what the tests announce.

    :param text: the console.
    :returns: the console rules to excuse, because only tests that announce them break them; a case for each
        announcement.
    """
    slices = console_by_test(text)
    broken = {name: Counter(hit.rule.name for hit in console.hits(slices.get(name, ""))) for name in life.names()}
    every = Counter(hit.rule.name for hit in console.hits(text))
    steps = dict(zip(life.names(), life.steps, strict=True))
    excused, cases = set(), []
    for name, step in steps.items():
        for rule in sorted(step.expects):
            happened = broken[name][rule] > 0
            reason = "" if happened else f"the test announces {rule}, but it did not happen"
            cases.append(
                Case(name=f"{step.label}: expects {rule}", outcome="passed" if happened else "failed", reason=reason)
            )
            announced = sum(broken[other][rule] for other in steps if rule in steps[other].expects)
            if happened and announced == every[rule]:
                excused.add(rule)
    return frozenset(excused), cases


def step_seconds(life: lifecycle.Life, talk: Talk) -> dict[str, float]:
    """The label of each step → the seconds it took in the guest."""
    seconds: dict[str, float] = {}
    point = r"^(?:not )?ok \d+ - (\S+)\n(?:# exit status \d+\n)?"
    pattern = re.compile(rf"{point}# from ({tap.SECONDS}) to ({tap.SECONDS})$", re.MULTILINE)
    for name, begun, ended in pattern.findall(talk.tap.decode(errors="replace").replace("\r", "")):
        seconds[life.label(name)] = float(ended) - float(begun)
    return seconds
