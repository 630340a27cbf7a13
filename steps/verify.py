"""``kitten verify`` as a step: the proof that the RPMs are what their target promises."""

from __future__ import annotations

from steps import names
from steps.command import KittenCommand, Outcome, add_outcomes
from workers.results import Check, VerifyResult
from workers.results.proof import findings, line
from workers.results.proof_html import page

SKIPS = 1000  # rows of the database; a kernel has thousands of modules, and the report has them all


def outcomes(checks: tuple[Check, ...]) -> list[Outcome]:
    """Each file once where all of its checks held, else each check that did not."""
    broken = findings(checks)
    failed = {check.file for check in broken}
    held = dict.fromkeys(check.file for check in checks if check.outcome == "passed" and check.file not in failed)
    return [
        *(Outcome(check.rule, check.file, False) for check in broken),
        *(Outcome("proof", file, True) for file in held),
    ]


class VerifyStep(KittenCommand[VerifyResult]):
    """Proves frame pointers, ISA level and whatever else the target promises; a proof of nothing is no proof."""

    name = names.VERIFY
    result_type = VerifyResult

    async def show(self, result: VerifyResult) -> None:
        """The report as a page and as text, every file as a test result.

        The page is made here, from the typed result: what a worker sends never becomes markup.
        """
        await self.addHTMLLog("report", page(result))
        rows = sorted(result.checks, key=lambda check: (check.outcome != "failed", check.file, check.rule))
        await self.addCompleteLog("checks", "".join(f"{c.grade:6}  {c.file}  {line(c)}\n" for c in rows))
        skips = [Outcome(c.rule, c.file, c.reason) for c in result.checks if c.outcome == "skipped"]
        await add_outcomes(self, "verify", outcomes(result.checks), {"skipped": skips[:SKIPS]})
