"""A site → Buildbot's configuration dictionary. Pure: whatever lies outside the site comes in as an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from buildbot.config import error
from buildbot.plugins import util
from sqlalchemy.pool import QueuePool

from config.models import Site
from master.build_queue import BuildQueue, sort_by_urgency
from master.builders import builders
from master.commits import pollers
from master.pools import workers
from master.schedulers import all_schedulers
from master.web.authz import try_users
from master.web.pages import ServedFolders
from master.web.www import LOCAL, artifact_links, lab_runs_here, public_url, stage_folders, www
from steps.command import Installation
from steps.names import LAB, SOURCE

POSTGRESQL_ENGINE = {"pool_size": 12, "max_overflow": 0}
# Buildbot opens SQLite's file anew for each query; to close the only connection is to write the whole log back, with an
# fsync. All queries come from one thread of Buildbot's, so one connection that stays open does.
SQLITE_ENGINE = {
    "poolclass": QueuePool,
    "pool_size": 1,
    "max_overflow": 3,  # an upgrade of the schema opens a second one
    "connect_args": {"check_same_thread": False},
}


@dataclass(frozen=True)
class Surroundings:
    """Where one service runs, and what it may know."""

    site_name: str
    """As in ``--site``: a name, or an absolute path."""
    state: str
    """Absolute path of the state folder."""
    web_port: int
    worker_port: int
    try_port: int | None = None
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secret name → secret: ``worker-NAME``, ``web-USER``."""


def database(site: Site, passwords: Mapping[str, str]) -> dict[str, Any]:
    """The ``db`` part, with ``{secret:NAME}`` filled in."""

    def secret(match: re.Match[str]) -> str:
        if (value := passwords.get(match[1])) is None:
            error(f"web.yaml: database: secrets/{match[1]} is missing")
        return value or ""

    url = re.sub(r"\{secret:([A-Za-z0-9._-]+)\}", secret, site.web.database)
    return {"db_url": url, "engine_kwargs": SQLITE_ENGINE if url.startswith("sqlite") else POSTGRESQL_ENGINE}


def configuration(site: Site, around: Surroundings) -> dict[str, Any]:
    """The whole ``BuildmasterConfig``."""
    installation = Installation(around.site_name, artifact_links(site, around.state, around.web_port))
    try_endpoint = LOCAL.format(port=around.try_port) if around.try_port else None
    asking = {user: around.passwords.get(f"web-{user}", "") for user in try_users(site)}
    folders = {
        name: f"{around.state}/{url}"
        for name, url in {"artifacts": site.distribution.artifacts, **stage_folders(site)}.items()
        if "://" not in url
    }
    if lab_runs_here(site):
        folders["lab"] = f"{around.state}/lab"
    return {
        "title": site.web.title,
        "titleURL": public_url(site, around.web_port),
        "buildbotURL": public_url(site, around.web_port),
        "buildbotNetUsageData": None,
        "prioritizeBuilders": sort_by_urgency,
        "db": database(site, around.passwords),
        "protocols": {"pb": {"port": site.web.worker_endpoint or LOCAL.format(port=around.worker_port)}},
        "www": www(site, around.web_port, around.passwords),
        "projects": [
            util.Project(
                name=site.distribution.name, slug=site.distribution.name, description=site.distribution.description
            )
        ],
        "workers": workers(site, around.passwords, around.state),
        "builders": builders(site, installation),
        "change_source": pollers(site, around.state),
        "schedulers": all_schedulers(site, try_endpoint, asking),
        "services": [BuildQueue(site=site, source=SOURCE, last=LAB), ServedFolders(folders=folders, site=site)],
        "configurators": [
            util.JanitorConfigurator(
                logHorizon=timedelta(days=site.web.keep_logs_days),
                build_data_horizon=timedelta(days=site.web.keep_logs_days),
                hour=3,
            )
        ],
        "collapseRequests": False,
        "logMaxSize": site.web.log_max_bytes,
        "logMaxTailSize": min(site.web.log_max_bytes, 256 * 1024),
        "logCompressionMethod": "zstd",
    }
