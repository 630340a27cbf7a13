"""From a push to dist-git to a source build: the pollers, and the scheduler that receives their changes."""

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
MAX_HEARD = 500  # changes that the scheduler remembers; more than can be under way at a time


class DistGitPoller(changes.GitPoller):
    """The poller of one package's dist-git: a push is one change, its newest commit, also on a new branch.

    Buildbot's own poller treats all commits of its first poll as known, and so misses the first push to an empty
    repository. It also writes its state after the changes, so a master that is killed in between would report them
    again; this one compares with the newest change in the database.
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
        # What super() treats as known: all but the newest commit. Git ignores `~1` of a commit without a parent.
        self.lastRev = {**known, branch: f"{newRev}~1"}
        await super()._process_changes(newRev, branch)

    async def _newest_change(self, branch: str) -> str | None:
        rows = await self.master.data.get(
            ("changes",),
            filters=[Filter("repository", "eq", [self.repourl]), Filter("branch", "eq", [branch])],
            order=["-changeid"],
            limit=1,
        )
        return rows[0]["revision"] if rows else None


class OnCommit(schedulers.AnyBranchScheduler):
    """The scheduler that starts one source build for a push, with the package as a property (the poller's project).

    Buildbot's schedulers learn of changes only by message: a change that a poller stores before the scheduler listens,
    or just before the master is killed, is never built. So this one remembers the changes that it has heard of, and
    catches up at its start.

    It has no treeStableTimer: if one package's timer fires, Buildbot 4.3 forgets the older changes of all others.
    """

    heard: list[int]

    @async_to_deferred
    async def activate(self) -> None:
        """Listen, then process the changes that were stored while the scheduler did not listen."""
        self.heard = await self.getState("heard", [])
        known = set(self.heard)
        await super().activate()
        if not self.enabled:
            return
        since = [Filter("changeid", "gt", [min(known)])] if known else []
        for row in await self.master.data.get(("changes",), filters=since, order=["changeid"]):
            if row["changeid"] not in known and row["category"] == CATEGORY:
                stored = await self.master.db.changes.getChange(row["changeid"])
                await self.gotChange(await Change.fromChdict(self.master, stored), True)

    @async_to_deferred
    async def gotChange(self, change: Any, important: bool) -> None:
        """Process a change once. If the master is killed before this is recorded, the change is built twice."""
        if change.number in self.heard:
            return
        self.heard = [*self.heard, change.number][-MAX_HEARD:]
        await super().gotChange(change, important)
        await self.setState("heard", self.heard)

    @async_to_deferred
    async def addBuildsetForChanges(self, *, changeids: list[int], **more: Any) -> Any:
        """Add the package as a property: the change knows it, and the buildset does not."""
        change = await self.master.data.get(("changes", changeids[-1]))
        properties = Properties()
        properties.setProperty("package", change["project"], "Change")
        return await super().addBuildsetForChanges(changeids=changeids, properties=properties, **more)


def dist_git_url(site: Site, package: SourcePackage, state: str) -> str:
    """Return the URL or path of a package's dist-git repository."""
    return site.sources.dist_git.format(package=package.name, state=state)


def branches(site: Site, package: SourcePackage) -> list[str]:
    """Return the branches to follow: the branch of a modified package, or all branches that the site names."""
    return [package.modification.branch] if package.modification else list(site.sources.branches)


def pollers(site: Site, state: str) -> list[DistGitPoller]:
    """Return one poller for each package."""
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
    """Return the scheduler that starts a source build for each push to dist-git."""
    return OnCommit(
        name="on-commit",
        builderNames=[SOURCE],
        change_filter=util.ChangeFilter(category=CATEGORY),
        reason="a commit in dist-git",
    )
