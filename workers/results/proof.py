"""The proof as text: one line for a build's page, and a text with all checks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from config.text import plain_line
from workers.results import Check, FileProof

NAMED = 5
"""Most functions of a finding in the text; the result file and the HTML report have more."""

_ORDER = {"BAD": 0, "VERIFY": 1, "INFO": 2, "OK": 3}


def findings(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Return the failed checks."""
    return tuple(check for check in checks if check.outcome == "failed")


def summary(level: str, files: Sequence[FileProof], checks: Sequence[Check]) -> str:
    """Return the proof in one line: ``212 functions framed of 212, x86-64-v2 proven, 0 findings``."""
    framed = sum(file.framed for file in files)
    wanted = framed + sum(file.unframed + file.excused for file in files)
    found = findings(checks)
    above = sum(file.above for file in files)
    decoded = any(file.code_bytes for file in files)
    broken_level = any(check.rule == "isa-level" for check in found)
    levels = {file.level for file in files}
    level = levels.pop() if len(levels) == 1 else level  # files may all have another level: firmware, for example
    parts = [f"{framed} {'function' if wanted == 1 else 'functions'} framed of {wanted}"] if wanted else []
    if above:
        parts.append(f"{count(above, 'function')} above {level}")
    elif decoded:
        parts.append(f"{level} {'not proven' if broken_level else 'proven'}")
    else:
        parts.append("no code")
    parts.append(count(len(found), "finding"))
    if skipped := sum(check.outcome == "skipped" for check in checks):
        parts.append(f"{skipped} skipped")
    return ", ".join(parts)


def cause(check: Check) -> str:
    """Return a finding in one line."""
    return ": ".join(part for part in (check.file, check.rule, check.detail) if part)


def text(checks: Sequence[Check]) -> str:
    """Return the whole proof, safe for a terminal: a paragraph for each file, files with findings first."""
    by_file = sorted(checks, key=lambda check: check.file)
    paragraphs = []
    for file, group in groupby(by_file, key=lambda check: check.file):
        of_file = sorted(group, key=lambda check: (_ORDER[check.grade], check.rule))
        lines = []
        for check in of_file:
            lines.append(f"  {check.grade:<6} {plain_line(line(check))}")
            if check.outcome == "failed":
                lines += [
                    f"           {plain_line(f'{place.function}: {place.detail}')}" for place in check.places[:NAMED]
                ]
                if len(check.places) > NAMED:
                    lines.append(f"           and {len(check.places) - NAMED} more")
        paragraphs.append((_ORDER[of_file[0].grade], file, "\n".join([plain_line(file) or "(everything)", *lines])))
    return "\n".join(paragraph for _, _, paragraph in sorted(paragraphs))


def line(check: Check) -> str:
    """Return a check in one line without its file: rule, reason of a skip, detail."""
    reason = f" (skipped: {check.reason})" if check.reason else ""
    return f"{check.rule}{reason}{f': {check.detail}' if check.detail else ''}"


def count(number: int, thing: str) -> str:
    """Return a number with its noun: ``1 finding``, ``2 findings``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
