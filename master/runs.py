"""Names of forms, and the suites of a site that need no package.

This is a module alone because the command line imports it, and must not import Buildbot.
"""

from __future__ import annotations

from config.models import Site

LAB_FORM = "force-lab"
"""Name of the form of the builder ``lab``."""
PROMOTE_FORM = "promote"
"""Name of the form of the builder ``promote``, by which people promote packages."""


def runnable_suites(site: Site) -> dict[str, tuple[str, ...]]:
    """Return target → the suites that can test it without a package; targets without such suites are left out."""
    return {target.name: suites for target in site.targets if (suites := site.suites_without_package(target))}


def all_schedules_are_quick(site: Site) -> bool:
    """Return whether every schedule that runs suites has ``quick: true``."""
    return all(schedule.quick for schedule in site.schedules if schedule.suites)


def scheduled_suites(site: Site) -> dict[str, tuple[str, ...]]:
    """Return target → the suites that schedules run on it."""
    found: dict[str, dict[str, None]] = {}
    for schedule in site.schedules:
        for target, suites in site.runs_of(schedule).items():
            found.setdefault(target, {}).update(dict.fromkeys(suites))
    return {target: tuple(suites) for target, suites in found.items()}
