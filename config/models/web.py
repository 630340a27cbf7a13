"""web.yaml: the web UI, and who may do what there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from config.models.base import Model, Name


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
