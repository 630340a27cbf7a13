"""Buildbot's own test cases make a folder ``basedir`` where they run: each test gets a place of its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
