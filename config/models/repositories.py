"""repositories.yaml: the repositories, their folders, and what belongs into them."""

from __future__ import annotations

from pydantic import Field

from config.models.base import Glob, Model, Name, Targets


class Repository(Model):
    """One repository of the distribution, with its debuginfo and source companions."""

    name: Name
    targets: Targets = Targets("all")
    published: bool = Field(default=True, description="False: buildroot only (devel)")
    description: str = ""


class Layout(Model):
    """Folders below the published root. ``{repository}`` and ``{arch}`` are filled in."""

    root: str = Field(description="Top folder of the distribution: 10-kitten")
    packages: str = Field(default="{repository}/{arch}/os", description="The packages themselves")
    debuginfo: str = Field(default="{repository}/debug/{arch}", description="The debuginfo companion")
    source: str = Field(default="{repository}/Source", description="The source companion")


class Rule(Model):
    """Where binary packages belong, by their names. The first rule that fits decides."""

    binary: Glob = Field(default="*", description="Binary package, as a glob: *-devel")
    source: Glob = Field(default="*", description="Source package it is made from, as a glob: spice*")
    targets: Targets = Targets("all")
    repository: Name = Field(description="Where such packages are published")
    description: str = Field(default="", description="Why, for people")


class Required(Model):
    """Binary packages that users must find in a repository; ``kitten contents`` looks for them."""

    repository: Name = Field(description="Where they must be")
    packages: tuple[Name, ...] = Field(description="Names of binary packages")
    targets: Targets = Targets("all")
    description: str = Field(default="", description="Why, for people")


class Repositories(Model):
    """repositories.yaml."""

    layout: Layout
    repositories: tuple[Repository, ...]
    required: tuple[Required, ...] = ()
    rules: tuple[Rule, ...] = Field(
        default=(),
        description="Where binary packages belong that their package does not place and that are not published yet",
    )
    default: Name | None = Field(
        default=None,
        description="Repository of what no rule fits and whose package names none. Without: that is an error before the build",
    )
