"""sources.yaml: where commits and tarballs come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.models.base import Model, Name


class Lookaside(Model):
    """One place tarballs come from. Asked in order; the checksum of the ``sources`` file decides."""

    kind: Literal["folder", "http", "apt-source"] = Field(
        description="apt-source: the package's `upstream` from the host's own apt sources"
    )
    location: str = Field(
        default="",
        description="folder: a path. http: a URL template of {package}, {file}, {algorithm}, {hash}. apt-source: none",
    )


class Sources(Model):
    """sources.yaml."""

    dist_git: str = Field(description="URL template of a package's repository: {package}")
    branches: tuple[Name, ...] = Field(description="Branches to follow, the preferred first: a10s, c10s")
    lookaside: tuple[Lookaside, ...]
    gating_products: tuple[Name, ...] = Field(
        default=(),
        description="Product versions whose policies in a package's gating.yaml count here. None: no policy counts, and "
        "every plan must pass",
    )
    tmt_distros: tuple[Name, ...] = Field(
        default=(), description="What plans find as `distro` in `adjust: when:`, when tmt runs a package's plans"
    )
    poll_seconds: int = Field(default=300, ge=2, description="s between two looks at a repository")
