"""The error that ends a command of the service with a message instead of a traceback.

This is a module alone because everything in ``service`` and ``client`` imports it.
"""

from __future__ import annotations


class ServiceError(Exception):
    """The service cannot be started, reached or stopped; the text says why and what to do."""


def tail(text: str, lines: int = 12) -> str:
    """Return the last lines of a program's output, indented, to show below an error."""
    return "\n".join("  " + line for line in text.strip().splitlines()[-lines:])
