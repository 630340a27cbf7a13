"""Names of builders, steps and one property. Imports no Buildbot, because the command line uses the names too.

The web UI shows them, and the tables of ``kitten demo`` and of the web UI find builds and steps by them. Buildbot's
database keeps them: a renamed builder is a new builder.
"""

from __future__ import annotations

# Builders. A target's builder has the target's name.
SOURCE = "source"
PROMOTE = "promote"
LAB = "lab"
CLEAN = "clean"
COMPOSE = "compose"
TRY = "try"
"""The builder that makes the source package of a try build; try builders of targets begin with this name."""

# Steps of a package.
MAKE_SOURCE = "make source package"
HAND_TO_TARGETS = "hand to targets"
BUILD_RPMS = "build RPMs"
VERIFY = "verify code and flags"
TEST = "test in QEMU"
STAGE = "stage for next builds"
HAND_TO_PROMOTE = "hand to promote"
PUBLISH = "gate, sign and publish"
# Steps of the housekeeping.
CLEAN_STORE = "clean the artifact store"
COMPOSE_FOR_MIRRORS = "compose for mirrors"

RELEASED = "released:"
"""Prefix of the properties that :func:`released_property` names."""


def try_builder(target: str) -> str:
    """Return the name of a target's try builder."""
    return f"{TRY}-{target}"


def promote_to(stage: str) -> str:
    """Return the name of the step that promotes packages to a stage."""
    return f"promote to {stage}"


def released_property(package: str) -> str:
    """Return the name of the build property with the released builds of a package: a list of [target, commit]."""
    return f"{RELEASED}{package}"
