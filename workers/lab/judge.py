"""What a guest said → cases: its report, what its console complains of, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Collection

from workers.lab.machine import console, tap
from workers.lab.machine.launch import Talk
from workers.results import Case

MARK = "lab: begin "
"""What the guest's kernel log says before each test, so that the console can be cut up."""

_SLICE_LINES = 40
_WRONG = {
    "timeout": "the guest did not finish within {limit:.0f} s",
    "too-much": "the guest said more than a test may",
    "stopped": "QEMU stopped the guest: an internal error or a panic",
    "closed": "the guest ended before its report did",
    "rebooted": "the guest rebooted before its report ended",
}


def judge(talk: Talk, limit: float, expected: Collection[str] = ()) -> tuple[Case, ...]:
    """The cases of a report. The console's complaints are failing cases, however green the tests are.

    :param limit: seconds it was given.
    :param expected: names of console rules that the tests provoke on purpose; a suite sees to it that they did.
    """
    said = talk.console.decode(errors="replace")
    slices = console_by_test(said)
    cases = [_with_console(case, slices) for case in tap.parse(talk.tap.decode(errors="replace"))]
    cases += [
        Case(name=f"console: {hit.rule.name}", outcome="failed", reason=str(hit), console=_around(said, hit.line))
        for hit in dict.fromkeys(console.hits(said))
        if hit.rule.name not in expected
    ]
    if talk.ending in _WRONG:
        reason = _WRONG[talk.ending].format(limit=limit)
        cases.append(Case(name="guest", outcome="failed", reason=reason, console=_tail(said), detail=talk.stderr))
    if not any(case.outcome != "skipped" for case in cases):
        cases.append(Case(name="tests", outcome="failed", reason="every test was skipped: nothing was tested"))
    return tuple(cases)


def console_by_test(said: str) -> dict[str, str]:
    """The console cut up by test script; what came before the first is not among them.

    What a guest inside the guest says ("nested:", see nested.sh) belongs to the test that runs it.
    """
    parts = re.split(rf"^(?!nested: ).*?{MARK}(\S+)[ \t\r]*$", said, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def _with_console(case: Case, slices: dict[str, str]) -> Case:
    script = case.name.split(": ")[0]
    if case.outcome == "passed" or script not in slices:
        return case
    return case.model_copy(update={"console": _tail(slices[script])})


def _tail(text: str) -> str:
    return "\n".join(console.plain(line) for line in text.strip().splitlines()[-_SLICE_LINES:])


def _around(said: str, line: str) -> str:
    """Some lines before and after one of the console."""
    lines = [console.plain(text) for text in said.splitlines()]
    at = next((number for number, text in enumerate(lines) if line in text), len(lines))
    return "\n".join(lines[max(0, at - _SLICE_LINES // 2) : at + _SLICE_LINES // 2])
