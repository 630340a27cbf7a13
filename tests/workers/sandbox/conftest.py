"""Fixtures that these tests share with the tests of builds."""

from tests.workers.rpm.conftest import make_srpm, site

__all__ = ["make_srpm", "site"]
