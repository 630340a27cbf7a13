"""The report of ``kitten test`` as one HTML page without script: the cases of each suite, with console and pictures.

The page is ``templates/lab.html.j2``. This module chooses what it shows, and in which order. A picture is shown only if
the caller gives an address for its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.results import Case, SuiteResult, TestResult
from workers.results.html import render

CASES = 2000
"""Most cases of a suite on the page; those that did not pass come first. The result file has all."""
CHARACTERS = 12_000
"""Most characters of one output or console: its end."""
CHARACTERS_IN_ALL = 1_000_000
"""Most characters of all outputs together, because a browser must be able to show the page."""
PICTURES = 100
"""Most pictures on the page."""

_GRADES = {
    "failed": ("BAD", "failed"),
    "flaky": ("VERIFY", "FLAKY"),
    "skipped": ("INFO", "skipped"),
    "passed": ("OK", "passed"),
}
"""Outcome → its grade and the word on the page, the worst first."""
_ADDRESS = re.compile(r"https?://|data:image/png;base64,")


@dataclass(frozen=True)
class _Picture:
    name: str
    address: str
    """Empty: the page shows only the name."""


@dataclass(frozen=True)
class _Row:
    """A case with its outputs and pictures."""

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
    """Number of cases that the page leaves out."""


def page(result: TestResult, pictures: Mapping[str, str]) -> str:
    """Return the report of a result.

    :param pictures: name of a picture among the suites' logs → address of a PNG.
    """
    room = _Room(CHARACTERS_IN_ALL, {name: url for name, url in pictures.items() if _ADDRESS.match(url)})
    return render(
        "lab.html.j2",
        result=result,
        heading="failed" if result.outcome != "passed" else "flaky" if result.flaky else "passed",
        grade_of=_GRADES,
        suites=[_suite(suite, room) for suite in result.suites],
        others=_other_pictures(result.suites, room),
    )


@dataclass
class _Room:
    """The room that is left on the page."""

    characters: int
    addresses: Mapping[str, str]
    pictures: int = PICTURES

    def text(self, text: str) -> str:
        """Return the end of a text, as much as fits, and count it."""
        kept = text[-min(CHARACTERS, self.characters) :] if self.characters > 0 else ""
        self.characters -= len(kept)
        return kept if kept == text else f"… {len(text) - len(kept):,} characters before are in the logs\n{kept}"

    def picture(self, name: str) -> _Picture:
        """Return a picture, with its address if it has one and the page has room for it."""
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
    cases = sorted(suite.cases, key=lambda case: order.index(case.outcome))  # stable: same outcome, order of the run
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
        both = (("output", case.detail), ("console during the test", case.console))
        outputs = [(title, room.text(text)) for title, text in both if text.strip()]
    return _Row(case, outputs, [room.picture(name) for name in case.pictures])


def _other_pictures(suites: Sequence[SuiteResult], room: _Room) -> list[_Picture]:
    """Return the pictures that no case names."""
    claimed = {name for suite in suites for case in suite.cases for name in case.pictures}
    names = [log.name for suite in suites for log in suite.logs]
    return [room.picture(name) for name in names if name in room.addresses and name not in claimed]
