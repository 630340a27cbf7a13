"""From a push to a dist-git to a build of its source: the pollers, and the scheduler that hears them."""

from __future__ import annotations

from typing import Any

from buildbot.changes.changes import Change
from buildbot.data.resultspec import Filter
from buildbot.plugins import changes, schedulers, util
from buildbot.process.properties import Properties
from buildbot.util.twisted import async_to_deferred

from config.models import Site, SourcePackage
from steps.names import SOURCE

CATEGORY = "dist-git"
HEARD = 500  # changes remembered; more than can be under way at a time


class DistGitPoller(changes.GitPoller):
    """Follows a package's dist-git: a push is one change, its newest commit, also on a branch never seen before.

    Buildbot's own poller takes whatever is there at its first look as known, and so misses the first push to an empty
    repository. Its state is written after the changes are, so a master killed in between would report them again; the
    newest change in the database tells.
    """

    lastRev: dict[str, str] | None

    @async_to_deferred
    async def _process_changes(self, newRev: str, branch: str) -> None:
        known = self.lastRev or {}
        if known.get(branch) == newRev:
            return
        if await self._newest_change(branch) == newRev:
            self.lastRev = {**known, branch: newRev}
            return
        # What super() takes as known: all but the newest commit. Git ignores `~1` of a commit without a parent.
        self.lastRev = {**known, branch: f"{newRev}~1"}
        await super()._process_changes(newRev, branch)

    async def _newest_change(self, branch: str) -> str | None:
        found = await self.master.data.get(
            ("changes",),
            filters=[Filter("repository", "eq", [self.repourl]), Filter("branch", "eq", [branch])],
            order=["-changeid"],
            limit=1,
        )
        return found[0]["revision"] if found else None


class OnCommit(schedulers.AnyBranchScheduler):
    """One source build for a push, with the package as its property (the poller's project is the package).

    Buildbot's schedulers hear of changes by message only: one that a poller stores before the scheduler listens, or
    just before the master is killed, is never built. So this one remembers what it has heard, and catches up.

    There is no treeStableTimer: when one package's fires, Buildbot 4.3 forgets the older changes of all others.
    """

    heard: list[int]

    @async_to_deferred
    async def activate(self) -> None:
        """Listen, then take up what was stored while nobody listened."""
        self.heard = await self.getState("heard", [])
        known = set(self.heard)
        await super().activate()
        if not self.enabled:
            return
        since = [Filter("changeid", "gt", [min(known)])] if known else []
        for row in await self.master.data.get(("changes",), filters=since, order=["changeid"]):
            if row["changeid"] not in known and row["category"] == CATEGORY:
                found = await self.master.db.changes.getChange(row["changeid"])
                await self.gotChange(await Change.fromChdict(self.master, found), True)

    @async_to_deferred
    async def gotChange(self, change: Any, important: bool) -> None:
        """Take up a change, once. Killed before it is remembered, it is built again: better than not at all."""
        if change.number in self.heard:
            return
        self.heard = [*self.heard, change.number][-HEARD:]
        await super().gotChange(change, important)
        await self.setState("heard", self.heard)

    @async_to_deferred
    async def addBuildsetForChanges(self, *, changeids: list[int], **more: Any) -> Any:
        """Name the package, which the changes know and the buildset does not."""
        change = await self.master.data.get(("changes", changeids[-1]))
        properties = Properties()
        properties.setProperty("package", change["project"], "Change")
        return await super().addBuildsetForChanges(changeids=changeids, properties=properties, **more)


def dist_git_url(site: Site, package: SourcePackage, state: str) -> str:
    """Where the package's repository lies."""
    return site.sources.dist_git.format(package=package.name, state=state)


def branches(site: Site, package: SourcePackage) -> list[str]:
    """The branches to follow: a modified package's own, or all that the site names."""
    return [package.modification.branch] if package.modification else list(site.sources.branches)


def pollers(site: Site, state: str) -> list[DistGitPoller]:
    """One poller for each package."""
    return [
        DistGitPoller(
            repourl=dist_git_url(site, package, state),
            name=f"dist-git {package.name}",
            branches=branches(site, package),
            pollInterval=site.sources.poll_seconds,
            pollAtLaunch=True,
            project=package.name,
            category=CATEGORY,
            workdir=f"dist-git/{package.name}",
            buildPushesWithNoCommits=True,
        )
        for package in site.packages
    ]


def on_commit() -> OnCommit:
    """A source build for each push to a dist-git."""
    return OnCommit(
        name="on-commit",
        builderNames=[SOURCE],
        change_filter=util.ChangeFilter(category=CATEGORY),
        reason="a commit in dist-git",
    )
