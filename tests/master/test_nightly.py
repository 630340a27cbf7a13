"""The schedules: at their time they request every package or every target once, and at no other time."""

from __future__ import annotations

from typing import Any

from buildbot.test.reactor import TestReactorMixin
from buildbot.test.util.scheduler import SchedulerMixin
from twisted.trial import unittest

from config.loading import load_site
from master.lab import nightly_suites
from master.schedulers import nightly_packages

HOUR = 3600


class TestNightly(SchedulerMixin, TestReactorMixin, unittest.TestCase):
    async def setUp(self) -> None:
        self.setup_test_reactor()
        await self.setUpScheduler()
        self.site = load_site("demo")

    async def requested(self, *names: str) -> list[Any]:
        found = []
        for row in await self.master.data.get(("buildsets",)):
            properties = await self.master.db.buildsets.getBuildsetProperties(row["bsid"])
            found.append(tuple(properties[name][0] for name in names))
        return sorted(found)

    async def seen_in_a_day(self, scheduler_of_site: Any, *names: str) -> list[Any]:
        """Return the requests at each change within 25 hours."""
        scheduler = await self.attachScheduler(scheduler_of_site, 7, 8, createBuilderDB=True)
        self.reactor.advance(0)
        await self.master.startService()
        seen: list[Any] = []
        for _ in range(25):
            requests = await self.requested(*names)
            if not seen or requests != seen[-1]:
                seen.append(requests)
            self.reactor.advance(HOUR)
        await scheduler.disownServiceParent()
        return seen

    async def test_every_package_is_requested_once_a_day_at_its_hour(self) -> None:
        (schedule,) = [schedule for schedule in self.site.schedules if not schedule.suites]
        everything = sorted((package.name,) for package in self.site.packages)
        assert await self.seen_in_a_day(nightly_packages(self.site, schedule), "package") == [[], everything]

    async def test_the_suites_of_every_target_are_requested_once_a_day_at_their_hour(self) -> None:
        (schedule,) = [schedule for schedule in self.site.schedules if schedule.suites]
        runs = sorted((target, list(suites)) for target, suites in self.site.runs_of(schedule).items())
        assert len(runs) == len(self.site.targets)
        assert await self.seen_in_a_day(nightly_suites(self.site, schedule), "target", "suites") == [[], runs]
