"""packages/NAME.yaml: one source package each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from config.hardware import FILE
from config.models.base import Model, Name, Targets
from config.nevra import is_debug, without_debug


class Modification(Model):
    """Which declarative modification a package carries, for the public list."""

    branch: Name = Field(description="Branch of the modified source: a10s")
    summary: str = Field(description="What is different, for users")


class Exemption(Model):
    """One thing the proof lets pass, where, why and until when."""

    rule: Name = Field(description="The rule of the proof")
    where: str = Field(description="Path in the package, or path:symbol, as a glob")
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
        default=None, description="Of its source package, and of binary packages that no rule of repositories.yaml fits"
    )
    placement: Mapping[Name, Name] = Field(
        default_factory=dict, description="Binary package → its repository, if another"
    )
    binaries: tuple[Name, ...] = Field(
        default=(),
        description="What the spec makes on any target, checked against it before anything is built: a stray package "
        "is an error there. Empty: not recorded; what the spec makes is taken as it comes",
    )
    replaces: tuple[Name, ...] = Field(
        default=(),
        description="Binary packages of other source packages that its own may be called, provide or obsolete although "
        "users have them: a takeover that somebody decided",
    )
    targets: Targets = Targets("all")
    suites: tuple[Name, ...] = Field(default=(), description="Suites besides the target's own")
    upstream: str | None = Field(
        default=None, description="Debian source package with the same tarball, for lookaside kind apt-source"
    )
    modification: Modification | None = None
    exemptions: tuple[Exemption, ...] = ()
    hardware: tuple[HardwareList, ...] = ()
    default: bool = Field(default=True, description="False: built only when asked for by name")

    def strays(self, names: Collection[str]) -> list[str]:
        """Names of binary packages that neither it lists nor are debug packages of what it lists, sorted."""
        owners = {self.name, *self.binaries}
        debug = {name for name in names if is_debug(name) and without_debug(name) in owners}
        return sorted({*names} - {*self.binaries} - debug)
