"""``kitten stage`` and ``kitten publish`` as steps: RPMs join the next builds' buildroot, then users' repositories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steps.command import KittenCommand
from workers.results import Artifact, PublishResult, StageResult


class StageStep(KittenCommand[StageResult]):
    """Puts the RPMs where the target's next builds find them."""

    name = "stage for next builds"
    result_type = StageResult

    def summary(self, result: StageResult) -> str:
        """E.g. ``4 RPMs of bzip2-1.0.8-1.el10 staged``."""
        return f"{len(result.staged)} RPM{'' if len(result.staged) == 1 else 's'} of {result.nevr} staged"


class PublishStep(KittenCommand[PublishResult]):
    """Gate, sign, index, switch. Safe to repeat: what is published already is found to be."""

    name = "gate, sign and publish"
    result_type = PublishResult
    updateBuildSummaryPolicy = True
    warnOnWarnings = True

    def summary(self, result: PublishResult) -> str:
        """E.g. ``bzip2-1.0.8-1.el10 on s390x: published in kitten, snapshot 7``."""
        how = "was published already in" if result.unchanged else "published in"
        flaky = f"; FLAKY in its tests: {', '.join(result.flaky)}" if result.flaky else ""
        return f"{result.nevr} on {result.target}: {how} {result.stage}, snapshot {result.snapshot}{flaky}"

    def is_clean(self, result: PublishResult) -> bool:
        """Whether nothing was flaky in its tests."""
        return not result.flaky

    def properties_of(self, result: PublishResult) -> Mapping[str, Any]:
        """Which snapshot holds it."""
        return {"snapshot": result.snapshot, "stage": result.stage} if result.outcome == "held" else {}

    def artifacts_of(self, result: PublishResult) -> Sequence[Artifact]:
        """The package's documents first, since a page links only so many; then the signed packages."""
        return (*result.documents, *result.packages)
