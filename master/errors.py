"""What ends a command of the service with one line instead of a traceback."""

from __future__ import annotations


class ServiceError(Exception):
    """The service cannot be started, reached or stopped; the text says what to do."""


def tail(text: str, lines: int = 12) -> str:
    """The last lines of what a program said, to be read below an error."""
    return "\n".join("  " + line for line in text.strip().splitlines()[-lines:])
