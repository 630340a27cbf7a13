"""The schedulers: they start builds for commits, at set times, for people, and for other builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot.plugins import schedulers
from buildbot.process.properties import Properties
from buildbot.util.twisted import async_to_deferred

from config.models import Schedule, Site
from master import housekeeping, lab
from master.builders import TO_PROMOTE, promotes_between_stages, target_scheduler_name, try_scheduler_name
from master.commits import on_commit
from master.pools import has_try_workers
from master.runs import runnable_suites
from master.try_scheduler import GuardedTry
from master.web.forms import build_form, housekeeping_forms, promote_form, suites_form
from steps.names import PROMOTE, SOURCE, TRY, try_builder


class EveryPackage(schedulers.Nightly):
    """The scheduler that starts a source build of each package at its time. Unchanged packages are not built again."""

    def checkConfig(self, packages: list[str], targets: list[str], **more: Any) -> None:  # noqa: ARG002
        """Check the arguments of Nightly."""
        super().checkConfig(**more)

    @async_to_deferred
    async def reconfigService(self, packages: list[str], targets: list[str], **more: Any) -> None:
        """Use a new list of packages and targets."""
        self.packages = packages
        self.targets = targets
        await super().reconfigService(**more)

    @async_to_deferred
    async def startBuild(self) -> None:
        """Request a build of each package."""
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


def nightly_packages(site: Site, schedule: Schedule) -> EveryPackage:
    """Return the scheduler of an entry of schedules.yaml that names no suites."""
    return EveryPackage(
        name=schedule.name,
        builderNames=[SOURCE],
        codebases={"": {"repository": "", "branch": "", "revision": ""}},  # `kitten source` chooses the branch
        hour=schedule.hour,
        minute=schedule.minute,
        packages=list(schedule.packages.names(package.name for package in site.packages)),
        targets=[] if schedule.targets.is_all else list(schedule.targets.names(target.name for target in site.targets)),
    )


def triggers(site: Site) -> list[schedulers.Triggerable]:
    """Return the schedulers that steps of other builds call."""
    builders = {target_scheduler_name(target.name): target.name for target in site.targets} | {TO_PROMOTE: PROMOTE}
    if has_try_workers(site):
        builders |= {try_scheduler_name(target.name): try_builder(target.name) for target in site.targets}
    return [schedulers.Triggerable(name=name, builderNames=[builder]) for name, builder in builders.items()]


def all_schedulers(site: Site, try_endpoint: str | None, try_users: Mapping[str, str]) -> list[Any]:
    """Return every scheduler of a site.

    :param try_endpoint: Twisted endpoint of try-builds; None: the site offers none.
    :param try_users: user → password, of the users that may start try-builds.
    """
    all_of_site: list[Any] = [
        on_commit(),
        *(lab.nightly_suites(site, s) if s.suites else nightly_packages(site, s) for s in site.schedules),
        build_form(site),
        *([suites_form(site)] if runnable_suites(site) else []),
        *([promote_form(site)] if promotes_between_stages(site) else []),
        *housekeeping_forms(site),
        *housekeeping.timed_schedulers(site),
        *triggers(site),
    ]
    if try_endpoint and try_users and has_try_workers(site):
        all_of_site.append(
            GuardedTry(
                name="try",
                builderNames=[TRY],
                port=try_endpoint,
                userpass=sorted(try_users.items()),
                packages=[package.name for package in site.packages],
            )
        )
    return all_of_site
