"""The build queue: in memory, which packages wait or are built on each target, and which were ever built there.

It is loaded from the database once; after that, Buildbot's messages keep it up to date. To ask whether a build may
start then costs no query.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from buildbot.data.resultspec import Filter
from buildbot.process.results import EXCEPTION, FAILURE, SUCCESS, WARNINGS
from buildbot.util.service import BuildbotService
from buildbot.util.twisted import async_to_deferred
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred

from config.models import Site
from master.waiting import Request, dependents, needs, providers, reason_to_wait

NAME = "build-queue"


@dataclass
class TargetQueue:
    """The unfinished build requests of one target, and its history."""

    requests: dict[int, Request] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    history: dict[str, bool] = field(default_factory=dict)
    """Package → whether one of its builds ever succeeded; absent: none ever finished."""


class BuildQueue(BuildbotService):
    """Keep the queue of each target, and wake the builders whose requests may have become startable."""

    name = NAME

    def checkConfig(self, site: Site, source: str, last: str) -> None:
        """Check nothing: the models of the site did."""

    @async_to_deferred
    async def reconfigService(self, site: Site, source: str, last: str) -> None:
        """Use a new site.

        :param source: name of the builder that makes source packages.
        :param last: name of the builder that gets a worker only if no build of a package can use it.
        """
        self.last_builder = last
        self.providers = {target.name: providers(site, target.name) for target in site.targets}
        self.source_builder = source
        self.queues: dict[str, TargetQueue] = {target.name: TargetQueue() for target in site.targets}
        self.in_source: dict[int, str] = {}
        self.lock = DeferredLock()
        self.builders: dict[int, str] = {}
        if self.running:
            await self._locked(self._load)

    @async_to_deferred
    async def startService(self) -> None:
        """Listen first, then load: messages that arrive in between are handled after the load."""
        await super().startService()
        self._consumer = await self.master.mq.startConsuming(self._on_message, ("buildrequests", None, None))
        await self._locked(self._load)
        self.master.botmaster.maybeStartBuildsForAllBuilders()

    @async_to_deferred
    async def stopService(self) -> None:
        """Stop listening."""
        if self.running:
            self._consumer.stopConsuming()
        await super().stopService()

    def catch_up(self) -> Deferred[None]:
        """Return a Deferred that fires when every message received so far is handled."""
        return self.lock.run(lambda: None)

    def reason_of(self, target: str, number: int) -> str | None:
        """Return why a request of a target's builder waits for other packages; None if it does not."""
        queue = self.queues[target]
        if (request := queue.requests.get(number)) is None:
            return None
        return reason_to_wait(
            request, target, set(self.in_source.values()), list(queue.requests.values()), queue.history
        )

    def urgency(self, target: str, number: int) -> int:
        """Return how many other packages wait for a request of a target's builder."""
        queue = self.queues[target]
        request = queue.requests.get(number)
        return dependents(request.package, queue.requests.values()) if request else 0

    def highest_urgency(self, target: str) -> int:
        """Return the highest urgency of a target's requests that may start; -1 if none may."""
        startable = [
            n
            for n in self.queues[target].requests.keys() - self.queues[target].running
            if not self.reason_of(target, n)
        ]
        return max((self.urgency(target, number) for number in startable), default=-1)

    def waiting_requests(self) -> list[dict[str, Any]]:
        """Return every request that has not started, with the reason, oldest first."""
        rows = [
            {
                "buildrequestid": number,
                "target": target,
                "package": request.package,
                "reason": self.reason_of(target, number) or "waits for a free worker",
            }
            for target, queue in self.queues.items()
            for number, request in queue.requests.items()
            if number not in queue.running
        ]
        return sorted(rows, key=lambda row: row["buildrequestid"])

    def _locked(self, work: Any, *arguments: Any) -> Deferred[None]:
        return self.lock.run(lambda: ensureDeferred(work(*arguments)))

    def _on_message(self, key: tuple[str, str, str], message: dict[str, Any]) -> Deferred[None]:
        return self._locked(self._handle, key[-1], message)

    async def _load(self) -> None:
        for name in (self.source_builder, *self.queues):
            self.builders[await self.master.data.updates.findBuilderId(name)] = name
        self.in_source.clear()
        for queue in self.queues.values():
            queue.requests.clear()
            queue.running.clear()
        for row in await self.master.data.get(("buildrequests",), filters=[Filter("complete", "eq", [False])]):
            await self._handle("new", row)
            if row["claimed"]:
                await self._handle("claimed", row)
        for builder, package, built in await self.master.db.pool.do(self._read_history):
            if (name := self.builders.get(builder, "")) in self.queues:
                self.queues[name].history[package] = built

    def _read_history(self, connection: Any) -> list[tuple[int, str, bool]]:
        """Return (builder, package, whether it ever succeeded) for all finished builds.

        One query: the data API needs one for each build.
        """
        import json

        builds, properties = self.master.db.model.builds, self.master.db.model.build_properties
        built = sa.func.max(sa.case((builds.c.results.in_([SUCCESS, WARNINGS]), 1), else_=0))
        query = (
            sa.select(builds.c.builderid, properties.c.value, built)
            .where(properties.c.buildid == builds.c.id, properties.c.name == "package")
            .where(builds.c.results.in_([SUCCESS, WARNINGS, FAILURE, EXCEPTION]))
            .group_by(builds.c.builderid, properties.c.value)
        )
        return [(row[0], json.loads(row[1]), bool(row[2])) for row in connection.execute(query)]

    async def _handle(self, event: str, message: dict[str, Any]) -> None:
        name, number = self.builders.get(message["builderid"], ""), message["buildrequestid"]
        if not name:
            return
        if event == "new":
            await self._add(name, number, message["buildsetid"])
        elif event in ("claimed", "unclaimed") and name in self.queues:
            (self.queues[name].running.add if event == "claimed" else self.queues[name].running.discard)(number)
        elif event == "complete":
            self._remove(name, number, message["results"])

    async def _add(self, name: str, number: int, buildset: int) -> None:
        properties = await self.master.db.buildsets.getBuildsetProperties(buildset)
        package = str(properties.get("package", ("", ""))[0])
        if name == self.source_builder:
            self.in_source[number] = package
            return
        required = needs(package, properties.get("build_requires", ([], ""))[0], self.providers[name])
        self.queues[name].requests[number] = Request(number, package, required)

    def _remove(self, name: str, number: int, results: int) -> None:
        if name == self.source_builder:
            self.in_source.pop(number, None)
            waiting = [target for target, queue in self.queues.items() if queue.requests.keys() - queue.running]
        else:
            queue = self.queues[name]
            queue.running.discard(number)
            request = queue.requests.pop(number, None)
            if request and results in (SUCCESS, WARNINGS):
                queue.history[request.package] = True
            elif request and results in (FAILURE, EXCEPTION):
                queue.history.setdefault(request.package, False)
            waiting = [name] if queue.requests.keys() - queue.running else []
        for target in waiting:
            self.master.botmaster.maybeStartBuildsForBuilder(target)


