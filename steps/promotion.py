"""``kitten stage``, ``publish`` and ``promote`` as steps.

RPMs join the next builds' buildroot, then the first signed stage, and pass from stage to stage up to users. The step that
reaches users leaves what they have now in a property for each package (``steps.released``), for whoever tells the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from buildbot.process.buildstep import BuildStep

from steps import names
from steps.command import KittenCommand, ResultT
from steps.names import released_property
from workers.results import Artifact, Promoted, PromoteResult, PublishResult, StageResult


def has_a_build(step: BuildStep) -> bool:
    """Whether there is a build to publish; a form may ask for what waits alone."""
    return bool(step.getProperty("build_url"))


class StageStep(KittenCommand[StageResult]):
    """Puts the RPMs where the target's next builds find them."""

    name = names.STAGE
    result_type = StageResult

    def summary(self, result: StageResult) -> str:
        """E.g. ``4 RPMs of bzip2-1.0.8-1.el10 staged``."""
        return f"{len(result.staged)} RPM{'' if len(result.staged) == 1 else 's'} of {result.nevr} staged"


class _ToSignedStage(KittenCommand[ResultT]):
    """A step to a signed stage, which tells what users have then where that stage is the last one."""

    updateBuildSummaryPolicy = True

    def __init__(self, *, to_users: bool, **kwargs: Any) -> None:
        """Make the step.

        :param to_users: whether the stage is the last one.
        """
        super().__init__(**kwargs)
        self.to_users = to_users

    def released_properties(self, has: Sequence[Promoted]) -> dict[str, Any]:
        """Return the properties that list what users have, if the stage is the last one."""
        found: dict[str, Any] = {}
        for each in has if self.to_users else ():
            found.setdefault(released_property(each.package), []).append([each.target, each.commit])
        return found


class PublishStep(_ToSignedStage[PublishResult]):
    """Gate, sign, index, switch. Safe to repeat: what is published already is found to be."""

    name = names.PUBLISH
    result_type = PublishResult
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
        if result.outcome != "passed":
            return {}
        known = {"snapshot": result.snapshot, "stage": result.stage}
        return known | self.released_properties(result.has)

    def artifacts_of(self, result: PublishResult) -> Sequence[Artifact]:
        """The package's documents first, since a page links only so many; then the signed packages."""
        return (*result.documents, *result.packages)


class PromoteStep(_ToSignedStage[PromoteResult]):
    """Let packages pass to the next stage: the build's own, or those that a form names. Safe to repeat."""

    name = names.PROMOTE
    result_type = PromoteResult

    async def prepare(self) -> list[str]:
        """The packages, and what a person lets them pass."""
        asked = self.getProperty("packages") or [self.getProperty("package")]
        rules = self.getProperty("override") or []
        words = [*(str(name) for name in asked if name), *(f"--override={rule}" for rule in rules)]
        if rules:
            # Buildbot sets the owner of a form's builds itself, to who has logged in. A rebuild keeps the first one's owner,
            # whoever asked for it, and so overrides in nobody's name: the command refuses that.
            owner = "" if await self._is_a_rebuild() else self.getProperty("owner")
            words += [f"--reason={self.getProperty('override_reason')}", f"--as={owner}"]
        return words

    async def _is_a_rebuild(self) -> bool:
        buildset = await self.master.data.get(("buildsets", self.build.requests[0].bsid))
        return buildset["rebuilt_buildid"] is not None

    def summary(self, result: PromoteResult) -> str:
        """E.g. ``bzip2-1.0.8-1.el10 on 5 targets in kitten, snapshot 7``, or what it waits for."""
        return result.summary

    def properties_of(self, result: PromoteResult) -> Mapping[str, Any]:
        """What users have now."""
        return self.released_properties(result.has)
