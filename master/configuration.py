"""A site → Buildbot's configuration dictionary. Pure functions: all that is not in the site is an argument."""

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
# By default, Buildbot opens the SQLite file again for each query; when the only connection closes, SQLite writes its
# whole log back, with an fsync. All queries come from one thread of Buildbot, so one connection that stays open is
# enough.
SQLITE_ENGINE = {
    "poolclass": QueuePool,
    "pool_size": 1,
    "max_overflow": 3,  # an upgrade of the schema opens a second one
    "connect_args": {"check_same_thread": False},
}


@dataclass(frozen=True)
class Surroundings:
    """The facts of one service that are not in its site: names, folders, ports and passwords."""

    site_name: str
    """The value of ``--site``: a name, or an absolute path."""
    state: str
    """Absolute path of the state folder."""
    web_port: int
    worker_port: int
    try_port: int | None = None
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secret name → secret: ``worker-NAME``, ``web-USER``."""


def database(site: Site, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Return the ``db`` part of the configuration; ``{secret:NAME}`` is replaced by the secret."""

    def secret(match: re.Match[str]) -> str:
        if (value := passwords.get(match[1])) is None:
            error(f"web.yaml: database: the file secrets/{match[1]} is missing; write the password into it, mode 0600")
        return value or ""

    url = re.sub(r"\{secret:([A-Za-z0-9._-]+)\}", secret, site.web.database)
    return {"db_url": url, "engine_kwargs": SQLITE_ENGINE if url.startswith("sqlite") else POSTGRESQL_ENGINE}


def configuration(site: Site, around: Surroundings) -> dict[str, Any]:
    """Return the whole ``BuildmasterConfig``."""
    installation = Installation(around.site_name, artifact_links(site, around.state, around.web_port))
    try_endpoint = LOCAL.format(port=around.try_port) if around.try_port else None
    try_passwords = {user: around.passwords.get(f"web-{user}", "") for user in try_users(site)}
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
        "schedulers": all_schedulers(site, try_endpoint, try_passwords),
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
