"""``kitten stage``, ``kitten publish`` and ``kitten promote`` as steps.

RPMs first enter the buildroot of the next builds, then the first signed stage, and then pass from stage to stage. The
step that publishes to users sets a property with their newest builds for each package (``steps.names``), from which
the status tables are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from buildbot.process.buildstep import BuildStep

from steps import names
from steps.command import KittenCommand, ResultT
from workers.results import Artifact, Promoted, PromoteResult, PublishResult, StageResult


def has_a_build(step: BuildStep) -> bool:
    """Check whether the step has a build to publish; a promotion that a form starts has none."""
    return bool(step.getProperty("build_url"))


class StageStep(KittenCommand[StageResult]):
    """Adds the RPMs to the buildroot of the target's next builds."""

    name = names.STAGE
    result_type = StageResult

    def summary(self, result: StageResult) -> str:
        """Return a summary such as ``4 RPMs of bzip2-1.0.8-1.el10 staged``."""
        return f"{len(result.staged)} RPM{'' if len(result.staged) == 1 else 's'} of {result.nevr} staged"


class _ToSignedStage(KittenCommand[ResultT]):
    """Publishes to a signed stage; if users install from it, sets properties with the builds that they have now."""

    updateBuildSummaryPolicy = True

    def __init__(self, *, to_users: bool, **kwargs: Any) -> None:
        """Make the step.

        :param to_users: whether users install from the stage.
        """
        super().__init__(**kwargs)
        self.to_users = to_users

    def released_properties(self, has: Sequence[Promoted]) -> dict[str, Any]:
        """Return a property for each package with the builds that users have now; none for other stages."""
        properties: dict[str, Any] = {}
        for each in has if self.to_users else ():
            properties.setdefault(names.released_property(each.package), []).append([each.target, each.commit])
        return properties


class PublishStep(_ToSignedStage[PublishResult]):
    """Runs the gate, signs and publishes. It can be repeated: a published build stays as it is."""

    name = names.PUBLISH
    result_type = PublishResult
    warnOnWarnings = True

    def summary(self, result: PublishResult) -> str:
        """Return a summary such as ``bzip2-1.0.8-1.el10 on s390x: published in kitten, snapshot 7``."""
        how = "was published already in" if result.unchanged else "published in"
        flaky = f"; FLAKY in its tests: {', '.join(result.flaky)}" if result.flaky else ""
        return f"{result.nevr} on {result.target}: {how} {result.stage}, snapshot {result.snapshot}{flaky}"

    def is_clean(self, result: PublishResult) -> bool:
        """Check that no test was flaky."""
        return not result.flaky

    def properties_of(self, result: PublishResult) -> Mapping[str, Any]:
        """Return the snapshot that contains the build, and what users have now."""
        if result.outcome != "passed":
            return {}
        known = {"snapshot": result.snapshot, "stage": result.stage}
        return known | self.released_properties(result.has)

    def artifacts_of(self, result: PublishResult) -> Sequence[Artifact]:
        """Return the documents of the package before the signed packages, because the number of links is limited."""
        return (*result.documents, *result.packages)


class PromoteStep(_ToSignedStage[PromoteResult]):
    """Promotes packages to the next stage: the build's package, or those that a form names. It can be repeated."""

    name = names.PROMOTE
    result_type = PromoteResult

    async def prepare(self) -> list[str]:
        """Return the packages, and the rules that a user overrides."""
        packages = self.getProperty("packages") or [self.getProperty("package")]
        rules = self.getProperty("override") or []
        words = [*(str(name) for name in packages if name), *(f"--override={rule}" for rule in rules)]
        if rules:
            # Buildbot sets the owner of a form's builds to the user who has logged in. A rebuild keeps the owner of the
            # first build, although another user may have started it. So it has no owner here, and the command rejects
            # the override.
            owner = "" if await self._is_a_rebuild() else self.getProperty("owner")
            words += [f"--reason={self.getProperty('override_reason')}", f"--as={owner}"]
        return words

    async def _is_a_rebuild(self) -> bool:
        buildset = await self.master.data.get(("buildsets", self.build.requests[0].bsid))
        return buildset["rebuilt_buildid"] is not None

    def properties_of(self, result: PromoteResult) -> Mapping[str, Any]:
        """Return what users have now."""
        return self.released_properties(result.has)
