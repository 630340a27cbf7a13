"""A build that is retried also when its worker is lost while it is still being prepared.

Buildbot 4.3 retries a build whose worker goes away during a step. In the moments before the first step it raises
instead ("from a running build; this is a serious error"), and the build stays unfinished until the master restarts.
"""

from __future__ import annotations

from typing import Any

from buildbot.process.build import Build
from buildbot.process.factory import BuildFactory
from buildbot.process.results import RETRY
from buildbot.util.twisted import async_to_deferred
from twisted.python import log


class RetriedBuild(Build):
    """Ends with RETRY when its preparation fails because the worker is gone."""

    @async_to_deferred
    async def startBuild(self, workerforbuilder: Any) -> None:
        """Start the build, or give it back to the queue."""
        try:
            await super().startBuild(workerforbuilder)
        except Exception as error:
            if workerforbuilder.worker is not None or self.finished or self.buildid is None:
                raise
            log.msg(f"{self}: the worker was lost while the build was prepared ({error}); it is retried")
            if self._preparation_step is not None:
                await self.master.data.updates.finishStep(self._preparation_step.stepid, RETRY, False)
            await self.buildFinished(["lost", "connection"], RETRY)


def factory(steps: list[Any]) -> BuildFactory:
    """The steps of a builder, run by a build that survives its worker."""
    made = BuildFactory(steps)
    made.buildClass = RetriedBuild
    return made
