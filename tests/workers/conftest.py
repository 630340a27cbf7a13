"""Fixtures that several rooms' tests share."""

from tests.workers.rpms import build_rpm, good_program, good_rpms, site, target

__all__ = ["build_rpm", "good_program", "good_rpms", "site", "target"]
