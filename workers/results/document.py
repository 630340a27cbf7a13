"""What all result files share: version, outcome, artifacts, and how a document is written and read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

VERSION: Literal[2] = 2

Outcome = Literal["passed", "failed", "cannot-run"]

_NAMES_IN_VERSION_1 = {"way_out": "hint"}
_OUTCOMES_IN_VERSION_1 = {
    "held": "passed",
    "not-held": "failed",
    "violated": "failed",
    "pass": "passed",
    "fail": "failed",
    "skip": "skipped",
}
"""Version 1 is read until version 3 of the result files: builds in an artifact store keep theirs."""


class Record(BaseModel):
    """A frozen entry of a result file or of a publication's record.

    Unknown keys are errors, so an older program cannot misread a newer file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class Artifact(Record):
    """A file that a command made."""

    name: str
    url: str
    sha256: str
    size: int


class Result(Record):
    """The fields that every command reports."""

    version: Literal[2] = VERSION
    command: str
    outcome: Outcome = "passed"
    summary: str
    seconds: float = 0.0
    cause: str = ""
    """If the command did not pass: the first line that a person should read."""
    hint: str = ""
    """If the command could not run: what to do."""

    def write(self, path: Path) -> None:
        """Write the document to ``path`` by one rename: a reader sees all of it or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a result.

        :raises ValueError: if the text is no result of this kind and version; the message is one line.
        """
        try:
            return cls.model_validate_json(_current(text))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "document"
            raise ValueError(f"not a result of {cls.__name__}, version {VERSION}: {where}: {first['msg']}") from None


def _current(text: str) -> str:
    """Return a result of version 1 as one of version 2; return any other text unchanged."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("version") != 1:
            return text
        return json.dumps({**_from_version_1(document), "version": VERSION})
    except (ValueError, RecursionError):
        return text  # the caller's own parser says what is wrong


def _from_version_1(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_version_1(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {_NAMES_IN_VERSION_1.get(name, name): _from_version_1(item) for name, item in value.items()}
    outcome = renamed.get("outcome")
    if isinstance(outcome, str):
        renamed["outcome"] = current_outcome(outcome)
    return renamed


def current_outcome(word: str) -> str:
    """Return an outcome as version 2 names it: ``passed`` for ``held`` or ``pass``; other words stay."""
    return _OUTCOMES_IN_VERSION_1.get(word, word)
