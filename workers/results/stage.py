"""Results of the commands that move packages between stages, and of ``kitten clean`` and ``kitten compose``."""

from __future__ import annotations

from typing import Literal

from workers.results.document import Artifact, Record, Result


class StageResult(Result):
    """``kitten stage``: the RPMs are in the target's buildroot repository."""

    command: Literal["stage"] = "stage"
    target: str
    package: str
    nevr: str
    staged: tuple[str, ...] = ()


class RuleVerdict(Record):
    """What one rule of a gate says of one build."""

    rule: str
    outcome: Literal["passed", "refused", "overridden"]
    package: str
    target: str
    nevr: str
    build: str
    """fsspec URL of the build's folder."""
    what: str = ""
    """Of a refusal: what was found."""
    hint: str = ""

    def __str__(self) -> str:
        words = f"{self.rule}: {self.nevr} on {self.target} ({self.build})"
        return f"{words}: {self.what} → {self.hint}" if self.what else words


class OverrideRecord(Record):
    """Somebody let builds pass a rule."""

    rule: str
    user: str
    when: str
    """ISO 8601, UTC."""
    reason: str
    refused: tuple[str, ...]
    """What the rule had refused, in words."""


class GateResult(Result):
    """``kitten gate``: what each rule of a stage says of the builds that want to get there."""

    command: Literal["gate"] = "gate"
    stage: str
    verdicts: tuple[RuleVerdict, ...] = ()
    overrides: tuple[OverrideRecord, ...] = ()
    joined: tuple[str, ...] = ()
    """Packages that go along because others need them, each with why."""
    debts: tuple[str, ...] = ()
    """What targets that may lag owe, in words."""


class Promoted(Record):
    """A package that a stage took from the one before."""

    package: str
    target: str
    nevr: str
    commit: str = ""


class PromoteResult(Result):
    """``kitten promote``: what a stage took from the one before, and what waits there or is refused."""

    command: Literal["promote"] = "promote"
    stage: str
    packages: tuple[str, ...] = ()
    """What was asked for; none: all that waited."""
    snapshot: int = 0
    """The newest publication that this call made; 0: none."""
    promoted: tuple[Promoted, ...] = ()
    has: tuple[Promoted, ...] = ()
    """What the stage has now of all packages that were asked for or passed, on every target."""
    waits: tuple[str, ...] = ()
    """Of what was asked for, what waits for targets that have not brought it yet, in words."""
    refused: tuple[RuleVerdict, ...] = ()
    """What the gate said against the rest of it."""
    overrides: tuple[OverrideRecord, ...] = ()
    joined: tuple[str, ...] = ()
    """Packages that went along because others needed them, each with why."""


class PublishResult(Result):
    """``kitten publish``: signed and visible, or already there."""

    command: Literal["publish"] = "publish"
    target: str
    package: str
    nevr: str
    stage: str
    snapshot: int = 0
    url: str = ""
    packages: tuple[Artifact, ...] = ()
    documents: tuple[Artifact, ...] = ()
    """Where the package comes from and what it is made of, and the signature of each (``NAME.asc``)."""
    has: tuple[Promoted, ...] = ()
    """What the stage has now of the package, on every target."""
    unchanged: bool = False
    flaky: tuple[str, ...] = ()
    """Cases of its tests that failed and then passed: no failure, and never silent."""


class StoreFolder(Record):
    """A folder of the artifact store that nobody needs any more."""

    path: str
    """Below the store: ``builds/x86_64/IDENTITY``."""
    kind: str
    """``build``, ``failed build``, ``source``, ``try-build`` or ``leftover``."""
    what: str = ""
    """NEVR of the package, where it is known."""
    size: int
    """Bytes."""
    why: str
    """Why it goes."""


class CleanResult(Result):
    """``kitten clean``: what left the artifact store, or would."""

    command: Literal["clean"] = "clean"
    dry: bool = True
    """Nothing was removed, only told."""
    folders: tuple[StoreFolder, ...] = ()
    """What was removed; of a dry run, what would be."""
    size: int = 0
    """Bytes of these folders."""
    staying: int = 0
    """Folders that stay."""
    staying_size: int = 0
    """Bytes of those."""


class ComposeResult(Result):
    """``kitten compose``: the tree that mirrors see now."""

    command: Literal["compose"] = "compose"
    stage: str
    id: str = ""
    """The compose that mirrors see; none: there is none yet, or it was not looked at."""
    snapshot: int = 0
    """The publication it shows."""
    url: str = ""
    """Its folder."""
    new: bool = False
    """This call made it."""
    collected: tuple[str, ...] = ()
    """IDs of composes that no mirror needs any more, and that were removed."""
