"""Requests for suites, as ``kitten test`` makes them; and a wait for conditions."""

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
    """The suite of the demo with this name."""
    return next(suite for suite in DEMO.suites if suite.name == name)


def request(
    name: str, target: Target, folder: Path, packages: Sequence[Path] = (), tests: Mapping[str, bytes] = {}, **more: Any
) -> Request:
    """A request for a suite of the demo, with all its folders below ``folder``."""
    places = {place: folder / place for place in ("state", "logs", "scratch")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    fields = {"site": DEMO, "extra": (), **places, **more}
    return Request(target=target, suite=suite(name), packages=tuple(packages), tests=tests, **fields)


def wait_for(condition: Callable[[], object], patience: float = 60.0) -> bool:
    """Wait until a condition is true, for at most ``patience`` seconds.

    :returns: it became true.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False
