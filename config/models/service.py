"""web.yaml: the web UI and its permissions; workers.yaml: the worker pools; retention.yaml: how long things stay."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from config.models.base import Model, Name, Targets


class Role(Model):
    """Who may act, and how."""

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
        description="What its users may do; everything only for a role with users. override-gate: let a build pass a rule "
        "of a stage's gate, for a reason that is kept"
    )


class Web(Model):
    """web.yaml: the Buildbot web UI and who may do what there."""

    title: Annotated[str, StringConstraints(max_length=18)] = Field(
        description="Buildbot shows its own name in place of a title longer than 18 characters"
    )
    url: str = Field(description="Public address; {port} is filled in")
    port: int = Field(ge=0, le=65535, description="0: the first free port from 8010")
    worker_endpoint: str | None = Field(
        default=None,
        description="Twisted server endpoint for workers of other hosts: ssl:PORT:privateKey=…:certKey=…",
    )
    database: str = Field(default="sqlite:///state.sqlite", description="SQLAlchemy URL; {secret:NAME} is filled in")
    artifacts_url: str = Field(
        default="",
        description="Where people read artifacts. Empty: the master serves them if they are below the state folder",
    )
    roles: tuple[Role, ...]
    log_max_bytes: int = Field(default=64 * 1024 * 1024, ge=4096, description="bytes of one log; what exceeds is cut")
    keep_logs_days: int = Field(default=90, ge=1, description="days")


class WorkerPool(Model):
    """Workers of one kind. A worker that builds has no key; only ``publish`` signs."""

    name: Name
    roles: tuple[Literal["source", "build", "publish", "try"], ...] = Field(
        description="What its workers do. publish and try stand alone"
    )
    targets: Targets = Targets("all")
    workers: tuple[Name, ...] = Field(description="Names of the workers, each in one pool only")
    connection: str | None = Field(
        default=None,
        description="Twisted client endpoint of the master: tls:HOST:PORT. None: processes beside the master",
    )
    max_builds: int = Field(default=1, ge=1, description="Builds one of these workers runs at a time")
    timeout_factor: float = Field(default=1.0, gt=0, description="Slow hardware gets this much more time")
    state: str = Field(default="{state}", description="State folder on these workers; {state} is the master's own")


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
