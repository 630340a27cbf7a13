"""The property of a build that says what users have of a package now. Without Buildbot: the command line reads it too."""

from __future__ import annotations

RELEASED = "released:"
"""How its name begins; the package follows."""


def released(package: str) -> str:
    """Its name; its value is a list of [target, commit]."""
    return f"{RELEASED}{package}"
