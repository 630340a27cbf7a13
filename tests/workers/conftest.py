"""Fixtures that the tests of several packages share."""

from tests.workers.debian import archive_keys, debian
from tests.workers.rpms import build_rpm, good_program, good_rpms, site, target

__all__ = ["archive_keys", "build_rpm", "debian", "good_program", "good_rpms", "site", "target"]
