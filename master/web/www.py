"""The web UI: its endpoint, its users and its pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot.config import error
from buildbot.plugins import util

from config.models import Site
from master.web.authz import authz, users

LOCAL = "tcp:{port}:interface=127.0.0.1"
"""Twisted endpoint for plain TCP, on this host only. For other hosts, a proxy with TLS serves the web UI, and workers
have their own endpoint (web.yaml, ``worker_endpoint``)."""


def public_url(site: Site, port: int) -> str:
    """Return the address that people use, with a slash at its end."""
    return site.web.url.format(port=port).rstrip("/") + "/"


def lab_runs_here(site: Site) -> bool:
    """Return whether ``lab/`` in the workers' state folder, with the files of suites that need no build, is here."""
    return all(pool.connection is None for pool in site.workers if "build" in pool.roles)


def stage_folders(site: Site) -> dict[str, str]:
    """Return name below the pages → URL of each signed stage; the users' stage has the name ``published``."""
    signed = site.signed_stages
    return {"published" if stage == site.stage_for("users") else f"stages/{stage.name}": stage.url for stage in signed}


def artifact_links(site: Site, state: str, port: int) -> tuple[tuple[str, str], ...]:
    """Return (prefix of a URL, address in a browser) for each folder that the pages serve."""
    pages = f"{public_url(site, port)}plugins/kitten/"
    links = [(f"{state}/lab", f"{pages}lab")] if lab_runs_here(site) else []
    for url, address in (
        (site.distribution.artifacts, site.web.artifacts_url or f"{pages}artifacts"),
        *((url, f"{pages}{name}") for name, url in stage_folders(site).items()),
    ):
        local = "://" not in url
        if local or (site.web.artifacts_url and url == site.distribution.artifacts):
            links.append((f"{state}/{url}" if local and not url.startswith("/") else url, address))
    return tuple(links)


def www(site: Site, port: int, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Return the ``www`` part of the configuration.

    :param passwords: secret name (``web-USER``) → password.
    """
    accounts = {}
    for user in users(site):
        if (password := passwords.get(f"web-{user}")) is None:
            error(f"user {user} has no password: secrets/web-{user} is missing (`kitten up` makes it)")
        else:
            accounts[user] = password
    return {
        "port": LOCAL.format(port=port),
        "plugins": {"kitten": {}, "waterfall_view": {}, "console_view": {}, "grid_view": {}},
        "auth": util.UserPasswordAuth(accounts),
        "authz": authz(site),
    }
