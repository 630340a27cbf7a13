"""What a test asks of a suite, as ``kitten test`` does; and patience with what takes its time."""

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
    """The demo's suite of that name."""
    return next(suite for suite in DEMO.suites if suite.name == name)


def request(
    name: str, target: Target, folder: Path, packages: Sequence[Path] = (), tests: Mapping[str, bytes] = {}, **more: Any
) -> Request:
    """A request for a suite of the demo, with the folders it needs below ``folder``."""
    places = {place: folder / place for place in ("state", "logs", "scratch")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    asked = {"site": DEMO, "extra": (), **places, **more}
    return Request(target=target, suite=suite(name), packages=tuple(packages), tests=tests, **asked)


def wait_for(condition: Callable[[], object], patience: float = 60.0) -> bool:
    """Whether it comes true, in so many seconds at most."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False
