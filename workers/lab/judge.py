"""The cases of a guest: from its TAP report, the error messages on its console, and the way it ended."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from workers.lab.machine import console, tap
from workers.lab.machine.launch import Talk
from workers.results import Case

MARK = "lab: begin "
"""The guest's kernel log has this line before each test, so that the console can be split by test."""

_SLICE_LINES = 40
_MOST_MESSAGES = 100  # that are shown: a program can print as many different ones as the console has lines
_REASONS = {
    "timeout": "the guest did not finish within {limit:.0f} s",
    "too-much": "the guest printed more than a test may print",
    "stopped": "QEMU stopped the guest: an internal error or a panic",
    "closed": "the guest ended before its report was complete",
    "rebooted": "the guest rebooted before its report was complete",
}


def judge(talk: Talk, limit: float, expected: Collection[str] = ()) -> tuple[Case, ...]:
    """Return the cases of a guest. An error message on the console is a failed case, even if all tests passed.

    :param limit: seconds the guest had.
    :param expected: names of console rules that the tests trigger on purpose; the suite checks that they did.
    """
    log = talk.console.decode(errors="replace")
    slices = console_by_test(log)
    cases = [_with_console(case, slices) for case in tap.parse(talk.tap.decode(errors="replace"))]
    cases += _console_cases(log, expected)
    if talk.ending in _REASONS:
        reason = _REASONS[talk.ending].format(limit=limit)
        cases.append(Case(name="guest", outcome="failed", reason=reason, console=_tail(log), detail=talk.stderr))
    if not any(case.outcome != "skipped" for case in cases):
        cases.append(Case(name="tests", outcome="failed", reason="nothing was tested: every test was skipped"))
    return tuple(cases)


def console_by_test(log: str) -> dict[str, str]:
    """Split the console log by test script. The lines before the first test are left out.

    The lines of a guest inside the guest ("nested:", see nested.sh) belong to the test that runs it.
    """
    parts = re.split(rf"^(?!nested: ).*?{MARK}(\S+)[ \t\r]*$", log, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def _with_console(case: Case, slices: dict[str, str]) -> Case:
    script = case.name.split(": ")[0]
    if case.outcome == "passed" or script not in slices:
        return case
    return case.model_copy(update={"console": _tail(slices[script])})


def _tail(text: str) -> str:
    return "\n".join(console.plain(line) for line in text.strip().splitlines()[-_SLICE_LINES:])


def _console_cases(log: str, expected: Collection[str]) -> Iterator[Case]:
    """Yield a failed case for each different error message on the console, at most :data:`_MOST_MESSAGES`."""
    found = [hit for hit in dict.fromkeys(console.hits(log)) if hit.rule.name not in expected]
    lines = [console.plain(text) for text in log.splitlines()] if found else []
    for hit in found[:_MOST_MESSAGES]:
        context = _context(lines, hit.line)
        yield Case(name=f"console: {hit.rule.name}", outcome="failed", reason=str(hit), console=context)
    if len(found) > _MOST_MESSAGES:
        reason = f"{len(found):,} different error messages; the first {_MOST_MESSAGES} are shown"
        yield Case(name="console", outcome="failed", reason=reason)


def _context(lines: Sequence[str], line: str) -> str:
    """Return a line of the console log with some lines before and after it."""
    at = next((number for number, text in enumerate(lines) if line in text), len(lines))
    return "\n".join(lines[max(0, at - _SLICE_LINES // 2) : at + _SLICE_LINES // 2])
