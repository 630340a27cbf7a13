"""``kitten test`` as a step: test suites in QEMU guests with the target's CPU."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, WARNINGS

from steps import names
from steps.command import Installation, KittenCommand, Outcome, add_outcomes, one_line
from workers.results import Artifact, Case, TestResult
from workers.results.lab_html import page

CASES = 1000  # rows of the database; the report has them all
CONSOLES = 12  # of a result; others are read through their links
LOG_BYTES = 1024 * 1024  # likewise a console that says more
_PICTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.png")


def tap(cases: Sequence[Case]) -> str:
    """The cases as TAP 14. It has no word for flaky: such a point is ``not ok`` and ``TODO``, no pass and no failure."""
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
        lines += [f"# {line}\n" for line in case.detail.splitlines()]
    return "".join(lines)


def pictures(result: TestResult, installation: Installation) -> dict[str, str]:
    """Name → address of each picture that this service shows: PNG by name and by address, and nowhere else."""
    found = {}
    for log in (log for suite in result.suites for log in suite.logs):
        address = installation.served(log.url)
        if address and _PICTURE.fullmatch(log.name) and address.endswith(".png"):
            found[log.name] = address
    return found


class GuestTestStep(KittenCommand[TestResult]):
    """Runs the suites of a package's build. A suite that tested nothing did not hold; what is flaky is a warning."""

    name = names.TEST
    result_type = TestResult
    warnOnWarnings = True
    updateBuildSummaryPolicy: ClassVar[Any] = [EXCEPTION, RETRY, CANCELLED, FAILURE, WARNINGS]

    def __init__(self, *, suites: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        """Make the step.

        :param suites: package → the suites that its builds run.
        """
        super().__init__(**kwargs)
        self.suites = {name: tuple(chosen) for name, chosen in suites.items()}

    def chosen(self) -> Sequence[str]:
        """The suites to run."""
        return self.suites.get(str(self.getProperty("package")), ())

    async def prepare(self) -> list[str]:
        """The suites, by name."""
        return [word for name in self.chosen() for word in ("--suite", name)]

    def summary(self, result: TestResult) -> str:
        """E.g. ``6 tests passed on power9 (tcg), 1 skipped``; what is flaky comes first, by its name."""
        count: Counter[str] = Counter(case.outcome for case in result.cases)
        before = f"{count['flaky']} FLAKY ({one_line(', '.join(result.flaky), 80)}), " if result.flaky else ""
        skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
        machines = dict.fromkeys(f"{suite.cpu} ({suite.accelerator})" for suite in result.suites if suite.cpu)
        return f"{before}{count['passed']} tests passed on {', '.join(machines)}{skipped}"

    def is_clean(self, result: TestResult) -> bool:
        """Whether nothing was flaky."""
        return not result.flaky

    def artifacts_of(self, result: TestResult) -> Sequence[Artifact]:
        """The JUnit report, pictures, consoles and whatever else the guests left."""
        logs = [log for suite in result.suites for log in suite.logs]
        return [*result.reports, *sorted(logs, key=lambda log: (not log.name.endswith(".png"), not _is_console(log)))]

    async def show(self, result: TestResult) -> None:
        """The report as a page, the cases as TAP, the consoles as logs, every case as a test result.

        The page is made here, from the typed result: what a worker sends never becomes markup.
        """
        await self.addHTMLLog("report", page(result, pictures(result, self.installation)))
        await self.addCompleteLog("tests", tap(result.cases))
        consoles = [log for log in self.artifacts_of(result) if _is_console(log) and log.size <= LOG_BYTES]
        for artifact in consoles[:CONSOLES]:
            path = artifact.url.removeprefix("file://")
            if path.startswith("/") and (text := await self.getFileContentFromWorker(path)) is not None:
                await self.addCompleteLog(one_line(artifact.name.removesuffix(".log")), text[:LOG_BYTES])
        rows: dict[str, list[Outcome]] = {"asked": [], "flaky": [], "skipped": []}
        for case in result.cases[:CASES]:
            kind = {"flaky": "flaky", "skipped": "skipped"}.get(case.outcome, "asked")
            why = f"{case.code}: {case.reason}" if case.code else case.reason
            value = case.outcome == "passed" if kind == "asked" else why
            rows[kind].append(Outcome(case.name, None, value, case.seconds))
        await add_outcomes(self, "guest tests", rows.pop("asked"), rows)


class TargetTestStep(GuestTestStep):
    """Runs suites that test a target itself, without a package: those asked for, or all that can."""

    __test__ = False  # not a test class, whatever pytest thinks of its name
    updateBuildSummaryPolicy: ClassVar[Any] = True

    def chosen(self) -> Sequence[str]:
        """Those of the property ``suites``; none: all of the target."""
        asked = self.getProperty("suites")
        return [str(name) for name in asked] if asked else self.suites.get(str(self.getProperty("target")), ())

    async def prepare(self) -> list[str]:
        """The suites; only their shortest proofs, if the property ``quick`` says so."""
        return [*(["--quick"] if self.getProperty("quick") else []), *await super().prepare()]

    def summary(self, result: TestResult) -> str:
        """With the target and the suites before it."""
        names = ", ".join(suite.suite for suite in result.suites)
        return f"{result.target}: {names}: {super().summary(result)}"

    def complaint(self, result: TestResult) -> str:
        """With the target before it."""
        return f"{result.target}: {super().complaint(result)}"


def _is_console(log: Artifact) -> bool:
    return log.name.endswith("console.log")
