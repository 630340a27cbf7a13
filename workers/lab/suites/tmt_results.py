"""The cases of the ``tmt`` suite, from tmt's results and the test cases that ``gating.yaml`` requires."""

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
    "fail": {"outcome": "failed", "reason": "the test failed"},
    "warn": {"outcome": "failed", "reason": "tmt warns"},
    "error": {"outcome": "failed", "reason": "the test ended with an error"},
    "pending": {"outcome": "failed", "reason": "the test did not run"},
    "info": {"outcome": "skipped", "code": "tmt-info", "reason": "the test only informs"},
    "skip": {"outcome": "skipped", "code": "tmt-skip", "reason": "the test skipped itself"},
}
"""tmt's results (its specification, "results") as outcomes, in accordance with tmt's exit status."""

_TAIL_LINES = 40
_MAX_TAIL = 1 << 20  # bytes at the end of a log that are read
_MAX_RESULTS = 16 << 20  # bytes of results.yaml; tmt writes about one KiB for a test
_MOST_TESTS = 10_000
_MOST_NOTES, _MAX_TEXT = (
    20,
    1000,
)  # notes of a test; characters of a name or a note. YAML can repeat a text by an alias.


def suite_cases(
    results: Mapping[str, Sequence[Case]], disabled: Sequence[str], gates: Sequence[str] | None
) -> tuple[Case, ...]:
    """The cases of all plans, and one for each test case that a gate requires.

    :param results: plan → its cases.
    :param disabled: plans that do not run here.
    :param gates: the required test cases; None if no policy is about this distribution: then every plan counts.
    """
    off = [
        Case(name=plan, outcome="skipped", code="tmt-disabled", reason="the plan is disabled here") for plan in disabled
    ]
    if gates is None:
        return (*(case for cases in results.values() for case in cases), *off)
    plans_of = {gate: gating.plans_of(gate, (*results, *disabled)) for gate in gates}
    required = {plan for plans in plans_of.values() for plan in plans}
    shown = [
        case if plan in required or case.outcome != "failed" else _not_required(case)
        for plan, cases in results.items()
        for case in cases
    ]
    return (*shown, *off, *(_gate_case(gate, plans, results) for gate, plans in plans_of.items()))


def _gate_case(gate: str, plans: Sequence[str], results: Mapping[str, Sequence[Case]]) -> Case:
    name = f"{GATING_FILE}: {gate}"
    cases = [case for plan in plans for case in results.get(plan, ())]
    if not plans:
        return Case(name=name, outcome="failed", reason="it is required, but no plan of this repository has its name")
    if idle := [plan for plan in plans if plan not in results]:
        return Case(name=name, outcome="failed", reason=f"it is required, but {idle[0]} is disabled here")
    if failed := next((case for case in cases if case.outcome == "failed"), None):
        return Case(name=name, outcome="failed", reason=f"{failed.name}: {failed.reason}")
    if not any(case.outcome == "passed" for case in cases):
        return Case(name=name, outcome="failed", reason="it is required, but all its tests were skipped")
    return Case(name=name, outcome="passed")


def _not_required(case: Case) -> Case:
    reason = f"it failed, but {GATING_FILE} does not require it: {case.reason}"
    return case.model_copy(update={"outcome": "skipped", "code": "not-gating", "reason": reason})


def plan_cases(plan: str, execute: Path, wrong: str = "", log: Path | None = None) -> tuple[Case, ...]:
    """The cases of a plan.

    :param execute: the folder with its ``results.yaml``, which is missing if the plan could not be prepared.
    :param wrong: why the run of tmt is not complete; empty if it is.
    :param log: the output of tmt.
    """
    cases: dict[str, Case] = {}
    for document in _documents(execute):
        name, number = f"{plan}: {_text(document.get('name'))}", 1
        while name in cases:  # the same test in another phase or another guest
            number += 1
            name = f"{plan}: {_text(document.get('name'))} #{number}"
        cases[name] = _case(name, document, execute)
    if wrong or not cases:
        reason = wrong or "no test of this plan ran"
        cases[plan] = Case(name=plan, outcome="failed", reason=reason, detail=tail_of(log) if log else "")
    return tuple(cases.values())


def _documents(execute: Path) -> Sequence[Mapping[str, Any]]:
    """Return what ``results.yaml`` has for each test; empty if it is missing, damaged or too large.

    A test can write its results itself, so they are as untrusted as the test.
    """
    file = execute / "results.yaml"
    try:
        if not is_inside(file, execute) or file.stat().st_size > _MAX_RESULTS:
            return ()
        documents = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return ()
    whole = isinstance(documents, list) and len(documents) <= _MOST_TESTS
    return documents if whole and all(isinstance(document, dict) for document in documents) else ()


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else "(no text)"


def _list(value: object) -> Sequence[Any]:
    return value[:_MOST_NOTES] if isinstance(value, list) else ()


def _case(name: str, document: Mapping[str, Any], folder: Path) -> Case:
    result = _text(document.get("result"))
    unknown = {"outcome": "failed", "reason": f"tmt reports an unknown result: {result}"}
    outcome = _OUTCOMES.get(result, unknown)
    notes = [_text(note) for note in _list(document.get("note"))]
    checks = [
        f"check {_text(check.get('name'))} {_text(check.get('event'))}: {_text(check.get('result'))}"
        for check in _list(document.get("check"))
        if isinstance(check, dict) and check.get("result") not in ("pass", "info")
    ]
    reason = "; ".join([*notes, *checks]) if outcome["outcome"] != "passed" else ""
    logs = [folder / log for log in map(_text, _list(document.get("log"))) if log.endswith("output.txt")]
    case = {
        **outcome,
        "name": name,
        "reason": reason or outcome.get("reason", ""),
        "detail": tail_of(logs[0]) if logs and is_inside(logs[0], folder) else "",
        "seconds": duration_seconds(_text(document.get("duration"))),
    }
    return Case.model_validate(case)


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path names a file in a folder. A link of an untrusted test can lead to any file of this host."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False


def duration_seconds(duration: str) -> float:
    """Convert ``HH:MM:SS`` to seconds; any other text is 0."""
    found = re.fullmatch(r"(\d{1,6}):(\d\d):(\d\d)", duration)
    return float(int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])) if found else 0.0


def tail_of(path: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a text file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MAX_TAIL))
            text = file.read(_MAX_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
