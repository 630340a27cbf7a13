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
"""Rules that cannot be overridden: a failed build; a file name that users have with other content; a name of another
source package's binary package, which only ``replaces`` in packages/NAME.yaml can allow."""


class Composes(Model):
    """How often a stage is composed for mirrors, and how many composes are kept."""

    every_minutes: int = Field(
        default=60, ge=1, description="min between two composes that the service makes; without changes it makes none"
    )
    keep: int = Field(
        default=8,
        ge=2,
        description="Composes to keep, including the newest. One that was replaced within the last 24 h is kept too, "
        "because a mirror may still copy it",
    )


class GateRule(Model):
    """A condition that a package must meet to enter a stage."""

    rule: RuleName = Field(
        description="built, verified, tested: the results of its build passed. placement: packages/NAME.yaml lists its "
        "binary packages. required-targets: every required target has the same version, or gets it too. lag: no target "
        "is behind for longer than its lag_days. noarch-parity: noarch packages are the same on all targets. "
        "same-newest: afterwards all targets have the same version, except those with lag_days. no-downgrade, "
        "no-replaced-file, one-source: compared with the content of the stage. not-taken-back: the version was not "
        "rolled back. provides: it does not replace, provide or obsolete more packages of other sources than before. "
        "installable: all packages stay installable. dnf: dnf installs, upgrades and removes it"
    )
    suites: tuple[Name, ...] = Field(
        default=(),
        description="tested: suites that must have passed. None: those of the target and of the package",
    )


class Stage(Model):
    """A place that packages pass on their way to users. The order of the list is the order in which they pass."""

    name: Name
    description: str
    url: str = Field(description="fsspec URL; a relative path is below the service's state folder")
    bucket: Annotated[str, StringConstraints(pattern=r"^(s3://[^/\s]+(/\S*)?)?$")] = Field(
        default="",
        description="Object storage to which each publication of a signed stage is copied: s3://BUCKET/PREFIX",
    )
    signed: bool = Field(default=False, description="Whether its packages and metadata are signed")
    roles: tuple[StageRole, ...] = Field(
        default=(),
        description="What the stage is used for; each role belongs to one stage. buildroot: builds install their "
        "BuildRequires from it (default: the only stage that is not signed). signing: `kitten publish` signs builds "
        "into it (default: the first signed stage). users: users install from it (default: the last signed stage)",
    )
    gate: tuple[GateRule, ...] = Field(
        default=(), description="Rules that a package must pass to enter the stage, in this order"
    )
    composes: Composes | None = Field(
        default=None,
        description="Trees of a signed stage for rsync mirrors, made by `kitten compose`; none: it makes none",
    )

    @property
    def requires(self) -> tuple[Proof, ...]:
        """The results of a build that must have passed before its package may enter the stage."""
        proofs: tuple[Proof, ...] = ("built", "verified", "tested")
        return tuple(proof for proof in proofs if self.rule(proof))

    @property
    def overridable(self) -> tuple[RuleName, ...]:
        """Rules that a user with the permission may override, with a reason."""
        return tuple(entry.rule for entry in self.gate if entry.rule not in NEVER_OVERRIDDEN)

    def rule(self, name: str) -> GateRule | None:
        """Return the entry of a rule in the stage's gate; None if the gate does not have it."""
        return next((entry for entry in self.gate if entry.rule == name), None)
