"""The proof as one HTML page, without script: which function of which file breaks what, and the code around it.

Buildbot shows it inside its own page, so it is a fragment with styles of its own. Everything from a package is escaped: a
symbol may be called anything.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from config.text import plain_text
from workers.results import Check, FileProof, Place, VerifyResult
from workers.results.proof import count, findings

SHOWN = 200
"""Functions a file's finding shows; the result file holds more."""
SHOWN_IN_ALL = 2000
"""Of all findings: a browser has to show them."""

STYLE = """
.kitten-proof{font:14px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff;padding:1em;max-width:110em}
.kitten-proof h1{font-size:1.35em;margin:0 0 .2em}.kitten-proof h2{font-size:1.1em;margin:1.4em 0 .4em}
.kitten-proof table{border-collapse:collapse;width:100%;font-size:1em}.kitten-proof p{margin:.2em 0 .6em}
.kitten-proof th,.kitten-proof td{text-align:left;padding:.25em .7em;border-bottom:1px solid #d8dee4;vertical-align:top}
.kitten-proof td.n,.kitten-proof th.n{text-align:right;font-variant-numeric:tabular-nums}
.kitten-proof code,.kitten-proof pre{font:12.5px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
.kitten-proof pre{background:#f6f8fa;padding:.6em .8em;margin:.4em 0;overflow-x:auto;white-space:pre}
.kitten-proof pre mark{background:#ffd8d3;color:inherit;display:inline-block;min-width:100%}
.kitten-proof .g{display:inline-block;min-width:4.6em;padding:0 .4em;text-align:center;border-radius:3px;color:#fff;font-size:.82em}
.kitten-proof .BAD{background:#b42318}.kitten-proof .VERIFY{background:#b54708}
.kitten-proof .INFO{background:#475467}.kitten-proof .OK{background:#067647}
.kitten-proof .bar{display:inline-block;width:7em;height:.7em;background:#b42318;vertical-align:middle;margin-right:.5em}
.kitten-proof .bar i{display:block;height:100%;background:#067647}
.kitten-proof details{margin:.3em 0}.kitten-proof summary{cursor:pointer}
"""


def escape(text: str) -> str:
    """Return text as text for a page: no markup, and a mark for each character that nobody sees."""
    return html.escape(plain_text(text))


def page(result: VerifyResult) -> str:
    """The report of a result."""
    found = findings(result.checks)
    grade = "OK" if result.outcome == "passed" else "BAD"
    parts = [
        f"<div class='kitten-proof'><style>{STYLE}</style>",
        f"<h1><span class='g {grade}'>{'proven' if grade == 'OK' else 'not proven'}</span> ",
        f"{escape(result.target)}: {escape(result.summary)}</h1>",
        *_findings(found),
        *_files(result.files),
        *_others(result.checks),
        "</div>\n",
    ]
    return "\n".join(parts)


def _findings(found: Sequence[Check]) -> Iterable[str]:
    if not found:
        return
    yield f"<h2>{count(len(found), 'finding')}</h2>"
    room = SHOWN_IN_ALL
    for check in sorted(found, key=lambda check: (check.grade, check.file, check.rule)):
        shown = check.places[: min(SHOWN, room)]
        room -= len(shown)
        yield f"<details open><summary>{_grade(check)} <b>{escape(check.rule)}</b> <code>{escape(check.file)}</code>"
        yield f"<br>{escape(check.detail)}</summary>"
        yield from map(_place, shown)
        if len(check.places) > len(shown):
            yield f"<p>and {len(check.places) - len(shown):,} more</p>"
        yield "</details>"


def _place(place: Place) -> str:
    """One function, with the disassembly around what is wrong and how it was compiled."""
    where = f"<b><code>{escape(place.function)}</code></b> at {place.address:#x}"
    code = "\n".join(_code(line) for line in place.excerpt)
    compiled = f"<p>compiled by <code>{escape(place.compiled_by)}</code></p>" if place.compiled_by else ""
    body = f"<pre>{code}</pre>" if code else ""
    return f"<details{' open' if code else ''}><summary>{where}: {escape(place.detail)}</summary>{body}{compiled}</details>"


def _code(line: str) -> str:
    """A line of disassembly; the one that is meant begins with an arrow."""
    return f"<mark>{escape(line)}</mark>" if line.startswith("=>") else escape(line)


def _files(files: Sequence[FileProof]) -> Iterable[str]:
    if not files:
        return
    yield "<h2>Files</h2><table><tr><th>file</th><th>frame pointers</th><th class='n'>framed</th><th class='n'>no frame</th>"
    yield "<th class='n'>excused</th><th class='n'>units with the flags</th><th>level</th><th class='n'>above</th>"
    yield "<th class='n'>dispatched</th><th class='n'>code, bytes</th></tr>"
    for file in sorted(files, key=lambda file: (-file.unframed - file.above, file.file)):
        wanted = file.framed + file.unframed + file.excused
        share = 100 * (file.framed + file.excused) // wanted if wanted else 100
        bar = f"<span class='bar'><i style='width:{share}%'></i></span>{share} %" if file.functions else "–"
        numbers = (file.framed, file.leaf, file.excused, file.units)
        cells = "".join(f"<td class='n'>{number:,}</td>" for number in numbers)
        tail = "".join(f"<td class='n'>{number:,}</td>" for number in (file.above, file.dispatched, file.code_bytes))
        yield f"<tr><td><code>{escape(file.file)}</code></td><td>{bar}</td>{cells}<td>{escape(file.level)}</td>{tail}</tr>"
    yield "</table>"


def _others(checks: Sequence[Check]) -> Iterable[str]:
    """What held and what was skipped, folded away."""
    rest = [check for check in checks if check.outcome != "failed"]
    if not rest:
        return
    yield f"<details><summary><h2 style='display:inline'>{len(rest):,} checks that held or were skipped</h2></summary><table>"
    for check in sorted(rest, key=lambda check: (check.file, check.rule)):
        why = f"skipped: {check.reason} " if check.reason else ""
        named = ", ".join(f"{place.function} ({place.detail})" for place in check.places[:SHOWN])
        shown = f"<br><small>{escape(named)}</small>" if named else ""
        yield f"<tr><td>{_grade(check)}</td><td>{escape(check.rule)}</td><td><code>{escape(check.file)}</code></td>"
        yield f"<td>{escape(why + check.detail)}{shown}</td></tr>"
    yield "</table></details>"


def _grade(check: Check) -> str:
    return f"<span class='g {check.grade}'>{check.grade}</span>"
