"""``kitten source`` as a step: a commit becomes the SRPM that all targets share."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from buildbot.process.buildstep import BuildStepFailed

from steps import names
from steps.command import KittenCommand
from workers.results import Artifact, SourceResult

PATCH_FILE = "change.patch"
PATCH_BYTES = 8 * 1024 * 1024  # a patch is text that people read


class SourceStep(KittenCommand[SourceResult]):
    """Makes the SRPM of the build's source stamp; a try-build's patch travels along."""

    name = names.MAKE_SOURCE
    result_type = SourceResult
    updateBuildSummaryPolicy = True

    async def prepare(self) -> list[str]:
        """Branch and revision from the source stamp, and its patch as a file on the worker."""
        stamp = self.build.getSourceStamp("")
        arguments = ["--branch", stamp.branch] if stamp.branch else []
        if stamp.revision:
            arguments += ["--revision", stamp.revision]
        if stamp.patch is None:
            return arguments
        body = stamp.patch[1]
        if len(body) > PATCH_BYTES:
            await self.addCompleteLog("problem", f"the patch has {len(body)} bytes; at most {PATCH_BYTES} are taken\n")
            raise BuildStepFailed
        await self.downloadFileContentToWorker(PATCH_FILE, body, abandonOnFailure=True)
        folder = self.getProperty("builddir")
        return [*arguments, "--patch", posixpath.join(folder, self.workdir, PATCH_FILE) if folder else PATCH_FILE]

    def summary(self, result: SourceResult) -> str:
        """E.g. ``bzip2-1.0.8-1.el10 from c10s 1a2b3c4``."""
        return f"{result.nevr} from {result.branch} {result.commit[:7]}"

    def properties_of(self, result: SourceResult) -> Mapping[str, Any]:
        """What the targets' builds need; ``got_revision`` is Buildbot's name for the commit."""
        known = {"package": result.package, "commit": result.commit, "got_revision": result.commit, "nevr": result.nevr}
        if result.srpm is None:
            return known
        return known | {
            "srpm": result.srpm.url,
            "source_url": posixpath.dirname(result.srpm.url),
            "build_requires": list(result.build_requires),
        }

    def artifacts_of(self, result: SourceResult) -> Sequence[Artifact]:
        """The SRPM and the package's tests."""
        return [artifact for artifact in (result.srpm, result.tests) if artifact]
