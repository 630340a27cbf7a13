"""The refusal of a build by a rule of the gate: a module alone, because every module with rules imports it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why a build does not pass, and what to do."""

    rule: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what} → {self.hint}"
