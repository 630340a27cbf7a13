"""The builders ``clean`` and ``compose``: what the service does for itself, on the publishing worker, by the clock or asked for.

They have a place of their own on that worker (``master.pools``), so a publication does not wait for them to end; the
commands' own locks make it wait for a moment where both would change the same. One of them runs at a time.
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
CLEAN_MINUTES, COMPOSE_MINUTES = 240, 60  # most of a large store's time goes into looking at each folder of it


def composed_stages(site: Site) -> list[tuple[Stage, Composes]]:
    """The stages that are composed_stages, and how often."""
    return [(stage, stage.composes) for stage in site.stages if stage.composes is not None]


def _step_options(told: dict[str, Any], minutes: int) -> dict[str, Any]:
    """Neither command says anything before its end."""
    return told | {"time_limit": minutes * 60, "silence_limit": minutes * 60}


def clean_factory(told: dict[str, Any]) -> BuildFactory:
    """A build that removes only where its property says so.

    :param told: what every step of a command is told.
    """
    return factory([CleanStep(arguments=["clean"], **_step_options(told, CLEAN_MINUTES))])


def compose_factory(told: dict[str, Any]) -> BuildFactory:
    """A build that composes the stage of its property, where there is something new."""
    return factory([ComposeStep(arguments=["compose"], **_step_options(told, COMPOSE_MINUTES))])


@async_to_deferred
async def is_duplicate_request(master: Any, builder: Any, new: dict[str, Any], old: dict[str, Any]) -> bool:  # noqa: ARG001
    """``collapseRequests`` of both builders: a request that asks for what a waiting one asks for stands for both.

    Buildbot's own answer does not look at what a form was filled in with.
    """
    if new["buildrequestid"] < old["buildrequestid"]:
        return False
    asked = []
    for request in (new, old):
        properties = await master.data.get(("buildsets", str(request["buildsetid"]), "properties"))
        asked.append({name: value for name, (value, _) in properties.items() if name in (REMOVE, STAGE, IF_DUE)})
    return bool(asked[0] == asked[1])


class ByTheClock(schedulers.Periodic):
    """Every so many seconds. The first time after that long: a service that was just made has nothing to compose."""

    def getNextBuildTime(self, lastActuated: float | None) -> Deferred[float]:
        """Seconds since 1970."""
        if lastActuated is None:
            return succeed(self.now() + self.periodicBuildTimer)
        return super().getNextBuildTime(lastActuated)


def timed_schedulers(site: Site) -> list[Any]:
    """The nightly clean, and the composes of each stage that has any."""
    made: list[Any] = [
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
        made.append(
            schedulers.Nightly(
                name="clean-by-the-clock",
                builderNames=[CLEAN],
                hour=daily.hour,
                minute=daily.minute,
                reason="once a day",
                properties={REMOVE: True},
            )
        )
    return made
