"""build.yaml: how RPMs are built; sources.yaml: where commits and tarballs come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from config.models.base import Flag, Model, Name


class Build(Model):
    """build.yaml: how RPMs are built, the same for every target."""

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
    provides: tuple[str, ...] = Field(
        default=(), description="BuildRequires that the sandbox tree satisfies without an RPM"
    )
    timeout_minutes: int = Field(default=60, ge=1, description="min for one rpmbuild on a native worker")


class Lookaside(Model):
    """A place that tarballs come from. Places are tried in order; the checksum in the file ``sources`` must match."""

    kind: Literal["folder", "http", "apt-source"] = Field(
        description="apt-source: the package's `upstream` from the host's own apt sources"
    )
    location: str = Field(
        default="",
        description="folder: a path. http: a URL template with {package}, {file}, {algorithm}, {hash}. apt-source: "
        "no location",
    )


class Sources(Model):
    """sources.yaml."""

    dist_git: str = Field(description="URL template of a package's git repository, with {package}")
    branches: tuple[Name, ...] = Field(description="Branches to follow, the preferred one first: a10s, c10s")
    lookaside: tuple[Lookaside, ...]
    gating_products: tuple[Name, ...] = Field(
        default=(),
        description="Product versions whose policies in a package's gating.yaml apply here. None: no policy applies, "
        "and every plan must pass",
    )
    tmt_distros: tuple[Name, ...] = Field(
        default=(), description="Values of `distro` in `adjust: when:`, when tmt runs a package's plans"
    )
    poll_seconds: int = Field(default=300, ge=2, description="s between two polls of a git repository")
