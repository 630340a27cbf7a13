"""``kitten verify`` as a step: the proof that the RPMs are what their target promises."""

from __future__ import annotations

from collections import Counter

from steps.command import KittenCommand, add_outcomes
from workers.results import Check, VerifyResult


def report(checks: tuple[Check, ...]) -> str:
    """The proof as text: what is violated first, then what was skipped and why, then what held."""
    order = {"violated": 0, "skipped": 1, "held": 2}
    lines = []
    for check in sorted(checks, key=lambda check: (order[check.outcome], check.file, check.rule)):
        why = " ".join(part for part in (check.reason, check.detail) if part)
        lines.append(f"{check.outcome:8}  {check.rule:24}  {check.file}{'  ' + why if why else ''}\n")
    return "".join(lines)


class VerifyStep(KittenCommand[VerifyResult]):
    """Proves frame pointers, ISA level and whatever else the target promises; a proof of nothing is no proof."""

    name = "verify flags and headers"
    result_type = VerifyResult

    def summary(self, result: VerifyResult) -> str:
        """E.g. ``57 checks of 9 files held, 3 skipped``."""
        count = Counter(check.outcome for check in result.checks)
        files = len({check.file for check in result.checks})
        skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
        return f"{count['held']} checks of {files} files held{skipped}"

    async def show(self, result: VerifyResult) -> None:
        """The report as a log, every check as a test result."""
        await self.addCompleteLog("report", report(result.checks))
        await add_outcomes(
            self,
            "verify",
            [(c.rule, c.file, c.outcome == "held") for c in result.checks if c.outcome != "skipped"],
            [(c.rule, c.file, c.reason) for c in result.checks if c.outcome == "skipped"],
        )
