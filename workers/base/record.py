"""What result files and records of publications have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Frozen; unknown keys are refused, so that a newer file is not half understood."""

    model_config = ConfigDict(frozen=True, extra="forbid")
