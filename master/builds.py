"""A build that is retried also if its worker is lost before the first step.

Buildbot 4.3 retries a build whose worker goes away during a step. Before the first step it raises an exception instead
("from a running build; this is a serious error"), and the build stays unfinished until the master restarts.

This is a module alone because ``builders`` and ``housekeeping`` both import it.
"""

from __future__ import annotations

from typing import Any

from buildbot.process.build import Build
from buildbot.process.factory import BuildFactory
from buildbot.process.results import RETRY
from buildbot.util.twisted import async_to_deferred
from twisted.python import log


class RetriedBuild(Build):
    """A build that ends with RETRY if its preparation fails because the worker is gone."""

    @async_to_deferred
    async def startBuild(self, workerforbuilder: Any) -> None:
        """Start the build, or return its request to the queue."""
        try:
            await super().startBuild(workerforbuilder)
        except Exception as error:
            if workerforbuilder.worker is not None or self.finished or self.buildid is None:
                raise
            log.msg(f"build {self.buildid}: the worker was lost while the build was prepared ({error}); it is retried")
            if self._preparation_step is not None:
                await self.master.data.updates.finishStep(self._preparation_step.stepid, RETRY, False)
            await self.buildFinished(["lost", "connection"], RETRY)


def factory(steps: list[Any]) -> BuildFactory:
    """Return the factory of a builder with these steps; its builds survive the loss of their worker."""
    build_factory = BuildFactory(steps)
    build_factory.buildClass = RetriedBuild
    return build_factory
