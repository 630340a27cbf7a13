"""What guests printed and showed as one HTML page, without script: suite by suite each case, with console and pictures.

The page is ``templates/lab.html.j2``. What is here chooses what it shows, and in which order. A picture is shown only under
an address that the caller gives for its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.results import Case, SuiteResult, TestResult
from workers.results.html import render

CASES = 2000
"""Cases of a suite that are shown, those that did not pass first; the result file holds more."""
CHARACTERS = 12_000
"""Of one output or console; its last ones."""
CHARACTERS_IN_ALL = 1_000_000
"""Of the whole page: a browser has to show it."""
PICTURES = 100

_GRADES = {
    "failed": ("BAD", "failed"),
    "flaky": ("VERIFY", "FLAKY"),
    "skipped": ("INFO", "skipped"),
    "passed": ("OK", "passed"),
}
"""Outcome → grade and word, the worst first."""
_ADDRESS = re.compile(r"https?://|data:image/png;base64,")


@dataclass(frozen=True)
class _Picture:
    name: str
    address: str
    """Empty: its name alone is shown."""


@dataclass(frozen=True)
class _Row:
    """A case, and what it printed and showed."""

    case: Case
    outputs: Sequence[tuple[str, str]]
    """Title and text."""
    pictures: Sequence[_Picture]


@dataclass(frozen=True)
class _Suite:
    name: str
    worst: str
    """The outcome that the heading shows."""
    facts: Sequence[str]
    cause: str
    rows: Sequence[_Row]
    hidden: int
    """Cases that the page has no room for."""


def page(result: TestResult, pictures: Mapping[str, str]) -> str:
    """The report of a result.

    :param pictures: name of a picture among the suites' logs → address of a PNG.
    """
    room = _Room(CHARACTERS_IN_ALL, {name: url for name, url in pictures.items() if _ADDRESS.match(url)})
    return render(
        "lab.html.j2",
        result=result,
        heading="failed" if result.outcome != "passed" else "flaky" if result.flaky else "passed",
        grade_of=_GRADES,
        suites=[_suite(suite, room) for suite in result.suites],
        others=_others(result.suites, room),
    )


@dataclass
class _Room:
    """What may still be put on the page."""

    characters: int
    addresses: Mapping[str, str]
    pictures: int = PICTURES

    def text(self, text: str) -> str:
        """The end of a text, as far as there is room for it."""
        kept = text[-min(CHARACTERS, self.characters) :] if self.characters > 0 else ""
        self.characters -= len(kept)
        return kept if kept == text else f"… {len(text) - len(kept):,} characters before are in the logs\n{kept}"

    def picture(self, name: str) -> _Picture:
        """A picture, with its address if it has one and there is room for it."""
        address = self.addresses.get(name, "") if self.pictures else ""
        self.pictures -= bool(address)
        return _Picture(name, address)


def _suite(suite: SuiteResult, room: _Room) -> _Suite:
    count: Counter[str] = Counter(case.outcome for case in suite.cases)
    numbers = ", ".join(f"{count[outcome]} {word}" for outcome, (_, word) in _GRADES.items() if count[outcome])
    facts = [
        f"{suite.cpu} ({suite.accelerator})" if suite.cpu else "",
        f"kernel {suite.kernel}" if suite.kernel else "",
        *(f"{name} {value}" for name, value in suite.facts.items()),
        f"{suite.seconds:.1f} s",
        numbers or "no case",
    ]
    order = list(_GRADES)
    cases = sorted(suite.cases, key=lambda case: order.index(case.outcome))  # stable: otherwise as they ran
    return _Suite(
        name=suite.suite,
        worst="failed" if suite.outcome != "passed" else "flaky" if count["flaky"] else "passed",
        facts=[fact for fact in facts if fact],
        cause="" if count["failed"] else suite.cause,
        rows=[_row(case, room) for case in cases[:CASES]],
        hidden=max(0, len(cases) - CASES),
    )


def _row(case: Case, room: _Room) -> _Row:
    outputs = []
    if case.outcome != "passed":
        both = (("what it printed", case.detail), ("console meanwhile", case.console))
        outputs = [(title, room.text(text)) for title, text in both if text.strip()]
    return _Row(case, outputs, [room.picture(name) for name in case.pictures])


def _others(suites: Sequence[SuiteResult], room: _Room) -> list[_Picture]:
    """Pictures that no case names."""
    claimed = {name for suite in suites for case in suite.cases for name in case.pictures}
    names = [log.name for suite in suites for log in suite.logs]
    return [room.picture(name) for name in names if name in room.addresses and name not in claimed]
