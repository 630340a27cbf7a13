"""packages/NAME.yaml: one source package in each file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from config.hardware import FILE
from config.models.base import Model, Name, Targets
from config.nevra import is_debug, without_debug


class Modification(Model):
    """What the distribution changes in a package, for the public list of modifications."""

    branch: Name = Field(description="Branch of the modified source: a10s")
    summary: str = Field(description="What changes for users")


class Exemption(Model):
    """A finding that the proof lets pass, with a place, a reason and a last day."""

    rule: Name = Field(description="The rule of the proof")
    where: str = Field(description="Path of the installed file, or path:symbol, as a glob")
    reason: Annotated[str, StringConstraints(min_length=10)] = Field(description="Why, in at least 10 characters")
    until: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")] = Field(
        description="YYYY-MM-DD; after that day the rule applies again"
    )


class HardwareList(Model):
    """Devices that the package, a kernel, must support."""

    list: Annotated[str, StringConstraints(pattern=FILE)] = Field(
        description="hardware/NAME.tsv in the site's folder: columns pci_id, driver, device"
    )
    targets: Targets = Targets("all")


class SourcePackage(Model):
    """One source package: packages/NAME.yaml."""

    name: Name
    description: str = ""
    repository: Name | None = Field(
        default=None,
        description="Repository of the source package, and of binary packages that match no rule of repositories.yaml",
    )
    placement: Mapping[Name, Name] = Field(
        default_factory=dict, description="Binary package → its repository, if it is another one"
    )
    binaries: tuple[Name, ...] = Field(
        default=(),
        description="Binary packages that the spec makes on any target. The spec is checked before the build, and an "
        "unlisted package is an error. Empty: not recorded, and not checked",
    )
    replaces: tuple[Name, ...] = Field(
        default=(),
        description="Binary packages of other source packages. Its own packages may have their names, provide them or "
        "obsolete them, although users have them",
    )
    targets: Targets = Targets("all")
    suites: tuple[Name, ...] = Field(default=(), description="Suites that run in addition to those of the target")
    upstream: str | None = Field(
        default=None, description="Debian source package with the same tarball, for lookaside kind apt-source"
    )
    modification: Modification | None = None
    exemptions: tuple[Exemption, ...] = ()
    hardware: tuple[HardwareList, ...] = ()
    default: bool = Field(default=True, description="False: built only if it is named")

    def strays(self, names: Collection[str]) -> list[str]:
        """Return the names that ``binaries`` does not list, without debug packages of listed ones, sorted."""
        owners = {self.name, *self.binaries}
        debug = {name for name in names if is_debug(name) and without_debug(name) in owners}
        return sorted({*names} - {*self.binaries} - debug)
