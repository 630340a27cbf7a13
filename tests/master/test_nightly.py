"""The nightly at its time: every package asked for once, and nothing at any other time."""

from __future__ import annotations

from typing import Any

from buildbot.test.reactor import TestReactorMixin
from buildbot.test.util.scheduler import SchedulerMixin
from twisted.trial import unittest

from config.loading import load_site
from master.schedulers import nightly

HOUR = 3600


class TestNightly(SchedulerMixin, TestReactorMixin, unittest.TestCase):
    async def setUp(self) -> None:
        self.setup_test_reactor()
        await self.setUpScheduler()
        self.site = load_site("demo")

    async def packages_asked_for(self) -> list[str]:
        found = []
        for row in await self.master.data.get(("buildsets",)):
            properties = await self.master.db.buildsets.getBuildsetProperties(row["bsid"])
            found.append(properties["package"][0])
        return sorted(found)

    async def test_every_package_is_asked_for_once_a_day_at_its_hour(self) -> None:
        schedule = self.site.schedules[0]
        scheduler = await self.attachScheduler(nightly(self.site, schedule), 7, 8, createBuilderDB=True)
        self.reactor.advance(0)
        await self.master.startService()
        everything = sorted(package.name for package in self.site.packages)
        seen: list[tuple[int, Any]] = []
        for hour in range(25):
            asked = await self.packages_asked_for()
            if not seen or asked != seen[-1][1]:
                seen.append((hour, asked))
            self.reactor.advance(HOUR)
        assert [asked for _, asked in seen] == [[], everything]
        await scheduler.disownServiceParent()
