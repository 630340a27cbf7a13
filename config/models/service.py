"""web.yaml: the web UI and its permissions; workers.yaml: the worker pools; retention.yaml: how long things stay."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from config.models.base import Model, Name, Targets


class Role(Model):
    """A role of the web UI: its users and their permissions."""

    name: Name
    description: str
    users: tuple[Name, ...] = Field(default=(), description="Account names")
    may: tuple[
        Literal[
            "try",
            "force",
            "stop-own",
            "stop",
            "rebuild",
            "pause-workers",
            "schedulers",
            "override-gate",
            "everything",
        ],
        ...,
    ] = Field(
        description="Permissions of its users; everything only in a role with users. override-gate: let a package pass "
        "a rule of a stage's gate, with a reason that is recorded"
    )


class Web(Model):
    """web.yaml: Buildbot's web UI and its permissions."""

    title: Annotated[str, StringConstraints(max_length=18)] = Field(
        description="At most 18 characters; Buildbot replaces a longer title with its own name"
    )
    url: str = Field(description="Public address; {port} is replaced")
    port: int = Field(ge=0, le=65535, description="0: the first free port from 8010")
    worker_endpoint: str | None = Field(
        default=None,
        description="Twisted server endpoint for workers of other hosts: ssl:PORT:privateKey=…:certKey=…",
    )
    database: str = Field(default="sqlite:///state.sqlite", description="SQLAlchemy URL; {secret:NAME} is replaced")
    artifacts_url: str = Field(
        default="",
        description="Address at which people read artifacts. Empty: the master serves artifacts below the state folder",
    )
    roles: tuple[Role, ...]
    log_max_bytes: int = Field(default=64 * 1024 * 1024, ge=4096, description="bytes of one log; the rest is cut")
    keep_logs_days: int = Field(default=90, ge=1, description="days")


class WorkerPool(Model):
    """Workers of one kind. Workers that build have no key; only workers with the role publish sign."""

    name: Name
    roles: tuple[Literal["source", "build", "publish", "try"], ...] = Field(
        description="What its workers do. publish and try are never combined with another role"
    )
    targets: Targets = Targets("all")
    workers: tuple[Name, ...] = Field(description="Names of the workers, each in one pool only")
    connection: str | None = Field(
        default=None,
        description="Twisted client endpoint of the master: tls:HOST:PORT. None: processes on the master's host",
    )
    max_builds: int = Field(default=1, ge=1, description="Builds that one worker runs at a time")
    timeout_factor: float = Field(
        default=1.0, gt=0, description="Factor by which time limits are longer, for slow hardware"
    )
    state: str = Field(default="{state}", description="State folder on these workers; {state} is that of the master")


class Daily(Model):
    """A time of day."""

    hour: int = Field(ge=0, le=23, description="UTC")
    minute: int = Field(default=0, ge=0, le=59)


class Retention(Model):
    """retention.yaml: how long ``kitten clean`` keeps builds, sources and snapshots that are no longer needed."""

    minimum_age_hours: int = Field(
        default=24, ge=1, description="h. Nothing younger is removed, because a running or waiting build may read it"
    )
    builds_per_package: int = Field(default=3, ge=1, description="Newest builds to keep, for each package and target")
    keep_published: bool = Field(
        default=True, description="Keep builds whose packages are in a kept snapshot of a signed stage"
    )
    failed_days: int = Field(default=14, ge=1, description="days to keep a failed build and its log")
    try_days: int = Field(default=14, ge=1, description="days to keep sources and results of try builds")
    source_days: int = Field(default=14, ge=1, description="days to keep a source that no kept build was made from")
    snapshots: int = Field(default=20, ge=1, description="Newest snapshots to keep, including the one that users see")
    daily_days: int = Field(default=30, ge=0, description="days for which the last snapshot of each day is kept too")
    clean: Daily | None = Field(
        default=Daily(hour=6, minute=15),
        description="Time at which the service runs `kitten clean --yes` each day; null: only people start it",
    )
