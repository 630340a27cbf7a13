"""The builders ``clean`` and ``compose``: housekeeping on the publishing worker, on a schedule or on demand.

The worker has one slot more for them (``master.pools``), so a publication does not wait for their end. If both would
change the same files, the locks of the commands make one of them wait. Only one housekeeping build runs at a time.
"""

from __future__ import annotations

from typing import Any

from buildbot.plugins import schedulers, util
from buildbot.process.factory import BuildFactory
from buildbot.util.twisted import async_to_deferred
from twisted.internet.defer import Deferred, succeed

from config.models import Composes, Site, Stage
from master.builds import factory
from steps.housekeeping import IF_DUE, REMOVE, STAGE, CleanStep, ComposeStep
from steps.names import CLEAN, COMPOSE

HOUSEKEEPING = util.MasterLock("housekeeping")
CLEAN_MINUTES, COMPOSE_MINUTES = 240, 60  # in a large store, most time goes into reading every folder


def composed_stages(site: Site) -> list[tuple[Stage, Composes]]:
    """Return the stages that composes are made of, with their settings."""
    return [(stage, stage.composes) for stage in site.stages if stage.composes is not None]


def _step_options(options: dict[str, Any], minutes: int) -> dict[str, Any]:
    """Return the options with this time limit; the commands print nothing before their end."""
    return options | {"time_limit": minutes * 60, "silence_limit": minutes * 60}


def clean_factory(options: dict[str, Any]) -> BuildFactory:
    """Return the step of ``clean``: it removes files only if the build's property says so.

    :param options: arguments of every step that runs a command.
    """
    return factory([CleanStep(arguments=["clean"], **_step_options(options, CLEAN_MINUTES))])


def compose_factory(options: dict[str, Any]) -> BuildFactory:
    """Return the step of ``compose``: it composes the stage in the build's property, if that has something new."""
    return factory([ComposeStep(arguments=["compose"], **_step_options(options, COMPOSE_MINUTES))])


@async_to_deferred
async def is_duplicate_request(
    master: Any,
    builder: Any,  # noqa: ARG001 - Buildbot's signature
    new: dict[str, Any],
    old: dict[str, Any],
) -> bool:
    """Answer ``collapseRequests`` of both builders: whether a new request wants the same as an older one that waits.

    Buildbot's own answer ignores the values of forms.
    """
    if new["buildrequestid"] < old["buildrequestid"]:
        return False
    wanted = []
    for request in (new, old):
        properties = await master.data.get(("buildsets", str(request["buildsetid"]), "properties"))
        wanted.append({name: value for name, (value, _) in properties.items() if name in (REMOVE, STAGE, IF_DUE)})
    return bool(wanted[0] == wanted[1])


class ByTheClock(schedulers.Periodic):
    """A periodic scheduler whose first build starts after one period: a new service has nothing to compose."""

    def getNextBuildTime(self, lastActuated: float | None) -> Deferred[float]:
        """Return the time of the next build, in seconds since 1970."""
        if lastActuated is None:
            return succeed(self.now() + self.periodicBuildTimer)
        return super().getNextBuildTime(lastActuated)


def timed_schedulers(site: Site) -> list[Any]:
    """Return the schedulers of the daily clean, and of each stage's composes."""
    timed: list[Any] = [
        ByTheClock(
            name=f"compose-{stage.name}-by-the-clock",
            builderNames=[COMPOSE],
            periodicBuildTimer=composes.every_minutes * 60,
            reason=f"every {composes.every_minutes} min",
            properties={STAGE: stage.name, IF_DUE: True},
        )
        for stage, composes in composed_stages(site)
    ]
    if (daily := site.retention.clean) is not None:
        timed.append(
            schedulers.Nightly(
                name="clean-by-the-clock",
                builderNames=[CLEAN],
                hour=daily.hour,
                minute=daily.minute,
                reason="once a day",
                properties={REMOVE: True},
            )
        )
    return timed
