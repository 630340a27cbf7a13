"""The cases of the ``tmt`` suite, made of tmt's results and of what ``gating.yaml`` requires."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from workers.lab import gating
from workers.results import Case

GATING_FILE = "gating.yaml"
_OUTCOMES: Mapping[str, Mapping[str, str]] = {
    "pass": {"outcome": "passed"},
    "fail": {"outcome": "failed", "reason": "it failed"},
    "warn": {"outcome": "failed", "reason": "tmt warns"},
    "error": {"outcome": "failed", "reason": "it could not be run to its end"},
    "pending": {"outcome": "failed", "reason": "it did not run"},
    "info": {"outcome": "skipped", "code": "tmt-info", "reason": "the test only informs"},
    "skip": {"outcome": "skipped", "code": "tmt-skip", "reason": "the test skipped itself"},
}
"""tmt's results (its specification, "results"), as tmt's own exit status weighs them."""

_TAIL_LINES = 40


def suite_cases(
    ran: Mapping[str, Sequence[Case]], disabled: Sequence[str], gates: Sequence[str] | None
) -> tuple[Case, ...]:
    """The cases of all plans, and one for each test case that a gate requires.

    :param ran: plan → its cases.
    :param disabled: plans that do not run here.
    :param gates: the required test cases; None where no policy is about this distribution: then every plan counts.
    """
    off = [
        Case(name=plan, outcome="skipped", code="tmt-disabled", reason="the plan is disabled here") for plan in disabled
    ]
    if gates is None:
        return (*(case for cases in ran.values() for case in cases), *off)
    means = {gate: gating.plans_of(gate, (*ran, *disabled)) for gate in gates}
    required = {plan for meant in means.values() for plan in meant}
    shown = [
        case if plan in required or case.outcome != "failed" else _not_required(case)
        for plan, cases in ran.items()
        for case in cases
    ]
    return (*shown, *off, *(_gate(gate, meant, ran) for gate, meant in means.items()))


def _gate(gate: str, meant: Sequence[str], ran: Mapping[str, Sequence[Case]]) -> Case:
    name = f"{GATING_FILE}: {gate}"
    cases = [case for plan in meant for case in ran.get(plan, ())]
    if not meant:
        return Case(name=name, outcome="failed", reason="it is required, and no plan of this repository is meant by it")
    if idle := [plan for plan in meant if plan not in ran]:
        return Case(name=name, outcome="failed", reason=f"it is required, and {idle[0]} is disabled here")
    if failed := next((case for case in cases if case.outcome == "failed"), None):
        return Case(name=name, outcome="failed", reason=f"{failed.name}: {failed.reason}")
    if not any(case.outcome == "passed" for case in cases):
        return Case(name=name, outcome="failed", reason="it is required, and every test of it was skipped")
    return Case(name=name, outcome="passed")


def _not_required(case: Case) -> Case:
    reason = f"it failed, which {GATING_FILE} lets pass: {case.reason}"
    return case.model_copy(update={"outcome": "skipped", "code": "not-gating", "reason": reason})


def plan_cases(plan: str, execute: Path, wrong: str = "", log: Path | None = None) -> tuple[Case, ...]:
    """The cases of a plan that ran.

    :param execute: the folder with its ``results.yaml``.
    :param wrong: what kept tmt from ending well; of a plan that could not be prepared, it could run no test either.
    :param log: what tmt said.
    """
    try:
        documents = yaml.safe_load((execute / "results.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        documents = None
    cases: dict[str, Case] = {}
    for document in documents if isinstance(documents, list) else ():
        name, number = f"{plan}: {document['name']}", 1
        while name in cases:  # the same test again: another phase, another guest
            number += 1
            name = f"{plan}: {document['name']} #{number}"
        cases[name] = _case(name, document, execute)
    if wrong or not cases:
        reason = wrong or "no test of this plan ran"
        cases[plan] = Case(name=plan, outcome="failed", reason=reason, detail=tail_of(log) if log else "")
    return tuple(cases.values())


def _case(name: str, document: Mapping[str, Any], folder: Path) -> Case:
    said = _OUTCOMES.get(str(document["result"]), {"outcome": "failed", "reason": f"tmt says {document['result']}"})
    notes = [str(note) for note in document.get("note") or ()]
    checks = [
        f"check {check.get('name')} {check.get('event')}: {check.get('result')}"
        for check in document.get("check") or ()
        if check.get("result") not in ("pass", "info")
    ]
    words = "; ".join([*notes, *checks]) if said["outcome"] != "passed" else ""
    logs = [log for log in document.get("log") or () if str(log).endswith("output.txt")]
    case = {
        **said,
        "name": name,
        "reason": words or said.get("reason", ""),
        "detail": tail_of(folder / logs[0]) if logs else "",
        "seconds": duration_seconds(str(document.get("duration") or "")),
    }
    return Case.model_validate(case)


def duration_seconds(duration: str) -> float:
    """``HH:MM:SS`` in seconds; 0 where it says nothing of the kind."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d)", duration)
    return float(int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])) if found else 0.0


def tail_of(path: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a text file; empty if it cannot be read."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-lines:])
    except OSError:
        return ""
