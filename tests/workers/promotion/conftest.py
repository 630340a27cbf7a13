"""Fixtures of all tests about repositories."""

from tests.workers.promotion.hostile import good, odd, refused, rpm
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

__all__ = [
    "at_once",
    "good",
    "key_home",
    "make_build",
    "make_rpms",
    "odd",
    "refused",
    "rpm",
    "site",
    "site_path",
    "staged",
    "staged_path",
    "state",
]
