"""What guests said as one HTML page, without script: suite by suite each case, with its console and its pictures.

Buildbot shows it inside its own page, so it is a fragment with styles of its own. Nothing of a result becomes markup: it is
escaped, and what a terminal or a browser would obey in it is taken out or made visible. A picture is shown only under an
address that the caller gives for its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from config.text import plain_text
from workers.results import Case, SuiteResult, TestResult
from workers.results.proof_html import STYLE

CASES = 2000
"""Cases of a suite that are shown, those that did not pass first; the result file holds more."""
CHARACTERS = 12_000
"""Of one output or console; its last ones."""
CHARACTERS_IN_ALL = 1_000_000
"""Of the whole page: a browser has to show it."""
PICTURES = 100

_WORDS = {
    "failed": ("BAD", "failed"),
    "flaky": ("VERIFY", "FLAKY"),
    "skipped": ("INFO", "skipped"),
    "passed": ("OK", "passed"),
}
_ADDRESS = re.compile(r"https?://|data:image/png;base64,")
_STYLE = f"""{STYLE}
.kitten-lab th:first-child{{width:6em}}.kitten-lab th.n{{width:5em}}.kitten-lab th.case{{width:40%}}
.kitten-lab td{{overflow-wrap:anywhere}}.kitten-lab tr.head>td{{border-bottom:0}}
.kitten-lab figure{{display:inline-block;margin:.4em 1em .4em 0;vertical-align:top}}
.kitten-lab img{{display:block;max-width:44em;width:100%;border:1px solid #d8dee4}}
"""


def page(result: TestResult, pictures: Mapping[str, str]) -> str:
    """The report of a result.

    :param pictures: name of a picture among the suites' logs → address of a PNG.
    """
    room = _Room(CHARACTERS_IN_ALL, {name: url for name, url in pictures.items() if _ADDRESS.match(url)})
    grade, word = _WORDS["failed" if result.outcome != "passed" else "flaky" if result.flaky else "passed"]
    parts = [
        f"<div class='kitten-proof kitten-lab'><style>{_STYLE}</style>",
        f"<h1><span class='g {grade}'>{word}</span> {_text(result.target)}: {_text(result.summary)}</h1>",
        f"<p>{_text(result.cause)}</p>" if result.cause else "",
        *(line for suite in result.suites for line in _suite(suite, room)),
        *_others(result.suites, room),
        "</div>\n",
    ]
    return "\n".join(part for part in parts if part)


@dataclass
class _Room:
    """What may still be put on the page."""

    characters: int
    pictures: Mapping[str, str]
    shown: int = 0

    def text(self, text: str) -> str:
        """The end of a text, as far as there is room for it."""
        kept = text[-min(CHARACTERS, self.characters) :] if self.characters > 0 else ""
        self.characters -= len(kept)
        return kept if kept == text else f"… {len(text) - len(kept):,} characters before are in the logs\n{kept}"

    def picture(self, name: str) -> str:
        """A picture with its name; its name alone where it has no address."""
        address = self.pictures.get(name)
        if address is None or self.shown >= PICTURES:
            return f"<p>picture <code>{_text(name)}</code></p>"
        self.shown += 1
        where, called = escape(address), _text(name)
        image = f"<img src='{where}' alt='{called}' loading='lazy'>"
        linked = f"<a href='{where}'>{image}</a>" if address.startswith("http") else image
        return f"<figure>{linked}<figcaption><code>{called}</code></figcaption></figure>"


def _suite(suite: SuiteResult, room: _Room) -> Iterator[str]:
    count: Counter[str] = Counter(case.outcome for case in suite.cases)
    worst = "failed" if suite.outcome != "passed" else "flaky" if count["flaky"] else "passed"
    numbers = ", ".join(f"{count[kind]} {word}" for kind, (_, word) in _WORDS.items() if count[kind])
    machine = f"{suite.cpu} ({suite.accelerator})" if suite.cpu else ""
    told = (f"{name} {value}" for name, value in suite.facts.items())
    facts = [
        machine,
        f"kernel {suite.kernel}" if suite.kernel else "",
        *told,
        f"{suite.seconds:.1f} s",
        numbers or "no case",
    ]
    yield f"<h2>{_grade(worst)} {_text(suite.suite)}</h2><p>{_text(', '.join(fact for fact in facts if fact))}</p>"
    if suite.cause and not count["failed"]:
        yield f"<p>{_text(suite.cause)}</p>"
    yield "<table><tr><th></th><th class='case'>case</th><th class='n'>s</th><th>why</th></tr>"
    order = list(_WORDS)
    rows = sorted(suite.cases, key=lambda case: order.index(case.outcome))  # stable: otherwise as they ran
    for case in rows[:CASES]:
        yield from _case(case, room)
    yield "</table>"
    if len(rows) > CASES:
        yield f"<p>and {len(rows) - CASES:,} more</p>"


def _case(case: Case, room: _Room) -> Iterator[str]:
    """One row, and below it what it said and showed."""
    more = []
    if case.outcome != "passed":
        for title, text in (("what it printed", case.detail), ("console meanwhile", case.console)):
            if text.strip():
                opened = " open" if case.outcome == "failed" else ""
                more.append(f"<details{opened}><summary>{title}</summary><pre>{_text(room.text(text))}</pre></details>")
    more += map(room.picture, case.pictures)
    code = f"<code>{_text(case.code)}</code> " if case.code else ""
    seconds = f"{case.seconds:.2f}" if case.seconds else ""
    yield f"<tr{' class=head' if more else ''}><td>{_grade(case.outcome)}</td><td>{_text(case.name)}</td>"
    yield f"<td class='n'>{seconds}</td><td>{code}{_text(case.reason)}</td></tr>"
    if more:
        yield f"<tr><td></td><td colspan='3'>{''.join(more)}</td></tr>"


def _others(suites: Sequence[SuiteResult], room: _Room) -> Iterator[str]:
    """Pictures that no case names."""
    claimed = {name for suite in suites for case in suite.cases for name in case.pictures}
    rest = [log.name for suite in suites for log in suite.logs if log.name in room.pictures and log.name not in claimed]
    if rest:
        yield f"<h2>Further pictures</h2>{''.join(map(room.picture, rest))}"


def _grade(outcome: str) -> str:
    grade, word = _WORDS[outcome]
    return f"<span class='g {grade}'>{word}</span>"


def _text(text: str) -> str:
    """Text as text: without what moves a terminal's cursor, and with a mark for each character that nobody sees."""
    return escape(plain_text(text))
