"""The proof as one HTML page, without script: which function of which file breaks what, and the code around it.

The page is ``templates/proof.html.j2``. What is here chooses what it shows, and in which order.
"""

from __future__ import annotations

from collections.abc import Iterable

from workers.results import Check, Place, VerifyResult
from workers.results.html import render
from workers.results.proof import findings

SHOWN = 200
"""Functions a file's finding shows; the result file holds more."""
SHOWN_IN_ALL = 2000
"""Of all findings: a browser has to show them."""


def page(result: VerifyResult) -> str:
    """The report of a result."""
    found = sorted(findings(result.checks), key=lambda check: (check.grade, check.file, check.rule))
    others = [check for check in result.checks if check.outcome != "failed"]
    return render(
        "proof.html.j2",
        result=result,
        findings=_with_places(found),
        files=sorted(result.files, key=lambda file: (-file.unframed - file.above, file.file)),
        others=[(check, check.places[:SHOWN]) for check in sorted(others, key=lambda check: (check.file, check.rule))],
    )


def _with_places(found: Iterable[Check]) -> list[tuple[Check, tuple[Place, ...]]]:
    """Each finding with the places that there is room for."""
    room, shown = SHOWN_IN_ALL, []
    for check in found:
        places = check.places[: min(SHOWN, room)]
        room -= len(places)
        shown.append((check, places))
    return shown
