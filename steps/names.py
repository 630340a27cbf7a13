"""Names of builders and steps, each defined once. Without Buildbot: the command line reads them too.

The web UI shows them, the tables of ``kitten demo`` and of the web UI find builds and steps by them, and Buildbot's database
keeps them: a renamed builder is another builder.
"""

from __future__ import annotations

# Builders. A target's builder has the target's name.
SOURCE = "source"
PROMOTE = "promote"
LAB = "lab"
CLEAN = "clean"
COMPOSE = "compose"
TRY = "try"
"""The builder that makes the source package of a try-build."""

# Steps of a package's way.
MAKE_SOURCE = "make source package"
HAND_TO_TARGETS = "hand to targets"
BUILD_RPMS = "build RPMs"
VERIFY = "verify code and flags"
TEST = "test in QEMU"
STAGE = "stage for next builds"
HAND_TO_PROMOTE = "hand to promote"
PUBLISH = "gate, sign and publish"
# Steps of the service's own work.
CLEAN_STORE = "clean the artifact store"
COMPOSE_FOR_MIRRORS = "compose for mirrors"

RELEASED = "released:"
"""How the name of the property begins that :func:`released_property` returns."""


def try_builder(target: str) -> str:
    """Return the name of a target's try-builder."""
    return f"{TRY}-{target}"


def promote_to(stage: str) -> str:
    """Return the name of the step that lets packages pass to a stage."""
    return f"promote to {stage}"


def released_property(package: str) -> str:
    """Return the name of the build property that lists what users have of a package: its value is [[target, commit], …]."""
    return f"{RELEASED}{package}"
