"""repositories.yaml: the repositories, their folders, and the packages that belong in them."""

from __future__ import annotations

from pydantic import Field

from config.models.base import Glob, Model, Name, Targets


class Repository(Model):
    """One repository of the distribution, with its repositories of debuginfo and source packages."""

    name: Name
    targets: Targets = Targets("all")
    published: bool = Field(default=True, description="False: only for buildroots (devel)")
    description: str = ""


class Layout(Model):
    """Folders below the published root. ``{repository}`` and ``{arch}`` are replaced."""

    root: str = Field(description="Top folder of the distribution: 10-kitten")
    packages: str = Field(default="{repository}/{arch}/os", description="Folder of the binary packages")
    debuginfo: str = Field(default="{repository}/debug/{arch}", description="Folder of the debuginfo packages")
    source: str = Field(default="{repository}/Source", description="Folder of the source packages")


class Rule(Model):
    """The repository of binary packages, by their names. The first matching rule decides."""

    binary: Glob = Field(default="*", description="Binary packages, as a glob: *-devel")
    source: Glob = Field(default="*", description="Their source packages, as a glob: spice*")
    targets: Targets = Targets("all")
    repository: Name = Field(description="Repository in which they are published")
    description: str = Field(default="", description="Why, for people")


class Required(Model):
    """Binary packages that users must find in a repository; ``kitten contents`` checks this."""

    repository: Name = Field(description="Repository in which they must be")
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
        description="Repositories of binary packages that are not published yet and not in `placement` of their "
        "package",
    )
    default: Name | None = Field(
        default=None,
        description="Repository of binary packages that match no rule and whose package names no repository. None: "
        "they are an error before the build",
    )
