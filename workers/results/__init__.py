"""The result files: one versioned JSON document per worker command. The only thing of ``workers`` that ``steps`` reads.

A result is written once, whole (``write``: temporary file, then rename), at the end of a command. Paths of artifacts are
fsspec URLs. Durations are seconds, sizes bytes, checksums lower-case hexadecimal SHA-256.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

from workers.base.record import Record as Record

VERSION: Literal[2] = 2

Outcome = Literal["passed", "failed", "cannot-run"]

_NAMES_IN_VERSION_1 = {"way_out": "hint"}
_OUTCOMES_IN_VERSION_1 = {
    "held": "passed",
    "not-held": "failed",
    "violated": "failed",
    "pass": "passed",
    "fail": "failed",
    "skip": "skipped",
}
"""Version 1 is read until version 3 of the result files: builds in an artifact store keep theirs."""


class Artifact(Record):
    """A file that a command left behind."""

    name: str
    url: str
    sha256: str
    size: int


class Result(Record):
    """What every command reports."""

    version: Literal[2] = VERSION
    command: str
    outcome: Outcome = "passed"
    summary: str
    seconds: float = 0.0
    cause: str = ""
    """If it did not pass: the first line a person should read."""
    hint: str = ""
    """If it could not run: what to do."""

    def write(self, path: Path) -> None:
        """Write the document to ``path`` in one step: a reader sees the whole of it or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a result.

        :raises ValueError: in one line, when the text is no result of this kind and version.
        """
        try:
            return cls.model_validate_json(_current(text))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "document"
            raise ValueError(f"not a result of {cls.__name__}, version {VERSION}: {where}: {first['msg']}") from None


def _current(text: str) -> str:
    """A result of version 1 as one of version 2; everything else as it is."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text  # the caller's own parser says what is wrong
    if not isinstance(document, dict) or document.get("version") != 1:
        return text
    return json.dumps({**_from_version_1(document), "version": VERSION})


