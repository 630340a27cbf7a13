"""Retention: a time that the minimum age would lengthen says something that is not so."""

from __future__ import annotations

from collections.abc import Iterator

from config.checks.names import Sections
from config.problems import Problem


def check(sections: Sections) -> Iterator[Problem]:
    """Days that are shorter than the hours for which everything stays."""
    if not (retention := sections.get("retention")):
        return
    hours = retention.at("minimum_age_hours")
    if not isinstance(hours, int):
        return
    for key in ("failed_days", "try_days", "source_days"):
        if isinstance(days := retention.at(key), int) and 0 < days * 24 < hours:
            yield retention.problem(
                (key,), f"{days}, less than minimum_age_hours: {hours}", f"at least {-(-hours // 24)}"
            )
