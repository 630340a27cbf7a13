"""Configurations of sites, loaded as Buildbot loads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from buildbot.config.master import MasterConfig

from config.models import Site
from master.configuration import Surroundings, configuration
from master.service.basedir import ensure_secrets, read_passwords

SITES = ["demo", "kitten-10"]


def surroundings(site: Site, name: str, state: Path) -> Surroundings:
    ensure_secrets(site, state)
    passwords = read_passwords(state / "secrets") | {"database-password": "x"}
    return Surroundings(name, str(state), 8010, 9989, 8031, passwords)


def load(site: Site, state: Path, name: str = "demo") -> MasterConfig:
    return MasterConfig.loadFromDict(configuration(site, surroundings(site, name, state)), "test")


def steps_of(builder: Any) -> Iterator[tuple[type[Any], dict[str, Any]]]:
    """Yield the steps of a builder: class and arguments."""
    for factory in builder.factory.steps:
        yield factory.step_class, factory.kwargs


def arguments(builder: Any, command: str) -> list[Any]:
    return next(more["arguments"] for _, more in steps_of(builder) if more.get("arguments", [None])[0] == command)
