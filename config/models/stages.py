"""stages.yaml: the places that packages pass on their way to users, and their gates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from config.models.base import Model, Name

RuleName = Literal[
    "built",
    "verified",
    "tested",
    "placement",
    "required-targets",
    "lag",
    "noarch-parity",
    "same-newest",
    "no-downgrade",
    "no-replaced-file",
    "not-taken-back",
    "one-source",
    "provides",
    "installable",
    "dnf",
]
Proof = Literal["built", "verified", "tested"]
StageRole = Literal["buildroot", "signing", "users"]
NEVER_OVERRIDDEN: tuple[RuleName, ...] = ("built", "no-replaced-file", "provides")
"""Rules that nobody overrides: a build that is none, a file that users have with other content under its name, and a name
of another's package: that one is decided in packages/NAME.yaml (``replaces``)."""


class Composes(Model):
    """How often a stage is composed for mirrors, and how many composes stay."""

    every_minutes: int = Field(
        default=60, ge=1, description="min between two composes that the service makes; nothing new: none is made"
    )
    keep: int = Field(
        default=8,
        ge=2,
        description="Composes that stay, the newest included. One that was replaced within the last 24 h stays as well: "
        "a mirror may still copy it",
    )


class GateRule(Model):
    """One condition that a package must meet to get to a stage."""

    rule: RuleName = Field(
        description="built, verified, tested: the proofs of its build. placement: packages/NAME.yaml names what it makes. "
        "required-targets: every required target brings the same version. lag: no target is behind for longer than its "
        "lag_days. noarch-parity: what is of no architecture is the same on all targets. same-newest: targets end with "
        "the same version. no-downgrade, no-replaced-file, one-source: against what is there. not-taken-back: it was not "
        "there before, and rolled back. provides: it does not newly claim the name of another's package. installable: it "
        "makes nothing uninstallable. dnf: dnf installs, upgrades and removes it"
    )
    suites: tuple[Name, ...] = Field(
        default=(),
        description="tested: suites that must be among those that passed. None: the target's and the package's",
    )


class Stage(Model):
    """A place that packages pass on their way to users. The order of the list is the order in which they pass."""

    name: Name
    description: str
    url: str = Field(description="fsspec URL; a relative path is below the service's state folder")
    bucket: Annotated[str, StringConstraints(pattern=r"^(s3://[^/\s]+(/\S*)?)?$")] = Field(
        default="",
        description="Object storage that each publication of a signed stage is brought to as well: s3://BUCKET/PREFIX",
    )
    signed: bool = Field(default=False, description="Whether packages and metadata are signed there")
    roles: tuple[StageRole, ...] = Field(
        default=(),
        description="What the stage is for; each role belongs to one stage. buildroot: builds take what they need from "
        "there (not named: the only stage that is not signed). signing: `kitten publish` signs builds there (not named: "
        "the first signed stage). users: users install from there (not named: the last signed stage)",
    )
    gate: tuple[GateRule, ...] = Field(
        default=(), description="What must hold for a package to get there, in this order"
    )
    composes: Composes | None = Field(
        default=None,
        description="Immutable trees of a signed stage for rsync mirrors, by `kitten compose`; none: no such",
    )

    @property
    def requires(self) -> tuple[Proof, ...]:
        """Proofs a package must bring to get there."""
        proofs: tuple[Proof, ...] = ("built", "verified", "tested")
        return tuple(proof for proof in proofs if self.rule(proof))

    @property
    def overridable(self) -> tuple[RuleName, ...]:
        """Rules that somebody who may can let a package pass, for a reason."""
        return tuple(entry.rule for entry in self.gate if entry.rule not in NEVER_OVERRIDDEN)

    def rule(self, name: str) -> GateRule | None:
        """The gate's entry of that rule, where it holds here."""
        return next((entry for entry in self.gate if entry.rule == name), None)