def _from_version_1(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_version_1(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {_NAMES_IN_VERSION_1.get(name, name): _from_version_1(item) for name, item in value.items()}
    outcome = renamed.get("outcome")
    if isinstance(outcome, str):
        renamed["outcome"] = current_outcome(outcome)
    return renamed


def current_outcome(word: str) -> str:
    """Name an outcome as version 2 does: ``passed`` for ``held`` or ``pass``; other words stay."""
    return _OUTCOMES_IN_VERSION_1.get(word, word)


class TargetTree(Record):
    """The sandbox tree of one target: the base, and a layer over it where the host needs a cross compiler."""

    target: str
    outcome: Literal["passed", "cannot-run"] = "passed"
    cause: str = ""
    """Why it could not be made."""
    hint: str = ""
    identity: str = ""
    """Of base and layer together: part of the identity of each build in it."""
    path: str = ""
    """Root folder of the layer; none: the tree is the base alone."""
    packages: int = 0
    """Packages of the layer."""
    size: int = 0
    """Bytes of the layer."""


class SandboxResult(Result):
    """``kitten sandbox``: which targets have a tree to build in on this host, and why others have none."""

    command: Literal["sandbox"] = "sandbox"
    base: str = ""
    """Identity of the base; none: it could not be made, and so no tree."""
    path: str = ""
    """Root folder of the base."""
    packages: int = 0
    """Packages of the base."""
    size: int = 0
    """Bytes of the base."""
    targets: tuple[TargetTree, ...] = ()


class SourceResult(Result):
    """``kitten source``: a commit became an SRPM."""

    command: Literal["source"] = "source"
    package: str
    branch: str
    commit: str
    nevr: str = ""
    srpm: Artifact | None = None
    tests: Artifact | None = None
    """tests/ of the dist-git repository as a tar, if it has any."""
    build_requires: tuple[str, ...] = ()
    binaries: tuple[str, ...] = ()
    patch: str = ""
    """SHA-256 of a contributor's patch on top of the commit: such a source is tried, never published."""
    reused: bool = False


class BuildResult(Result):
    """``kitten build``: an SRPM became RPMs on one target. Lies beside its RPMs as ``build.json``."""

    command: Literal["build"] = "build"
    target: str
    package: str
    nevr: str
    commit: str = ""
    identity: str = ""
    """Hash of all inputs: SRPM, target entry, build.yaml, buildroot packages, tool versions."""
    reused: bool = False
    trial: bool = False
    """A try-build: no stage takes it."""
    url: str = ""
    """Folder (fsspec URL) that holds build.json, the RPMs, the logs and, later, verify.json and test.json."""
    srpm: Artifact | None = None
    tests: Artifact | None = None
    rpms: tuple[Artifact, ...] = ()
    logs: tuple[Artifact, ...] = ()
    buildroot: tuple[str, ...] = ()
    """NEVRA and SHA-256 of each package installed on top of the tree, sorted: ``NEVRA sha256`` (mock: NEVRA)."""
    tree: str = ""
    """Identity of the target's sandbox tree, or of mock's chroot."""


class Place(Record):
    """A place in a file that a check speaks of: a function that breaks the rule, or one that is excused."""

    function: str
    """Its name, or its address where nothing names it."""
    function_address: int = 0
    address: int
    """Of the function, or of the instruction in it that is meant."""
    size: int = 0
    """Bytes of that."""
    detail: str = ""
    """What is wrong there, or why it is lawful."""
    excerpt: tuple[str, ...] = ()
    """The disassembly around it."""
    compiled_by: str = ""
    """The compile unit's source and command line, where debug data knows it."""


class Check(Record):
    """One question asked of one file, and its answer."""

    rule: str
    file: str
    outcome: Literal["passed", "failed", "skipped"]
    level: Literal["", "INFO", "VERIFY", "BAD"] = ""
    """As rpminspect grades findings. A violation is BAD unless it says VERIFY: a person must look, and write an exception
    if it is right so. INFO on what held: worth knowing, no more."""
    detail: str = ""
    reason: str = ""
    """Machine-readable, for a skip: ``no-code``, ``language-rust`` …"""
    places: tuple[Place, ...] = ()
    """The first of them, at most as many as the report lists; ``detail`` tells how many there are."""

    @property
    def grade(self) -> str:
        """OK, INFO, VERIFY or BAD."""
        return self.level or {"passed": "OK", "skipped": "INFO", "failed": "BAD"}[self.outcome]


class FileProof(Record):
    """What was counted in one file with code."""

    file: str
    build_id: str = ""
    level: str
    """The instruction set level it was held against."""
    units: int = 0
    """Compile units that carry the flags."""
    functions: int = 0
    framed: int = 0
    """Functions that make a frame and keep the frame pointer."""
    leaf: int = 0
    """Functions that make no frame."""
    unframed: int = 0
    """Functions that break the rule."""
    excused: int = 0
    """Functions without a frame pointer that need none, or have an exception."""
    code_bytes: int = 0
    above: int = 0
    """Functions with instructions above the level that nothing explains."""
    dispatched: int = 0
    """Functions with instructions above the level that only processors which have them reach."""


class VerifyResult(Result):
    """``kitten verify``: the proof, or what is missing from it."""

    command: Literal["verify"] = "verify"
    target: str
    level: str = ""
    """The target's instruction set level."""
    checked: tuple[Artifact, ...] = ()
    """The packages or files the proof speaks of, by checksum."""
    files: tuple[FileProof, ...] = ()
    checks: tuple[Check, ...] = ()


class ContentsResult(Result):
    """``kitten contents``: what users must find in the repositories, or what a kernel must support."""

    command: Literal["contents"] = "contents"
    target: str
    repositories: tuple[str, ...] = ()
    """Addresses of the repositories that were read."""
    checks: tuple[Check, ...] = ()


class Case(Record):
    """One question asked of a guest, and its answer."""

    name: str
    outcome: Literal["passed", "failed", "flaky", "skipped"]
    """``flaky``: it failed, and passed when it was asked again. That is neither a pass nor a failure, and always shown."""
    reason: str = ""
    """Of a failure, in a line; of a skip, why."""
    code: str = ""
    """Machine-readable, for a skip: ``todo``, ``tap``, ``no-published-version``, ``no-emulation`` …"""
    detail: str = ""
    """The last lines of what the test printed."""
    console: str = ""
    """What the guest's console said meanwhile; of a case that did not pass."""
    seconds: float = 0.0
    pictures: tuple[str, ...] = ()
    """Names of files: a suite gives those it wrote, the result has them as the suite's ``logs`` do."""


class SuiteResult(Record):
    """One suite on one target."""

    suite: str
    outcome: Outcome
    summary: str
    cause: str = ""
    cases: tuple[Case, ...] = ()
    accelerator: str = ""
    cpu: str = ""
    kernel: str = ""
    facts: Mapping[str, str] = {}
    """What else was on trial, by name: the chain that booted, the server's version …"""
    seconds: float = 0.0
    logs: tuple[Artifact, ...] = ()
    """Consoles, reports, command lines and pictures; each name begins with the suite's."""


class TestResult(Result):
    """``kitten test``: what the guests said, suite by suite."""

    __test__ = False  # not a test class, whatever pytest thinks of its name
    command: Literal["test"] = "test"
    target: str
    checked: tuple[Artifact, ...] = ()
    suites: tuple[SuiteResult, ...] = ()
    reports: tuple[Artifact, ...] = ()
    """junit.xml."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases of all suites; each name begins with its suite's."""
        named = ((suite.suite, case) for suite in self.suites for case in suite.cases)
        return tuple(case.model_copy(update={"name": f"{suite}: {case.name}"}) for suite, case in named)

    @property
    def flaky(self) -> tuple[str, ...]:
        """Names of the cases that failed and then passed."""
        return tuple(case.name for case in self.cases if case.outcome == "flaky")


class GuestOf(Record):
    """Whether the guests of one target can be started on this host."""

    target: str
    outcome: Literal["passed", "cannot-run"]
    kernel: str = ""
    """Its release, or the name of the cloud image."""
    accelerator: str = ""
    reason: str = ""
    """Why that accelerator."""
    cause: str = ""
    """In one line: why there is no guest."""
    hint: str = ""


class GuestsResult(Result):
    """``kitten guests``: which targets have what their guests are made of."""

    command: Literal["guests"] = "guests"
    targets: tuple[GuestOf, ...] = ()

    @property
    def failed(self) -> tuple[GuestOf, ...]:
        """The targets without a guest."""
        return tuple(target for target in self.targets if target.outcome != "passed")


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
