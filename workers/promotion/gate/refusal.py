"""What a gate says of a build that does not pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why a build does not pass."""

    rule: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what} → {self.hint}"
