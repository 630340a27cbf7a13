"""groups.yaml: packages that users install together."""

from __future__ import annotations

from pydantic import Field

from config.models.base import Model, Name


class Group(Model):
    """Packages that users install together with dnf group install."""

    name: Name = Field(description="Identifier of the group: virtualization-hypervisor")
    title: str = Field(description="Title for users, which dnf also accepts in place of the identifier")
    description: str = ""
    visible: bool = Field(default=True, description="False: users see it only as a part of environments")
    mandatory: tuple[Name, ...] = Field(default=(), description="Binary packages that are always installed with it")
    default: tuple[Name, ...] = Field(default=(), description="Binary packages that are installed by default")
    optional: tuple[Name, ...] = Field(default=(), description="Binary packages that are installed only on request")

    @property
    def members(self) -> tuple[str, ...]:
        """All binary packages of the group."""
        return self.mandatory + self.default + self.optional


class Category(Model):
    """A heading under which groups are shown."""

    name: Name
    title: str
    description: str = ""
    groups: tuple[Name, ...] = Field(description="Groups of this file")


class Environment(Model):
    """Groups that the installer offers as one choice: the purpose of a system."""

    name: Name
    title: str
    description: str = ""
    groups: tuple[Name, ...] = Field(description="Groups of this file that are installed with it")
    optional: tuple[Name, ...] = Field(default=(), description="Groups of this file that may be added")


class Groups(Model):
    """groups.yaml."""

    groups: tuple[Group, ...] = ()
    categories: tuple[Category, ...] = ()
    environments: tuple[Environment, ...] = ()
