"""``kitten clean`` and ``compose`` as steps: the service keeps house."""

from __future__ import annotations

from steps import names
from steps.command import KittenCommand
from workers.results import CleanResult, ComposeResult

REMOVE, STAGE, IF_DUE = "remove", "stage", "if_due"
"""Properties of a build: whether a clean removes, or only tells; which stage is composed, and whether only where it is due."""


class CleanStep(KittenCommand[CleanResult]):
    """Removes from the artifact store what nobody needs. Only where the build says ``remove``: else it tells what would go."""

    name = names.CLEAN_STORE
    result_type = CleanResult
    updateBuildSummaryPolicy = True

    async def prepare(self) -> list[str]:
        """Remove, or a dry run."""
        return ["--yes" if self.getProperty(REMOVE) is True else "--dry-run"]

    def summary(self, result: CleanResult) -> str:
        """E.g. ``removed 3 folders (12.5 MB); 40 folders (800.0 MB) stay``, or ``dry run: nothing would go; …``."""
        return f"dry run: {result.summary}" if result.dry else result.summary

    async def show(self, result: CleanResult) -> None:
        """Each folder with its size and the reason why it goes."""
        if result.folders:
            lines = (f"{f.size / 1e6:10.1f} MB  {f.path}  {f.kind}  {f.what}: {f.why}\n" for f in result.folders)
            await self.addCompleteLog("would go" if result.dry else "removed", "".join(lines))


class ComposeStep(KittenCommand[ComposeResult]):
    """Makes a tree for mirrors, or finds that there is nothing new."""

    name = names.COMPOSE_FOR_MIRRORS
    result_type = ComposeResult
    updateBuildSummaryPolicy = True

    async def prepare(self) -> list[str]:
        """The stage, and whether to leave a young compose alone."""
        stage = self.getProperty(STAGE)
        return [
            *(["--stage", str(stage)] if stage else []),
            *(["--if-due"] if self.getProperty(IF_DUE) is True else []),
        ]

    async def show(self, result: ComposeResult) -> None:
        """Link the tree that mirrors see."""
        if result.id and (address := self.installation.link(result.url)):
            await self.addURL(result.id, address)
