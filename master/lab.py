"""The builder ``lab``: suites that test a target itself, without a package, on a schedule or on demand.

One builder serves all targets: several workers can run it at the same time, so a fast target does not wait for a slow
one. It gets a worker only if no build of a package needs it (``build_queue.sort_by_urgency``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from buildbot.plugins import schedulers
from buildbot.process.properties import Properties
from buildbot.util.twisted import async_to_deferred
from twisted.internet.defer import succeed

from config.models import Schedule, Site
from master.pools import serves
from steps.names import LAB


def may_start(site: Site) -> Callable[..., Any]:
    """Return the builder's ``canStartBuild``: a build starts only on a worker that builds for its target."""
    pools = {name: pool for pool in site.workers for name in pool.workers}

    def fits(builder: Any, worker: Any, request: Any) -> Any:  # noqa: ARG001 - Buildbot's signature
        pool = pools.get(worker.worker.workername)
        return succeed(pool is not None and serves(pool, "build", str(request.properties.getProperty("target"))))

    return fits


class SuitesAtNight(schedulers.Nightly):
    """The scheduler that starts, at its time, one run of suites for each target."""

    def checkConfig(self, runs: Mapping[str, Sequence[str]], quick: bool, **more: Any) -> None:  # noqa: ARG002
        """Check the arguments of Nightly."""
        super().checkConfig(**more)

    @async_to_deferred
    async def reconfigService(self, runs: Mapping[str, Sequence[str]], quick: bool, **more: Any) -> None:
        """Use new runs: target → suites."""
        self.runs = runs
        self.quick = quick
        await super().reconfigService(**more)

    @async_to_deferred
    async def startBuild(self) -> None:
        """Request all runs."""
        if not self.enabled:
            return
        for target, suites in self.runs.items():
            properties = Properties()
            properties.update({"target": target, "suites": list(suites), "quick": self.quick}, self.name)
            reason = f"{self.name}: {', '.join(suites)} on {target}"
            await self.addBuildsetForSourceStampsWithDefaults(reason=reason, sourcestamps=[], properties=properties)


def nightly_suites(site: Site, schedule: Schedule) -> SuitesAtNight:
    """Return the scheduler of an entry of schedules.yaml that names suites."""
    return SuitesAtNight(
        name=schedule.name,
        builderNames=[LAB],
        hour=schedule.hour,
        minute=schedule.minute,
        runs={target: list(suites) for target, suites in site.runs_of(schedule).items()},
        quick=schedule.quick,
    )
