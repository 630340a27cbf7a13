"""Configuration errors: file, line, key, what was found, what is allowed.

This module imports neither pydantic nor YAML: the command line imports it to recognize configuration errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST = 60


@dataclass(frozen=True, order=True)
class Problem:
    """One error to fix. ``line`` counts from 1; 0 is the file as a whole."""

    file: str
    line: int
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {f'{self.key}: ' if self.key else ''}found {self.found}, allowed: {self.allowed}"


class ConfigError(Exception):
    """A configuration that cannot be used. Has all problems, and prints one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def show(value: object) -> str:
    """Return a value as text for an error message: short, on one line."""
    match value:
        case None:
            return "nothing"
        case dict():
            return f"a mapping of {len(value)} keys" if value else "an empty mapping"
        case list():
            return f"a list of {len(value)}" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def one_of(names: Iterable[str], found: object = None) -> str:
    """Return the allowed names as text; the one that was probably meant comes first."""
    known = sorted(set(names))
    listed = ", ".join(known) or "none, as the site has no such entry"
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(found.casefold(), folded, n=1) if isinstance(found, str) else []
    return f"{folded[near[0]]}? (all: {listed})" if near else listed


def path_text(path: Iterable[str | int]) -> str:
    """Return a path in a document as text: ``targets[2].flags.isa``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:  # a line break in a key must not break the line that names it
            text += ("." if text else "") + (part if part.isprintable() else ascii(part)[1:-1])
    return text