@async_to_deferred
async def may_start(builder: Any, worker: Any, request: Any) -> bool:  # noqa: ARG001 - Buildbot's signature
    """Answer ``canStartBuild`` of a target's builder: whether no package that the build needs has to be built first."""
    build_queue = builder.master.service_manager.namedServices.get(NAME)
    if build_queue is None or not build_queue.running:
        return False  # the master is still starting; the build queue wakes the builders when it is ready
    await build_queue.catch_up()
    return build_queue.reason_of(builder.name, request.id) is None


@async_to_deferred
async def next_request(builder: Any, requests: list[Any]) -> Any:
    """Answer ``nextBuild`` of a target's builder: the package that most others wait for, then the oldest request."""
    build_queue = builder.master.service_manager.namedServices.get(NAME)
    if build_queue is None or not build_queue.running:
        return requests[0]
    await build_queue.catch_up()
    return min(requests, key=lambda request: (-build_queue.urgency(builder.name, request.id), request.id))


@async_to_deferred
async def sort_by_urgency(master: Any, builders: list[Any]) -> list[Any]:
    """Answer ``prioritizeBuilders``: first the targets whose next build others wait for, then the oldest request.

    Without this, workers that serve several targets could end with one chain of dependent builds, and no other build to
    run beside it.
    """
    build_queue = master.service_manager.namedServices.get(NAME)
    urgency: dict[str, float] = {}
    if build_queue is not None and build_queue.running:
        await build_queue.catch_up()
        urgency = {name: build_queue.highest_urgency(name) for name in build_queue.queues}
        urgency[build_queue.source_builder] = sum(len(queue.requests) for queue in build_queue.queues.values()) + 1
        # After 0, a build that no other waits for; before -1, a target that cannot start a build.
        urgency[build_queue.last_builder] = -0.5
    keys = {}
    for each in builders:
        oldest = await each.getOldestRequestTime()
        keys[each.name] = (-urgency.get(each.name, 0), oldest is None, oldest or 0, each.name)
    return sorted(builders, key=lambda each: keys[each.name])
