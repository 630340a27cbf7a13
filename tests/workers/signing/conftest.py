"""Fixtures of all tests about repositories, and a place of its own in memory for each test's keys."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

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


@pytest.fixture(autouse=True)
def own_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of tmpfs that is this test's alone: others that run beside it keep keys in memory too."""
    with tempfile.TemporaryDirectory(prefix="kitten-test-", dir="/dev/shm") as folder:
        monkeypatch.setenv("RUNTIME_DIRECTORY", folder)
        yield
