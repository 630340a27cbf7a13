"""``kitten build`` as a step: the SRPM becomes RPMs on one target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steps import names
from steps.command import KittenCommand
from workers.results import Artifact, BuildResult


def duration(seconds: float) -> str:
    """E.g. ``31 s``, ``4 min``, ``2.5 h``: as exact as a person cares."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class BuildRpmsStep(KittenCommand[BuildResult]):
    """Builds the RPMs, or finds that the same inputs were built before."""

    name = names.BUILD_RPMS
    result_type = BuildResult
    updateBuildSummaryPolicy = True

    def summary(self, result: BuildResult) -> str:
        """E.g. ``bzip2-1.0.8-1.el10: 4 RPMs, 31 s``."""
        how = "built before from the same inputs" if result.reused else duration(result.seconds)
        return f"{result.nevr}: {len(result.rpms)} RPM{'' if len(result.rpms) == 1 else 's'}, {how}"

    def properties_of(self, result: BuildResult) -> Mapping[str, Any]:
        """Where the build lies and what it is called; only a build that held may be worked on."""
        if result.outcome != "passed":
            return {"nevr": result.nevr}
        return {
            "nevr": result.nevr,
            "identity": result.identity,
            "build_url": result.url,
            "reused": result.reused,
            "rpms": len(result.rpms),
        }

    def artifacts_of(self, result: BuildResult) -> Sequence[Artifact]:
        """Logs first: they are what one looks for when it failed."""
        return [*result.logs, *result.rpms]
