"""The test suites that run inside a guest. Each is a module with a ``run``; ``RUNNERS`` names them."""

from __future__ import annotations

RUNNERS = {"packages": "workers.lab.suites.packages"}
