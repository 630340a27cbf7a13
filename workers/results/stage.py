"""Results of the commands that move packages between stages, and of ``kitten clean`` and ``kitten compose``."""

from __future__ import annotations

from typing import Literal

from workers.results.document import Artifact, Record, Result


class StageResult(Result):
    """``kitten stage``: the RPMs that are now in the target's buildroot repository."""

    command: Literal["stage"] = "stage"
    target: str
    package: str
    nevr: str
    staged: tuple[str, ...] = ()


class RuleVerdict(Record):
    """The verdict of one rule of the gate on one build."""

    rule: str
    outcome: Literal["passed", "refused", "overridden"]
    package: str
    target: str
    nevr: str
    build: str
    """fsspec URL of the build's folder."""
    what: str = ""
    """If refused: what is wrong."""
    hint: str = ""

    def __str__(self) -> str:
        subject = f"{self.rule}: {self.nevr} on {self.target} ({self.build})"
        return f"{subject}: {self.what} → {self.hint}" if self.what else subject


class OverrideRecord(Record):
    """An override: a user let builds pass a rule that had refused them."""

    rule: str
    user: str
    when: str
    """ISO 8601, UTC."""
    reason: str
    refused: tuple[str, ...]
    """The rule's refusals, one line each."""


class GateResult(Result):
    """``kitten gate``: the verdicts of a stage's rules on the builds that could enter it."""

    command: Literal["gate"] = "gate"
    stage: str
    verdicts: tuple[RuleVerdict, ...] = ()
    overrides: tuple[OverrideRecord, ...] = ()
    joined: tuple[str, ...] = ()
    """Packages that are promoted too, because others need them; each line has the reason."""
    debts: tuple[str, ...] = ()
    """What is still missing on targets that may lag, one line each."""


class Promoted(Record):
    """A package that a stage took from the stage before."""

    package: str
    target: str
    nevr: str
    commit: str = ""


class PromoteResult(Result):
    """``kitten promote``: the packages that a stage took from the stage before, and those that wait or were refused."""

    command: Literal["promote"] = "promote"
    stage: str
    packages: tuple[str, ...] = ()
    """The packages that the user named; empty: all that waited."""
    snapshot: int = 0
    """The newest publication of this call; 0: none."""
    promoted: tuple[Promoted, ...] = ()
    has: tuple[Promoted, ...] = ()
    """What the stage has now of the named and the promoted packages, on every target."""
    waits: tuple[str, ...] = ()
    """Named packages that wait for targets which have not built them yet, one line each."""
    refused: tuple[RuleVerdict, ...] = ()
    """The gate's refusals."""
    overrides: tuple[OverrideRecord, ...] = ()
    joined: tuple[str, ...] = ()
    """Packages that were promoted too, because others needed them; each line has the reason."""


class PublishResult(Result):
    """``kitten publish``: the package is signed and visible to users, now or since an earlier call."""

    command: Literal["publish"] = "publish"
    target: str
    package: str
    nevr: str
    stage: str
    snapshot: int = 0
    url: str = ""
    packages: tuple[Artifact, ...] = ()
    documents: tuple[Artifact, ...] = ()
    """Statement and SBOM of the package, and the signature of each (``NAME.asc``)."""
    has: tuple[Promoted, ...] = ()
    """What the stage has now of the package, on every target."""
    unchanged: bool = False
    flaky: tuple[str, ...] = ()
    """Flaky cases of its tests. They do not stop it, but they are shown."""


class StoreFolder(Record):
    """A folder of the artifact store that is no longer needed."""

    path: str
    """Below the store: ``builds/x86_64/IDENTITY``."""
    kind: str
    """``build``, ``failed build``, ``source``, ``try-build`` or ``leftover``."""
    what: str = ""
    """NEVR of the package, if it is known."""
    size: int
    """Bytes."""
    why: str
    """Why it is no longer needed."""


class CleanResult(Result):
    """``kitten clean``: the folders that were, or would be, removed from the artifact store."""

    command: Literal["clean"] = "clean"
    dry: bool = True
    """Whether the folders were only listed, and nothing was removed."""
    folders: tuple[StoreFolder, ...] = ()
    """The folders that were removed or, in a dry run, would be."""
    size: int = 0
    """Bytes of these folders."""
    staying: int = 0
    """Number of folders that stay."""
    staying_size: int = 0
    """Bytes of the folders that stay."""


class ComposeResult(Result):
    """``kitten compose``: the compose that mirrors see now."""

    command: Literal["compose"] = "compose"
    stage: str
    id: str = ""
    """ID of the compose; empty: none exists yet, or none was due."""
    snapshot: int = 0
    """The publication that the compose shows."""
    url: str = ""
    """The folder of the compose."""
    new: bool = False
    """Whether this call made it."""
    collected: tuple[str, ...] = ()
    """IDs of the composes that this call removed, because no mirror needs them any more."""
