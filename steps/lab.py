"""``kitten test`` as a step: run test suites in QEMU guests with the target's CPU."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, WARNINGS

from config.text import plain_line
from steps import names
from steps.command import Installation, KittenCommand, ResultRow, add_result_rows, one_line
from workers.results import Artifact, Case, TestResult
from workers.results.lab_html import page

CASES = 1000  # most rows in the database; the report has all cases
CONSOLES = 12  # most console logs of a step; links lead to the others
LOG_BYTES = 1024 * 1024  # longest console log of a step; links lead to longer ones
_PICTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.png")


def tap(cases: Sequence[Case]) -> str:
    """Return the cases as TAP 14. A flaky case is ``not ok`` with ``TODO``: neither passed nor failed."""
    lines = ["TAP version 14\n", f"1..{len(cases)}\n"]
    for number, case in enumerate(cases, 1):
        reason = one_line(case.reason)
        directive = {
            "skipped": f" # SKIP {case.code}: {reason}",
            "flaky": f" # TODO flaky: failed, then passed: {reason}",
        }.get(case.outcome, "")
        word = "not ok" if case.outcome in ("failed", "flaky") else "ok"
        name = one_line(case.name).replace("\\", "\\\\").replace("#", "\\#")
        lines.append(f"{word} {number} - {name}{directive}\n")
        if case.outcome == "failed" and reason:
            lines.append(f"# {reason}\n")
        lines += [f"# {plain_line(line)}\n" for line in case.detail.splitlines()]
    return "".join(lines)


def pictures(result: TestResult, installation: Installation) -> dict[str, str]:
    """Return name → address of the pictures that this service serves: PNG, by name and by address."""
    addresses = {}
    for log in (log for suite in result.suites for log in suite.logs):
        address = installation.served_address(log.url)
        if address and _PICTURE.fullmatch(log.name) and address.endswith(".png"):
            addresses[log.name] = address
    return addresses


class GuestTestStep(KittenCommand[TestResult]):
    """Runs the suites of a package's build. A suite without a tested case failed; flaky cases make a warning."""

    name = names.TEST
    result_type = TestResult
    warnOnWarnings = True
    updateBuildSummaryPolicy: ClassVar[Any] = [EXCEPTION, RETRY, CANCELLED, FAILURE, WARNINGS]

    def __init__(self, *, suites: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        """Make the step.

        :param suites: package → the suites that test its builds.
        """
        super().__init__(**kwargs)
        self.suites = {name: tuple(chosen) for name, chosen in suites.items()}

    def chosen_suites(self) -> Sequence[str]:
        """Return the suites to run."""
        return self.suites.get(str(self.getProperty("package")), ())

    async def prepare(self) -> list[str]:
        """Return an option for each suite."""
        return [word for name in self.chosen_suites() for word in ("--suite", name)]

    def summary(self, result: TestResult) -> str:
        """Return a summary such as ``6 tests passed on power9 (tcg), 1 skipped``; names of flaky cases come first."""
        count: Counter[str] = Counter(case.outcome for case in result.cases)
        before = f"{count['flaky']} FLAKY ({one_line(', '.join(result.flaky), 80)}), " if result.flaky else ""
        skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
        machines = dict.fromkeys(f"{suite.cpu} ({suite.accelerator})" for suite in result.suites if suite.cpu)
        return f"{before}{count['passed']} tests passed on {', '.join(machines)}{skipped}"

    def is_clean(self, result: TestResult) -> bool:
        """Check that no case was flaky."""
        return not result.flaky

    def artifacts_of(self, result: TestResult) -> Sequence[Artifact]:
        """Return the JUnit report, then pictures, consoles and other files of the guests."""
        logs = [log for suite in result.suites for log in suite.logs]
        return [*result.reports, *sorted(logs, key=lambda log: (not log.name.endswith(".png"), not _is_console(log)))]

    async def show(self, result: TestResult) -> None:
        """Add the report as a page, the cases as TAP, the consoles as logs, and each case as a test result.

        The master makes the page from the typed result, so text from a worker never becomes markup.
        """
        await self.addHTMLLog("report", page(result, pictures(result, self.installation)))
        await self.addCompleteLog("tests", tap(result.cases))
        consoles = [log for log in self.artifacts_of(result) if _is_console(log) and log.size <= LOG_BYTES]
        for artifact in consoles[:CONSOLES]:
            path = artifact.url.removeprefix("file://")
            if path.startswith("/") and (text := await self.file_text(path, LOG_BYTES)) is not None:
                await self.addCompleteLog(one_line(artifact.name.removesuffix(".log")), text)
        rows: dict[str, list[ResultRow]] = {"tested": [], "flaky": [], "skipped": []}
        for case in result.cases[:CASES]:
            kind = {"flaky": "flaky", "skipped": "skipped"}.get(case.outcome, "tested")
            why = f"{case.code}: {case.reason}" if case.code else case.reason
            value = case.outcome == "passed" if kind == "tested" else why
            rows[kind].append(ResultRow(case.name, None, value, case.seconds))
        await add_result_rows(self, "guest tests", rows.pop("tested"), rows)


class TargetTestStep(GuestTestStep):
    """Runs suites that test a target without a package: those requested, or all of them."""

    __test__ = False  # pytest must not take it for a test class
    updateBuildSummaryPolicy: ClassVar[Any] = True

    def chosen_suites(self) -> Sequence[str]:
        """Return the suites of the property ``suites``; if it is empty, all suites of the target."""
        requested = self.getProperty("suites")
        return [str(name) for name in requested] if requested else self.suites.get(str(self.getProperty("target")), ())

    async def prepare(self) -> list[str]:
        """Return an option for each suite, and ``--quick`` if the property ``quick`` is set."""
        return [*(["--quick"] if self.getProperty("quick") else []), *await super().prepare()]

    def summary(self, result: TestResult) -> str:
        """Return the summary after the names of target and suites."""
        suites = ", ".join(suite.suite for suite in result.suites)
        return f"{result.target}: {suites}: {super().summary(result)}"

    def failure_message(self, result: TestResult) -> str:
        """Return the summary after the name of the target."""
        return f"{result.target}: {super().failure_message(result)}"


def _is_console(log: Artifact) -> bool:
    return log.name.endswith("console.log")
