"""The fixtures of a site and of its loaded configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from buildbot.config.master import MasterConfig

from config.loading import load_site
from config.models import Site
from tests.master.loaded import SITES, load


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    return load_site(request.param)


@pytest.fixture
def master(site: Site, tmp_path: Path) -> MasterConfig:
    return load(site, tmp_path, site.distribution.name)
