"""workers.yaml: who does the work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.models.base import Model, Name, Targets


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
