"""Checks of the service: worker pools, roles of the web UI, and retention."""

from __future__ import annotations

from collections.abc import Iterator

from config.checks.names import Sections, chosen_targets, duplicates, names_in
from config.problems import Problem

ROLES = ("source", "build", "publish", "try")
_ALONE = {"publish": "a worker that builds has no key", "try": "only the contributor uses what it builds"}


def check(sections: Sections) -> Iterator[Problem]:
    """Check workers.yaml, web.yaml and retention.yaml."""
    yield from _workers(sections)
    yield from _web(sections)
    yield from _retention(sections)


def _workers(sections: Sections) -> Iterator[Problem]:
    """Check that each role and target has a worker, and that publish and try are not combined with other roles."""
    workers, targets = sections.get("workers"), sections.get("targets")
    if not workers or not isinstance(workers.data, list):
        return
    all_targets = names_in(targets)
    targets_of_role: dict[str, set[str]] = {}
    for place, pool in workers.mappings():
        roles = [role for _, role in workers.words(*place, "roles")]
        yield from duplicates(workers, workers.words(*place, "roles"), "role")
        for role in roles:
            targets_of_role.setdefault(role, set()).update(chosen_targets(workers, place, all_targets))
        if "publish" in roles and (len(list(workers.words(*place, "workers"))) > 1 or pool.get("max_builds", 1) != 1):
            yield workers.problem(
                place, "a pool that publishes more than one build at a time", "one worker, max_builds: 1"
            )
        for alone in sorted(_ALONE.keys() & set(roles)):
            if len(set(roles)) > 1:
                others = ", ".join(role for role in roles if role != alone)
                yield workers.problem((*place, "roles"), f"{alone} beside {others}", f"{alone} alone: {_ALONE[alone]}")
    if not all(isinstance(pool.get("roles"), list) for _, pool in workers.mappings()):
        return  # reported already; which role has no pool cannot be known
    for role in ROLES:
        if role not in targets_of_role:
            yield workers.problem((), f"no worker pool for the role {role}", f"at least one pool with roles: [{role}]")
        elif role in ("build", "try") and (without := sorted(set(all_targets) - targets_of_role[role])):
            yield workers.problem(
                (), f"no {role} worker for {', '.join(without)}", f"a pool with roles: [{role}] for each target"
            )


def _web(sections: Sections) -> Iterator[Problem]:
    """Check that somebody may do something, and that only named users may do everything."""
    if web := sections.get("web"):
        if web.at("roles") == []:
            yield web.problem(("roles",), "an empty list", "at least one role, or nobody may do anything")
        for place, item in web.mappings("roles"):
            for where, word in web.words(*place, "may"):
                if word == "everything" and not item.get("users"):
                    yield web.problem(
                        where, "everything, for a role without users", "everything only for a role that names its users"
                    )


def _retention(sections: Sections) -> Iterator[Problem]:
    """Check that no time is shorter than the minimum age, which would lengthen it."""
    if not (retention := sections.get("retention")):
        return
    hours = retention.at("minimum_age_hours")
    if not isinstance(hours, int):
        return
    for key in ("failed_days", "try_days", "source_days"):
        if isinstance(days := retention.at(key), int) and 0 < days * 24 < hours:
            yield retention.problem(
                (key,), f"{days}, less than minimum_age_hours: {hours}", f"at least {-(-hours // 24)}"
            )
