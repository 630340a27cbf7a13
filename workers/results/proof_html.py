"""The proof as one HTML page without script: the functions that break a rule, with the code around each place.

The page is ``templates/proof.html.j2``. This module chooses what it shows, and in which order.
"""

from __future__ import annotations

from collections.abc import Iterable

from workers.results import Check, Place, VerifyResult
from workers.results.html import render
from workers.results.proof import findings

SHOWN = 200
"""Most functions of one finding on the page; the result file has more."""
SHOWN_IN_ALL = 2000
"""Most functions of all findings together, because a browser must be able to show the page."""


def page(result: VerifyResult) -> str:
    """Return the report of a result."""
    found = sorted(findings(result.checks), key=lambda check: (check.grade, check.file, check.rule))
    others = [check for check in result.checks if check.outcome != "failed"]
    return render(
        "proof.html.j2",
        result=result,
        findings=_with_places(found),
        files=sorted(result.files, key=lambda file: (-file.unframed - file.above, file.file)),
        others=[(check, check.places[:SHOWN]) for check in sorted(others, key=lambda check: (check.file, check.rule))],
    )


def _with_places(checks: Iterable[Check]) -> list[tuple[Check, tuple[Place, ...]]]:
    """Return each finding with as many of its places as the page has room for."""
    room, pairs = SHOWN_IN_ALL, []
    for check in checks:
        places = check.places[: min(SHOWN, room)]
        room -= len(places)
        pairs.append((check, places))
    return pairs
