"""Packages: the day on which an exemption ends is one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

from config.positions import Document
from config.problems import Problem, show


def check(packages: Sequence[Document]) -> Iterator[Problem]:
    """Exemptions whose ``until`` is no day of the calendar."""
    for package in packages:
        for place, item in package.mappings("exemptions"):
            until = item.get("until")
            if isinstance(until, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", until):  # else the model says so
                try:
                    date.fromisoformat(until)
                except ValueError:
                    yield package.problem((*place, "until"), show(until), "a day of the calendar: YYYY-MM-DD")
