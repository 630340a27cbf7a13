"""What starts builds: commits, the clock, people, and builds that hand on to builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot.changes.changes import Change
from buildbot.data.resultspec import Filter
from buildbot.plugins import changes, schedulers, util
from buildbot.process.properties import Properties
from buildbot.schedulers.trysched import Try_Userpass_Perspective
from buildbot.util.twisted import async_to_deferred

from config.models import Package, Schedule, Site
from master import house, lab
from master.builders import PROMOTE, SOURCE, TO_PROMOTE, TRY, takes_from_a_stage, to_target, to_try, try_builder
from master.pools import has_try_workers
from master.runs import PROMOTE_FORM, possible

CATEGORY = "dist-git"
HEARD = 500  # changes remembered; more than can be under way at a time
TRY_PROPERTIES = frozenset({"package", "targets"})


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


class EveryPackage(schedulers.Nightly):
    """At its time, one source build for each package. What did not change is found by its identity, not built again."""

    def checkConfig(self, packages: list[str], targets: list[str], **more: Any) -> None:  # noqa: ARG002
        """Leave the rest to Nightly."""
        super().checkConfig(**more)

    @async_to_deferred
    async def reconfigService(self, packages: list[str], targets: list[str], **more: Any) -> None:
        """Take over a (new) list of packages."""
        self.packages = packages
        self.targets = targets
        await super().reconfigService(**more)

    @async_to_deferred
    async def startBuild(self) -> None:
        """Ask for all packages."""
        if not self.enabled:
            return
        for package in self.packages:
            properties = Properties()
            properties.update({"package": package, "targets": self.targets}, self.name)
            await self.addBuildsetForSourceStampsWithDefaults(
                reason=f"{self.name}: {package}",
                sourcestamps=[{"codebase": "", "project": package}],
                properties=properties,
            )


class GuardedTryPerspective(Try_Userpass_Perspective):
    """What a client sends is a wish: few properties pass, the repository is ours, the user is the logged-in one."""

    @async_to_deferred
    async def perspective_try(
        self,
        branch: Any,
        revision: Any,
        patch: Any,
        repository: Any,  # noqa: ARG002 - the client's, and so refused
        project: Any,  # noqa: ARG002
        builderNames: Any,  # noqa: ARG002 - there is one
        who: Any = "",  # noqa: ARG002
        comment: Any = "",
        properties: Any = None,
    ) -> Any:
        """Start a try-build, or say what is refused."""
        wished = {str(key): value for key, value in (properties or {}).items()}
        if refused := sorted(wished.keys() - TRY_PROPERTIES):
            allowed = ", ".join(sorted(TRY_PROPERTIES))
            raise ValueError(f"refused properties: {', '.join(refused)}; a try-build takes {allowed}")
        package = str(wished.get("package", ""))
        if package not in self.scheduler.packages:
            raise ValueError(f"unknown package {package!r}: pass --property=package=NAME")
        return await super().perspective_try(
            branch,
            revision,
            patch,
            "",
            package,
            [TRY],
            self.username,
            comment,
            wished | {"owner": self.username},
        )


class GuardedTry(schedulers.Try_Userpass):
    """Try-builds for users with a password. Plain TCP: bound to where only trusted programs reach it."""

    def checkConfig(self, packages: list[str], **more: Any) -> None:  # noqa: ARG002
        """Leave the rest to Try_Userpass."""
        super().checkConfig(**more)

    @async_to_deferred
    async def reconfigService(self, packages: list[str], **more: Any) -> None:
        """Take over a (new) list of packages."""
        self.packages = packages
        await super().reconfigService(**more)

    @async_to_deferred
    async def _create_pb(self) -> None:
        for user, password in self.userpass:
            self.registrations.append(
                await self.master.pbmanager.register(
                    self.port, user, password, lambda _mind, username: GuardedTryPerspective(self, username)
                )
            )


def dist_git_url(site: Site, package: Package, state: str) -> str:
    """Where the package's repository lies."""
    return site.sources.dist_git.format(package=package.name, state=state)


def branches(site: Site, package: Package) -> list[str]:
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


def nightly(site: Site, schedule: Schedule) -> EveryPackage:
    """A schedule of schedules.yaml that names no suites."""
    asked = schedule.packages
    packages = [package.name for package in site.packages if asked == "all" or package.name in asked]
    return EveryPackage(
        name=schedule.name,
        builderNames=[SOURCE],
        codebases={"": {"repository": "", "branch": "", "revision": ""}},  # kitten source knows the preferred branch
        hour=schedule.hour,
        minute=schedule.minute,
        packages=packages,
        targets=[] if schedule.targets == "all" else list(schedule.targets),
    )


