"""Results of ``kitten test`` and ``kitten guests``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from workers.results.document import Artifact, Outcome, Record, Result


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


class TargetGuest(Record):
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
    targets: tuple[TargetGuest, ...] = ()

    @property
    def failed(self) -> tuple[TargetGuest, ...]:
        """The targets without a guest."""
        return tuple(target for target in self.targets if target.outcome != "passed")
