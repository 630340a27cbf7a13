"""Fixtures of all tests about repositories."""

from tests.workers.publishing import (
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

__all__ = ["at_once", "key_home", "make_build", "make_rpms", "site", "site_path", "staged", "staged_path", "state"]