def force(site: Site) -> schedulers.ForceScheduler:
    """The form on the builder ``source``."""
    return schedulers.ForceScheduler(
        name="force",
        builderNames=[SOURCE],
        label="Build a package",
        buttonName="Build a package",
        reason=util.StringParameter(name="reason", label="Reason", default="asked for", size=60, maxsize=200),
        priority=util.IntParameter(name="priority", default=0, hide=True),
        codebases=[
            util.CodebaseParameter(
                codebase="",
                label="dist-git",
                branch=util.ChoiceStringParameter(
                    name="branch",
                    label="Branch (empty: the preferred one)",
                    choices=["", *site.sources.branches],
                    default="",
                    strict=True,
                ),
                revision=util.StringParameter(
                    name="revision", label="Commit (empty: newest)", default="", regex=r"^([0-9a-f]{7,64})?$"
                ),
                repository=util.FixedParameter(name="repository", default=""),
                project=util.FixedParameter(name="project", default=""),
            )
        ],
        properties=[
            util.ChoiceStringParameter(
                name="package",
                label="Package",
                choices=[package.name for package in site.packages],
                default=site.packages[0].name if site.packages else "",
                strict=True,
                required=True,
            ),
            util.ChoiceStringParameter(
                name="targets",
                label="Targets (none chosen: all)",
                choices=[target.name for target in site.targets],
                multiple=True,
                strict=True,
                default="",
            ),
        ],
    )


def promote_form(site: Site) -> schedulers.ForceScheduler:
    """The form on the builder ``promote``: for who may override the gate (master.authz)."""
    first = next(number for number, stage in enumerate(site.stages) if stage.signed)
    rules = [rule for stage in site.stages[first + 1 :] for rule in stage.overridable]
    nothing = {
        name: util.FixedParameter(name=name, default="") for name in ("branch", "revision", "repository", "project")
    }
    return schedulers.ForceScheduler(
        name=PROMOTE_FORM,
        builderNames=[PROMOTE],
        label="Let packages pass",
        buttonName="Let packages pass",
        reason=util.StringParameter(name="reason", label="Reason", default="asked for", size=60, maxsize=200),
        priority=util.IntParameter(name="priority", default=0, hide=True),
        codebases=[util.CodebaseParameter(codebase="", hide=True, **nothing)],
        properties=[
            util.ChoiceStringParameter(
                name="packages",
                label="Packages, together or not at all (none chosen: all that wait and may)",
                choices=[package.name for package in site.packages],
                multiple=True,
                strict=True,
                default="",
            ),
            util.ChoiceStringParameter(
                name="override",
                label="Rules of the gate that they may break",
                choices=list(dict.fromkeys(rules)),
                multiple=True,
                strict=True,
                default="",
            ),
            util.StringParameter(
                name="override_reason", label="Why they may (kept with the packages)", default="", size=60, maxsize=500
            ),
        ],
    )


def triggers(site: Site) -> list[schedulers.Triggerable]:
    """What the hand-off steps call."""
    made = [schedulers.Triggerable(name=to_target(t.name), builderNames=[t.name]) for t in site.targets]
    made.append(schedulers.Triggerable(name=TO_PROMOTE, builderNames=[PROMOTE]))
    if has_try_workers(site):
        made += [schedulers.Triggerable(name=to_try(t.name), builderNames=[try_builder(t.name)]) for t in site.targets]
    return made


def all_schedulers(site: Site, try_endpoint: str | None, try_users: Mapping[str, str]) -> list[Any]:
    """Every scheduler of a site.

    :param try_endpoint: Twisted endpoint of try-builds; none: not offered.
    :param try_users: user → password of those who may start try-builds.
    """
    made: list[Any] = [
        OnCommit(
            name="on-commit",
            builderNames=[SOURCE],
            change_filter=util.ChangeFilter(category=CATEGORY),
            reason="a commit in dist-git",
        ),
        *(lab.at_night(site, s) if s.suites else nightly(site, s) for s in site.schedules),
        force(site),
        *([lab.force(site)] if possible(site) else []),
        *([promote_form(site)] if takes_from_a_stage(site) else []),
        *house.forms(site),
        *house.by_the_clock(site),
        *triggers(site),
    ]
    if try_endpoint and try_users and has_try_workers(site):
        made.append(
            GuardedTry(
                name="try",
                builderNames=[TRY],
                port=try_endpoint,
                userpass=sorted(try_users.items()),
                packages=[package.name for package in site.packages],
            )
        )
    return made
