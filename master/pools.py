"""Worker pools → Buildbot workers, and which of them may run which builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from buildbot.config import error
from buildbot.plugins import worker

from config.models import Site, WorkerPool

Role = Literal["source", "build", "publish", "try"]


def serves(pool: WorkerPool, role: Role, target: str | None = None) -> bool:
    """Whether the pool's workers do this kind of work, for this target if one is named."""
    return role in pool.roles and (target is None or pool.targets.includes(target))


def worker_names(site: Site, role: Role, target: str | None = None) -> list[str]:
    """The workers that may run a builder; none is a configuration error that says what is missing."""
    names = [name for pool in site.workers if serves(pool, role, target) for name in pool.workers]
    if not names:
        where = f" for target {target}" if target else ""
        error(f"workers.yaml: no pool has the role {role}{where}; add one, or widen the targets of one")
    return names


def has_try_workers(site: Site) -> bool:
    """Whether try-builds are offered: they run nowhere but on workers of their own."""
    return any("try" in pool.roles for pool in site.workers)


def check_trust(site: Site) -> None:
    """Refuse pools that would let a patch of anybody's near a key or a repository."""
    for pool in site.workers:
        if "try" in pool.roles and len(pool.roles) > 1:
            others = ", ".join(role for role in pool.roles if role != "try")
            error(f"workers.yaml: pool {pool.name} runs try-builds and {others}; try-builds need workers of their own")
        if "publish" in pool.roles and len(pool.roles) > 1:
            error(f"workers.yaml: pool {pool.name} holds the signing key; publish must be its only role")
        if "publish" in pool.roles and (len(pool.workers) > 1 or pool.max_builds > 1):
            error(f"workers.yaml: pool {pool.name} publishes: one worker, one build at a time, or two switch at once")


def workers(site: Site, passwords: Mapping[str, str], state: str) -> list[worker.Worker]:
    """All workers, each with its password and what its commands have to be told.

    :param passwords: secret name (``worker-NAME``) → password.
    """
    check_trust(site)
    made = []
    for pool in site.workers:
        for name in pool.workers:
            if (password := passwords.get(f"worker-{name}")) is None:
                error(f"worker {name} has no password: secrets/worker-{name} is missing (kitten up makes it)")
                continue
            made.append(
                worker.Worker(
                    name,
                    password,
                    # Beside a publication (master.builders.PUBLISHING: one at a time) the house is kept (master.housekeeping).
                    max_builds=pool.max_builds + ("publish" in pool.roles),
                    properties={
                        "state_folder": pool.state.format(state=state),
                        "timeout_factor": pool.timeout_factor,
                        "pool": pool.name,
                    },
                )
            )
    return made
