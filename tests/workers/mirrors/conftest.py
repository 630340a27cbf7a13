"""Fixtures of all tests about repositories."""

from pathlib import Path

import pytest

from config.models import Site
from tests.workers.mirrors.pushes import make, port, proxy
from tests.workers.publishing import (
    BuildFactory,
    at_once,
    key_home,
    make_build,
    make_rpms,
    site,
    site_path,
    staged,
    staged_path,
    state,
)
from workers.promotion.publish import publish

__all__ = [
    "at_once",
    "key_home",
    "make",
    "make_build",
    "make_rpms",
    "port",
    "proxy",
    "site",
    "site_path",
    "staged",
    "staged_path",
    "state",
]


@pytest.fixture
def stage(site: Site, state: Path, make_build: BuildFactory) -> Path:
    """A stage with one publication."""
    publish(site, state, "aarch64", str(make_build()))
    return state / "published"
