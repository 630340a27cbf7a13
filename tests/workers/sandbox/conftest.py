"""Fixtures that the tests of builds have too."""

from tests.workers.rpm.conftest import make_srpm, site

__all__ = ["make_srpm", "site"]
