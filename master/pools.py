"""Pools of workers.yaml → Buildbot workers, and the workers that may run a builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from buildbot.config import error
from buildbot.plugins import worker

from config.models import Site, WorkerPool

Role = Literal["source", "build", "publish", "try"]


def serves(pool: WorkerPool, role: Role, target: str | None = None) -> bool:
    """Return whether the pool's workers have this role, and serve this target if one is given."""
    return role in pool.roles and (target is None or pool.targets.includes(target))


def worker_names(site: Site, role: Role, target: str | None = None) -> list[str]:
    """Return the workers that may run a builder; report a configuration error if there are no such workers."""
    names = [name for pool in site.workers if serves(pool, role, target) for name in pool.workers]
    if not names:
        where = f" for target {target}" if target else ""
        error(f"workers.yaml: no pool has the role {role}{where}; add one, or widen the targets of one")
    return names


def has_try_workers(site: Site) -> bool:
    """Return whether the site offers try-builds: they need workers that do nothing else."""
    return any("try" in pool.roles for pool in site.workers)


def check_trust(site: Site) -> None:
    """Report pools on which a contributor's patch could reach a key or a repository."""
    for pool in site.workers:
        if "try" in pool.roles and len(pool.roles) > 1:
            others = ", ".join(role for role in pool.roles if role != "try")
            error(
                f"workers.yaml: pool {pool.name} has the roles try and {others}; "
                "try-builds need a pool that does nothing else"
            )
        if "publish" in pool.roles and len(pool.roles) > 1:
            error(f"workers.yaml: pool {pool.name} has the signing key; publish must be its only role")
        if "publish" in pool.roles and (len(pool.workers) > 1 or pool.max_builds > 1):
            error(
                f"workers.yaml: pool {pool.name} has the role publish; it must have one worker and max_builds 1, "
                "so that no two publications run at once"
            )


def workers(site: Site, passwords: Mapping[str, str], state: str) -> list[worker.Worker]:
    """Return all workers, each with its password and the properties that its commands need.

    :param passwords: secret name (``worker-NAME``) → password.
    """
    check_trust(site)
    all_workers = []
    for pool in site.workers:
        for name in pool.workers:
            if (password := passwords.get(f"worker-{name}")) is None:
                error(f"worker {name} has no password: secrets/worker-{name} is missing (`kitten up` makes it)")
                continue
            all_workers.append(
                worker.Worker(
                    name,
                    password,
                    # One publication at a time (master.builders.PUBLISHING), and beside it one housekeeping build.
                    max_builds=pool.max_builds + ("publish" in pool.roles),
                    properties={
                        "state_folder": pool.state.format(state=state),
                        "timeout_factor": pool.timeout_factor,
                        "pool": pool.name,
                    },
                )
            )
    return all_workers
