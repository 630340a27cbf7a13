"""What is wrong with a configuration, said so that it can be mended: file, line, key, what was found, what is allowed.

Light on purpose (no pydantic, no YAML): the command line imports it to tell a configuration error from a defect.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST = 60


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to mend. ``line`` counts from 1; 0: the file as a whole."""

    file: str
    line: int
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {f'{self.key}: ' if self.key else ''}found {self.found}, allowed: {self.allowed}"


class ConfigError(Exception):
    """A configuration that cannot be used, with everything that is wrong with it; prints one line for each problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def show(value: object) -> str:
    """A value as a problem names it: short, on one line."""
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
    """The names that are allowed, the one that was probably meant first."""
    known = sorted(set(names))
    listed = ", ".join(known) or "none: there are no such things yet"
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(found.casefold(), folded, n=1) if isinstance(found, str) else []
    return f"{folded[near[0]]}? (all: {listed})" if near else listed


def dotted(path: Iterable[str | int]) -> str:
    """A path into a document as people write it: ``targets[2].flags.isa``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:  # a line break in a key must not break the line that names it
            text += ("." if text else "") + (part if part.isprintable() else ascii(part)[1:-1])
    return text
