"""Worker pools: every role on every target has one, and what signs stands alone."""

from __future__ import annotations

from collections.abc import Iterator

from config.checks.names import Sections, chosen_targets, names_in, twice
from config.problems import Problem

ROLES = ("source", "build", "publish", "try")
_ALONE = {"publish": "a worker that builds holds no key", "try": "what it builds is nobody's but the contributor's"}


def check(sections: Sections) -> Iterator[Problem]:
    """Roles and targets without a worker, and pools that must be one alone."""
    workers, targets = sections.get("workers"), sections.get("targets")
    if not workers or not isinstance(workers.data, list):
        return
    all_targets = names_in(targets)
    has: dict[str, set[str]] = {}
    for place, pool in workers.mappings():
        roles = [role for _, role in workers.words(*place, "roles")]
        yield from twice(workers, workers.words(*place, "roles"), "role")
        for role in roles:
            has.setdefault(role, set()).update(chosen_targets(workers, place, all_targets))
        if "publish" in roles and (len(list(workers.words(*place, "workers"))) > 1 or pool.get("max_builds", 1) != 1):
            yield workers.problem(
                place, "a pool that publishes more than one build at a time", "one worker, max_builds: 1"
            )
        for alone in sorted(_ALONE.keys() & set(roles)):
            if len(set(roles)) > 1:
                others = ", ".join(role for role in roles if role != alone)
                yield workers.problem((*place, "roles"), f"{alone} beside {others}", f"{alone} alone: {_ALONE[alone]}")
    if not all(isinstance(pool.get("roles"), list) for _, pool in workers.mappings()):
        return  # told of already; what is missing cannot be known
    for role in ROLES:
        if role not in has:
            yield workers.problem((), f"no worker pool for the role {role}", f"at least one pool with roles: [{role}]")
        elif role in ("build", "try") and (without := sorted(set(all_targets) - has[role])):
            yield workers.problem(
                (), f"no {role} worker for {', '.join(without)}", f"a pool with roles: [{role}] for each target"
            )
