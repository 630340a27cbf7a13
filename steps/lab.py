"""``kitten test`` as a step: the package's own tests in a QEMU guest with the target's CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from steps.command import KittenCommand, add_outcomes
from workers.results import Artifact, Case, TestResult

LOG_BYTES = 1024 * 1024  # a console that says more is read through its link


def tap(cases: tuple[Case, ...]) -> str:
    """The cases as the guest told them, one line each."""
    lines = [f"1..{len(cases)}\n"]
    for number, case in enumerate(cases, 1):
        word = "not ok" if case.outcome == "fail" else "ok"
        skip = f" # SKIP {case.reason}" if case.outcome == "skip" else ""
        lines.append(f"{word} {number} - {case.name}{skip}\n")
        lines += [f"# {line}\n" for line in case.detail.splitlines()]
    return "".join(lines)


class GuestTestStep(KittenCommand[TestResult]):
    """Boots the guest and runs the tests; a boot that ran no test did not hold."""

    name = "test in QEMU"
    result_type = TestResult

    def summary(self, result: TestResult) -> str:
        """E.g. ``6 tests passed on power9 (tcg), 1 flaky, 1 skipped``."""
        count: Counter[str] = Counter(case.outcome for case in result.cases)
        more = "".join(
            f", {count[kind]} {word}" for kind, word in (("flaky", "FLAKY"), ("skip", "skipped")) if count[kind]
        )
        machines = dict.fromkeys(f"{suite.cpu} ({suite.accelerator})" for suite in result.suites if suite.cpu)
        return f"{count['pass']} tests passed on {', '.join(machines)}{more}"

    def artifacts_of(self, result: TestResult) -> Sequence[Artifact]:
        """The console and whatever else the guest left."""
        return [*result.reports, *(log for suite in result.suites for log in suite.logs)]

    async def show(self, result: TestResult) -> None:
        """The TAP lines and the console as logs, every case as a test result."""
        await self.addCompleteLog("tests", tap(result.cases))
        for artifact in self.artifacts_of(result):
            path = artifact.url.removeprefix("file://")
            if artifact.name.endswith(".log") and path.startswith("/") and artifact.size <= LOG_BYTES:
                text = await self.getFileContentFromWorker(path)
                if text is not None:
                    await self.addCompleteLog(artifact.name.removesuffix(".log"), text)
        await add_outcomes(
            self,
            "guest tests",
            [(case.name, None, case.outcome == "pass") for case in result.cases if case.outcome != "skip"],
            [(case.name, None, case.reason) for case in result.cases if case.outcome == "skip"],
        )
