"""``kitten clean`` and ``kitten compose`` as steps: the housekeeping of the service."""

from __future__ import annotations

from config.text import plain_line
from steps import names
from steps.command import KittenCommand
from workers.results import CleanResult, ComposeResult

REMOVE, STAGE, IF_DUE = "remove", "stage", "if_due"
"""Build properties: whether a clean removes or only lists; the stage to compose; whether only if a compose is due."""


class CleanStep(KittenCommand[CleanResult]):
    """Removes unneeded artifacts if the build property ``remove`` is true; else lists them."""

    name = names.CLEAN_STORE
    result_type = CleanResult
    updateBuildSummaryPolicy = True

    async def prepare(self) -> list[str]:
        """Return the option for a removal or for a dry run."""
        return ["--yes" if self.getProperty(REMOVE) is True else "--dry-run"]

    def summary(self, result: CleanResult) -> str:
        """Return a summary such as ``removed 3 folders (12.5 MB); 40 folders (800.0 MB) stay`` or ``dry run: …``."""
        return f"dry run: {result.summary}" if result.dry else result.summary

    async def show(self, result: CleanResult) -> None:
        """List each removed folder with its size and the reason."""
        if result.folders:
            texts = ((f.size, plain_line(f"{f.path}  {f.kind}  {f.what}: {f.why}")) for f in result.folders)
            lines = "".join(f"{size / 1e6:10.1f} MB  {text}\n" for size, text in texts)
            await self.addCompleteLog("to remove" if result.dry else "removed", lines)


class ComposeStep(KittenCommand[ComposeResult]):
    """Makes a compose for mirrors, or none if nothing is new."""

    name = names.COMPOSE_FOR_MIRRORS
    result_type = ComposeResult
    updateBuildSummaryPolicy = True

    async def prepare(self) -> list[str]:
        """Return the options for the stage, and for no compose before it is due."""
        stage = self.getProperty(STAGE)
        return [
            *(["--stage", str(stage)] if stage else []),
            *(["--if-due"] if self.getProperty(IF_DUE) is True else []),
        ]

    async def show(self, result: ComposeResult) -> None:
        """Link the compose that mirrors copy."""
        if result.id and (address := self.installation.link(result.url)):
            await self.addURL(result.id, address)
