"""retention.yaml: how long things stay."""

from __future__ import annotations

from pydantic import Field

from config.models.base import Model


class Daily(Model):
    """A time of day."""

    hour: int = Field(ge=0, le=23, description="UTC")
    minute: int = Field(default=0, ge=0, le=59)


class Retention(Model):
    """retention.yaml: how long what no longer serves anybody stays; ``kitten clean`` keeps to it."""

    minimum_age_hours: int = Field(
        default=24, ge=1, description="h. Nothing younger is removed: a build that runs or waits may read it"
    )
    builds_per_package: int = Field(default=3, ge=1, description="Newest builds that stay, of a package on a target")
    keep_published: bool = Field(
        default=True, description="Builds stay while a kept snapshot of a signed stage shows packages of theirs"
    )
    failed_days: int = Field(default=14, ge=1, description="days a failed build and its log stay")
    try_days: int = Field(default=14, ge=1, description="days sources and results of try builds stay")
    source_days: int = Field(default=14, ge=1, description="days a source stays that no kept build was made from")
    snapshots: int = Field(default=20, ge=1, description="Newest snapshots that stay, the one users see included")
    daily_days: int = Field(default=30, ge=0, description="days of which the last snapshot each stays as well")
    clean: Daily | None = Field(
        default=Daily(hour=6, minute=15),
        description="When the service runs `kitten clean --yes`, each day; null: nobody but a person starts it",
    )
