"""Forms, and which suites run by themselves, as the site has it. Without Buildbot: the command line reads this too."""

from __future__ import annotations

from config.models import Site

LAB_FORM = "force-lab"
"""Name of the form on it."""
PROMOTE_FORM = "promote"
"""Name of the form by which people let packages pass to the next stage."""


def runnable_suites(site: Site) -> dict[str, tuple[str, ...]]:
    """Target → the suites that can test it by themselves; targets without any are left out."""
    return {target.name: suites for target in site.targets if (suites := site.suites_by_themselves(target))}


def all_schedules_are_quick(site: Site) -> bool:
    """Whether the suites' shortest proofs will do, for every schedule that runs suites."""
    return all(schedule.quick for schedule in site.schedules if schedule.suites)


def scheduled_suites(site: Site) -> dict[str, tuple[str, ...]]:
    """Target → the suites that some schedule runs on it."""
    found: dict[str, dict[str, None]] = {}
    for schedule in site.schedules:
        for target, suites in site.runs_of(schedule).items():
            found.setdefault(target, {}).update(dict.fromkeys(suites))
    return {target: tuple(suites) for target, suites in found.items()}
