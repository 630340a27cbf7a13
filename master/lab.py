"""The builder ``lab``: suites that test a target itself, without a package, by the clock or asked for.

It is one builder for all targets: several workers may run it side by side, so that a fast target is not held up by a slow
one. It takes a worker when no package's build needs it (``build_queue.sort_by_urgency``).
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
    """``canStartBuild`` of the builder: only on a worker that builds for the target of the request."""
    pools = {name: pool for pool in site.workers for name in pool.workers}

    def fits(builder: Any, worker: Any, request: Any) -> Any:  # noqa: ARG001 - Buildbot's signature
        pool = pools.get(worker.worker.workername)
        return succeed(pool is not None and serves(pool, "build", str(request.properties.getProperty("target"))))

    return fits


class SuitesAtNight(schedulers.Nightly):
    """At its time, one run for each target."""

    def checkConfig(self, runs: Mapping[str, Sequence[str]], quick: bool, **more: Any) -> None:  # noqa: ARG002
        """Leave the rest to Nightly."""
        super().checkConfig(**more)

    @async_to_deferred
    async def reconfigService(self, runs: Mapping[str, Sequence[str]], quick: bool, **more: Any) -> None:
        """Take over (new) runs: target → suites."""
        self.runs = runs
        self.quick = quick
        await super().reconfigService(**more)

    @async_to_deferred
    async def startBuild(self) -> None:
        """Ask for all runs."""
        if not self.enabled:
            return
        for target, suites in self.runs.items():
            properties = Properties()
            properties.update({"target": target, "suites": list(suites), "quick": self.quick}, self.name)
            reason = f"{self.name}: {', '.join(suites)} on {target}"
            await self.addBuildsetForSourceStampsWithDefaults(reason=reason, sourcestamps=[], properties=properties)


def nightly_suites(site: Site, schedule: Schedule) -> SuitesAtNight:
    """A schedule of schedules.yaml that names suites."""
    return SuitesAtNight(
        name=schedule.name,
        builderNames=[LAB],
        hour=schedule.hour,
        minute=schedule.minute,
        runs={target: list(suites) for target, suites in site.runs_of(schedule).items()},
        quick=schedule.quick,
    )
