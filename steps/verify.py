"""``kitten verify`` as a step: prove that the RPMs are built for their target."""

from __future__ import annotations

from config.text import plain_line
from steps import names
from steps.command import KittenCommand, ResultRow, add_result_rows
from workers.results import Check, VerifyResult
from workers.results.proof import findings, line
from workers.results.proof_html import page

SKIPS = 1000  # most rows in the database; a kernel has thousands of modules, and the report has all of them


def file_rows(checks: tuple[Check, ...]) -> list[ResultRow]:
    """Return each failed check, and one row for each file whose checks all passed."""
    broken = findings(checks)
    failed = {check.file for check in broken}
    passed = dict.fromkeys(check.file for check in checks if check.outcome == "passed" and check.file not in failed)
    return [
        *(ResultRow(check.rule, check.file, False) for check in broken),
        *(ResultRow("proof", file, True) for file in passed),
    ]


class VerifyStep(KittenCommand[VerifyResult]):
    """Proves frame pointers, ISA level and the other properties of the target. A proof without checks is a failure."""

    name = names.VERIFY
    result_type = VerifyResult

    async def show(self, result: VerifyResult) -> None:
        """Add the report as a page and as text, and each file as a test result.

        The master makes the page from the typed result, so text from a worker never becomes markup.
        """
        await self.addHTMLLog("report", page(result))
        rows = sorted(result.checks, key=lambda check: (check.outcome != "failed", check.file, check.rule))
        lines = (f"{check.grade:6}  {plain_line(f'{check.file}  {line(check)}')}\n" for check in rows)
        await self.addCompleteLog("checks", "".join(lines))
        skips = [ResultRow(c.rule, c.file, c.reason) for c in result.checks if c.outcome == "skipped"]
        await add_result_rows(self, "verify", file_rows(result.checks), {"skipped": skips[:SKIPS]})
