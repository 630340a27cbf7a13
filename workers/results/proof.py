"""The proof in words: one line for a build's page, and a page for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from config.models import Target
from workers.results import Check

_MARKS = {"held": "ok", "violated": "VIOLATED", "skipped": "skipped"}


def findings(checks: Sequence[Check]) -> tuple[Check, ...]:
    """The checks that did not hold."""
    return tuple(check for check in checks if check.outcome == "violated")


def summary(subject: str, packages: int, target: Target, checks: Sequence[Check]) -> str:
    """One line: what was checked, and how many findings there are."""
    elf_files = sum(check.rule == "elf-machine" for check in checks)
    units = sum(
        int(check.detail.split()[0]) for check in checks if check.rule == "producer" and check.outcome == "held"
    )
    skipped = sum(check.outcome == "skipped" for check in checks)
    parts = [
        _count(packages, "package"),
        _count(elf_files, "ELF file"),
        f"{_count(units, 'compile unit')} {'carries' if units == 1 else 'carry'} {' '.join(target.flags.compiler)}",
        _count(len(findings(checks)), "finding"),
    ]
    if skipped:
        parts.append(f"{skipped} skipped")
    return f"{subject}: {', '.join(parts)}"


def cause(check: Check) -> str:
    """A finding in one line."""
    return ": ".join(part for part in (check.file, check.rule, check.detail) if part)


def text(checks: Sequence[Check]) -> str:
    """The whole proof, a paragraph for each file; files with findings first."""
    by_file = sorted(checks, key=lambda check: check.file)
    paragraphs = []
    for file, group in groupby(by_file, key=lambda check: check.file):
        of_file = list(group)
        lines = [
            f"  {_MARKS[check.outcome]:<8} {check.rule}{f' ({check.reason})' if check.reason else ''}"
            f"{f': {check.detail}' if check.detail else ''}"
            for check in of_file
        ]
        paragraphs.append((not findings(of_file), file, "\n".join([file or "(everything)", *lines])))
    return "\n".join(paragraph for _, _, paragraph in sorted(paragraphs))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
