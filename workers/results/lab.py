"""Results of ``kitten test`` and ``kitten guests``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from workers.results.document import Artifact, Outcome, Record, Result


class Case(Record):
    """The result of one test in a guest."""

    name: str
    outcome: Literal["passed", "failed", "flaky", "skipped"]
    """``flaky``: it failed, then passed when it ran again; neither passed nor failed, and always shown."""
    reason: str = ""
    """Why it failed or was skipped, in one line."""
    code: str = ""
    """Machine-readable reason of a skip: ``todo``, ``tap``, ``no-published-version``, ``no-emulation`` …"""
    detail: str = ""
    """The last lines of the test's output."""
    console: str = ""
    """The guest's console output during the test, if the case did not pass."""
    seconds: float = 0.0
    pictures: tuple[str, ...] = ()
    """File names. In a suite: of the files it wrote; in the result: as in the suite's ``logs``."""


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
    """What else was tested, by name: the boot chain, the server's version …"""
    seconds: float = 0.0
    logs: tuple[Artifact, ...] = ()
    """Consoles, reports, command lines and pictures; each file name begins with the suite's name."""


class TestResult(Result):
    """``kitten test``: the results of all suites in guests."""

    __test__ = False  # pytest takes a class of this name for a test
    command: Literal["test"] = "test"
    target: str
    checked: tuple[Artifact, ...] = ()
    suites: tuple[SuiteResult, ...] = ()
    reports: tuple[Artifact, ...] = ()
    """junit.xml."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """Return the cases of all suites; each name begins with the name of its suite."""
        named = ((suite.suite, case) for suite in self.suites for case in suite.cases)
        return tuple(case.model_copy(update={"name": f"{suite}: {case.name}"}) for suite, case in named)

    @property
    def flaky(self) -> tuple[str, ...]:
        """Return the names of the flaky cases."""
        return tuple(case.name for case in self.cases if case.outcome == "flaky")


class TargetGuest(Record):
    """Whether guests of one target can start on this host."""

    target: str
    outcome: Literal["passed", "cannot-run"]
    kernel: str = ""
    """The kernel's release, or the name of the cloud image."""
    accelerator: str = ""
    reason: str = ""
    """Why this accelerator was chosen."""
    cause: str = ""
    """Why the target has no guest, in one line."""
    hint: str = ""


class GuestsResult(Result):
    """``kitten guests``: the targets whose guests can start on this host."""

    command: Literal["guests"] = "guests"
    targets: tuple[TargetGuest, ...] = ()

    @property
    def failed(self) -> tuple[TargetGuest, ...]:
        """Return the targets without a guest."""
        return tuple(target for target in self.targets if target.outcome != "passed")
