"""groups.yaml: what users install together."""

from __future__ import annotations

from pydantic import Field

from config.models.base import Model, Name


class Group(Model):
    """Packages that users install together: dnf group install."""

    name: Name = Field(description="Identifier of the group: virtualization-host-environment")
    title: str = Field(description="What users read, and may write in place of the identifier")
    description: str = ""
    visible: bool = Field(default=True, description="False: only environments name it")
    mandatory: tuple[Name, ...] = Field(default=(), description="Binary packages that always come with it")
    default: tuple[Name, ...] = Field(default=(), description="Binary packages that come unless users say otherwise")
    optional: tuple[Name, ...] = Field(default=(), description="Binary packages that come only when users say so")

    @property
    def members(self) -> tuple[str, ...]:
        """Every binary package of it."""
        return self.mandatory + self.default + self.optional


class Category(Model):
    """A heading under which groups are shown."""

    name: Name
    title: str
    description: str = ""
    groups: tuple[Name, ...] = Field(description="Groups of this file")


class Environment(Model):
    """What a system is for: groups that the installer offers as one choice."""

    name: Name
    title: str
    description: str = ""
    groups: tuple[Name, ...] = Field(description="Groups of this file that it consists of")
    optional: tuple[Name, ...] = Field(default=(), description="Groups of this file that may be added")


class Groups(Model):
    """groups.yaml."""

    groups: tuple[Group, ...] = ()
    categories: tuple[Category, ...] = ()
    environments: tuple[Environment, ...] = ()
