"""build.yaml: how RPMs are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from config.models.base import Flag, Model


class Build(Model):
    """build.yaml: how RPMs are made, the same for every target."""

    backend: Literal["sandbox", "mock"] = Field(
        description="sandbox: any Debian-family host. mock: Enterprise Linux and Fedora hosts"
    )
    dist: str = Field(description="%dist, e.g. .el10")
    vendor: str = Field(description="%vendor")
    bugurl: str = Field(default="", description="%bugurl")
    optflags: tuple[Flag, ...] = Field(description="The distribution's compiler flags, before the target's")
    ldflags: tuple[Flag, ...] = Field(description="The distribution's linker flags")
    macros: Mapping[str, str] = Field(default_factory=dict, description="Further RPM macros, without the %")
    suite: str = Field(default="trixie", description="Debian suite of the sandbox tree")
    provides: tuple[str, ...] = Field(default=(), description="BuildRequires that the sandbox tree itself satisfies")
    timeout_minutes: int = Field(default=60, ge=1, description="min for one rpmbuild on a native worker")
