"""Fixtures of all tests about repositories, and a separate folder in memory for the keys of each test."""

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
    """Give the test its own folder on tmpfs: tests that run at the same time keep keys in memory too."""
    with tempfile.TemporaryDirectory(prefix="kitten-test-", dir="/dev/shm") as folder:
        monkeypatch.setenv("RUNTIME_DIRECTORY", folder)
        yield
