"""The web UI: where it listens, who may log in, which pages it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot.config import error
from buildbot.plugins import util

from config.models import Site
from master.web.authz import authz, users

LOCAL = "tcp:{port}:interface=127.0.0.1"
"""Twisted endpoint of whatever is plain TCP: a proxy that ends TLS stands before the web UI, and workers of other hosts
have an endpoint of their own (web.yaml, ``worker_endpoint``)."""


def public_url(site: Site, port: int) -> str:
    """The address people type, with a slash at its end."""
    return site.web.url.format(port=port).rstrip("/") + "/"


def lab_runs_here(site: Site) -> bool:
    """Whether what suites leave without a build, ``lab/`` in the workers' state folder, lies on this host."""
    return all(pool.connection is None for pool in site.workers if "build" in pool.roles)


def stage_folders(site: Site) -> dict[str, str]:
    """Name below the pages → URL, of each signed stage; that of users has the name ``published``."""
    signed = site.signed_stages
    return {"published" if stage == site.stage_for("users") else f"stages/{stage.name}": stage.url for stage in signed}


def artifact_links(site: Site, state: str, port: int) -> tuple[tuple[str, str], ...]:
    """(prefix of a URL, address in a browser) for each place people may read; none for one nobody serves."""
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
    """The ``www`` part of the configuration.

    :param passwords: secret name (``web-USER``) → password.
    """
    known = {}
    for user in users(site):
        if (password := passwords.get(f"web-{user}")) is None:
            error(f"user {user} has no password: secrets/web-{user} is missing (kitten up makes it)")
        else:
            known[user] = password
    return {
        "port": LOCAL.format(port=port),
        "plugins": {"kitten": {}, "waterfall_view": {}, "console_view": {}, "grid_view": {}},
        "auth": util.UserPasswordAuth(known),
        "authz": authz(site),
    }
