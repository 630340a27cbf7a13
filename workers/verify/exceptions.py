"""What the exemptions of a package amount to, as checks of their own: the list never outgrows its reasons."""

from __future__ import annotations

from collections.abc import Iterator

from config.exemptions import Exemptions
from workers.results import Check


def exemption_checks(exemptions: Exemptions) -> Iterator[Check]:
    """What the exemptions themselves amount to: in use, unused, expired."""
    for number, entry in enumerate(exemptions.entries):
        where = f"{exemptions.package}: {entry.rule} at {entry.where}"
        if number in exemptions.used:
            detail = f"in force until {entry.until}: {entry.reason}"
            yield Check(rule="exception", file=where, outcome="passed", level="INFO", detail=detail)
        elif number in exemptions.expired_used:
            detail = f"expired on {entry.until}: mend what it excused, or give it a new date ({entry.reason})"
            yield Check(rule="exception", file=where, outcome="failed", detail=detail)
        else:
            detail = "covers nothing here: remove it, if it covers nothing on any target"
            yield Check(rule="exception", file=where, outcome="passed", level="INFO", detail=detail)
