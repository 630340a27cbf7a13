"""Housekeeping on a schedule: it starts only at its time, once for equal requests, and is reported afterwards."""

from __future__ import annotations

import json
from typing import Any

from buildbot.process.results import FAILURE, SUCCESS
from buildbot.test import fakedb
from buildbot.test.reactor import TestReactorMixin
from buildbot.test.util.scheduler import SchedulerMixin
from twisted.trial import unittest

from config.loading import load_site
from master.housekeeping import is_duplicate_request, timed_schedulers
from master.web.matrix import read_housekeeping

MINUTE, HOUR = 60, 3600


class TestClock(SchedulerMixin, TestReactorMixin, unittest.TestCase):
    async def setUp(self) -> None:
        self.setup_test_reactor()
        await self.setUpScheduler()
        self.schedulers = {scheduler.name: scheduler for scheduler in timed_schedulers(load_site("demo"))}

    async def requests_within(self, name: str, minutes: int) -> list[tuple[int, dict[str, Any]]]:
        """Return (minute, properties) of each request within that time."""
        scheduler = await self.attachScheduler(self.schedulers[name], 7, 8, createBuilderDB=True)
        self.reactor.advance(0)
        await self.master.startService()
        requests: dict[int, tuple[int, dict[str, Any]]] = {}
        for minute in range(0, minutes, 5):
            for row in await self.master.data.get(("buildsets",)):
                if row["bsid"] not in requests:
                    properties = await self.master.db.buildsets.getBuildsetProperties(row["bsid"])
                    plain = {key: value for key, (value, _) in properties.items() if key != "scheduler"}
                    requests[row["bsid"]] = (minute, plain)
            self.reactor.advance(5 * MINUTE)
        await scheduler.disownServiceParent()
        return list(requests.values())

    async def test_composes_are_requested_after_each_period_and_not_at_the_first_start(self) -> None:
        due = {"stage": "kitten", "if_due": True}
        requests = await self.requests_within("compose-kitten-by-the-clock", 190)
        assert requests == [(60, due), (120, due), (180, due)]

    async def test_the_store_is_cleaned_once_a_day(self) -> None:
        ((_, properties),) = await self.requests_within("clean-by-the-clock", 24 * 60)
        assert properties == {"remove": True}

    async def test_equal_requests_are_collapsed_into_one(self) -> None:
        requested: list[dict[str, Any]] = [
            {"remove": False},
            {"remove": True, "owner": "a"},
            {"remove": True, "owner": "b"},
            {"stage": "kitten"},
            {"stage": "testing"},
            {"stage": "testing", "if_due": True},
        ]
        rows: list[Any] = [fakedb.Builder(id=8, name="clean")]
        for number, properties in enumerate(requested, 1):
            rows.append(fakedb.Buildset(id=number))
            for name, value in properties.items():
                pair = json.dumps([value, "Force Build Form"])
                rows.append(fakedb.BuildsetProperty(buildsetid=number, property_name=name, property_value=pair))
        await self.insert_test_data(rows)

        async def collapses(new: int, old: int) -> bool:
            requests = [{"buildsetid": number, "buildrequestid": number} for number in (new, old)]
            return bool(await is_duplicate_request(self.master, None, *requests))

        assert await collapses(3, 2)
        assert not await collapses(2, 3)  # a newer request does not replace an older one
        assert not await collapses(3, 1)
        assert not await collapses(5, 4)
        assert not await collapses(6, 5)

    async def insert_test_data(self, rows: list[Any]) -> None:
        await self.master.db.insert_test_data(rows)

    async def test_the_newest_compose_of_each_stage_and_the_newest_clean_are_reported(self) -> None:
        names = {1: "clean", 2: "compose", 3: "promote"}
        rows: list[Any] = [fakedb.Master(id=1), fakedb.Worker(id=1, name="publish-1")]
        rows += [fakedb.Builder(id=number, name=name) for number, name in names.items()]
        kinds: list[tuple[int, dict[str, Any], int | None, str]] = [
            (1, {"remove": True}, FAILURE, "old"),
            (1, {"remove": True}, SUCCESS, "removed"),
            (1, {"remove": False}, SUCCESS, "dry run"),
            (2, {"stage": "kitten"}, SUCCESS, "older"),
            (2, {"stage": "kitten"}, None, "starting"),
            (2, {"stage": "testing"}, SUCCESS, "made"),
            (3, {"stage": "kitten"}, SUCCESS, "of another builder"),
        ]
        for number, (builder, properties, results, text) in enumerate(kinds, 1):
            rows += [
                fakedb.Buildset(id=number),
                fakedb.BuildRequest(id=number, buildsetid=number, builderid=builder),
                fakedb.Build(
                    id=number,
                    number=number,
                    builderid=builder,
                    buildrequestid=number,
                    masterid=1,
                    workerid=1,
                    results=results,
                    state_string=text,
                    started_at=number,
                    complete_at=None if results is None else 100 + number,
                ),
            ]
            rows += [
                fakedb.BuildProperty(buildid=number, name=name, value=value, source="test")
                for name, value in properties.items()
            ]
        await self.insert_test_data(rows)
        found = await read_housekeeping(self.master)
        reported = [(row["what"], row["number"], row["results"], row["text"], row["finished"]) for row in found]
        assert reported == [
            ("compose kitten", 5, "", "starting", 0),
            ("compose testing", 6, "success", "made", 106),
            ("clean", 2, "success", "removed", 102),
            ("clean, dry run", 3, "success", "dry run", 103),
        ]
