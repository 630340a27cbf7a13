"""``kitten source`` as a step: make the SRPM of a commit, which all targets share."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from buildbot.process.buildstep import BuildStepFailed

from steps import names
from steps.command import KittenCommand
from workers.results import Artifact, SourceResult

PATCH_FILE = "change.patch"
PATCH_BYTES = 8 * 1024 * 1024  # the largest patch; people write and read patches


class SourceStep(KittenCommand[SourceResult]):
    """Makes the SRPM of the build's source stamp, with the patch of a try build."""

    name = names.MAKE_SOURCE
    result_type = SourceResult
    updateBuildSummaryPolicy = True

    async def prepare(self) -> list[str]:
        """Copy the source stamp's patch to the worker; return options for branch, revision and patch."""
        stamp = self.build.getSourceStamp("")
        arguments = ["--branch", stamp.branch] if stamp.branch else []
        if stamp.revision:
            arguments += ["--revision", stamp.revision]
        if stamp.patch is None:
            return arguments
        body = stamp.patch[1]
        if len(body) > PATCH_BYTES:
            await self.addCompleteLog(
                "problem", f"the patch has {len(body)} bytes; at most {PATCH_BYTES} are accepted\n"
            )
            raise BuildStepFailed
        await self.downloadFileContentToWorker(PATCH_FILE, body, abandonOnFailure=True)
        folder = self.getProperty("builddir")
        return [*arguments, "--patch", posixpath.join(folder, self.workdir, PATCH_FILE) if folder else PATCH_FILE]

    def summary(self, result: SourceResult) -> str:
        """Return a summary such as ``bzip2-1.0.8-1.el10 from c10s 1a2b3c4``."""
        return f"{result.nevr} from {result.branch} {result.commit[:7]}"

    def properties_of(self, result: SourceResult) -> Mapping[str, Any]:
        """Return the properties that the targets' builds need; ``got_revision`` is Buildbot's name for the commit."""
        known = {"package": result.package, "commit": result.commit, "got_revision": result.commit, "nevr": result.nevr}
        if result.srpm is None:
            return known
        return known | {
            "srpm": result.srpm.url,
            "source_url": posixpath.dirname(result.srpm.url),
            "build_requires": list(result.build_requires),
        }

    def artifacts_of(self, result: SourceResult) -> Sequence[Artifact]:
        """Return the SRPM and the package's tests."""
        return [artifact for artifact in (result.srpm, result.tests) if artifact]
