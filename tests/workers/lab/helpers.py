"""Helpers for the lab's tests: the demo site, requests for its suites, and the wait for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from config.loading import load_site
from config.models import Suite, Target
from workers.lab.suites import Request

DEMO = load_site("demo")


def suite(name: str) -> Suite:
    """Return the suite of that name in the demo site."""
    return next(suite for suite in DEMO.suites if suite.name == name)


def request(
    name: str, target: Target, folder: Path, packages: Sequence[Path] = (), tests: Mapping[str, bytes] = {}, **more: Any
) -> Request:
    """Return a request for a suite of the demo site, and make the folders it needs below ``folder``."""
    folders = {kind: folder / kind for kind in ("state", "logs", "scratch")}
    for path in folders.values():
        path.mkdir(exist_ok=True)
    options = {"site": DEMO, "extra": (), **folders, **more}
    return Request(target=target, suite=suite(name), packages=tuple(packages), tests=tests, **options)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Return whether the condition becomes true within a time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False
