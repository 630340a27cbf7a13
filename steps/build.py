"""``kitten build`` as a step: build the RPMs of an SRPM on one target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steps import names
from steps.command import KittenCommand
from workers.results import Artifact, BuildResult


def duration(seconds: float) -> str:
    """Return a duration as text, rounded for people: ``31 s``, ``4 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class BuildRpmsStep(KittenCommand[BuildResult]):
    """Builds the RPMs, or reuses a build of the same inputs."""

    name = names.BUILD_RPMS
    result_type = BuildResult
    updateBuildSummaryPolicy = True

    def summary(self, result: BuildResult) -> str:
        """Return a summary such as ``bzip2-1.0.8-1.el10: 4 RPMs, 31 s``."""
        how = "built before from the same inputs" if result.reused else duration(result.seconds)
        return f"{result.nevr}: {len(result.rpms)} RPM{'' if len(result.rpms) == 1 else 's'}, {how}"

    def properties_of(self, result: BuildResult) -> Mapping[str, Any]:
        """Return the name of the build, and if it passed, its URL: later steps use only a build that passed."""
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
        """Return the logs before the RPMs, because people need them if the build failed."""
        return [*result.logs, *result.rpms]
