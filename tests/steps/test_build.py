"""Source and build steps: their properties, links and patches."""

from __future__ import annotations

import json

from buildbot.process import remotetransfer
from buildbot.process.results import FAILURE, SUCCESS
from buildbot.test.steps import ExpectDownloadFile, ExpectRemoteRef

from steps.build import duration
from steps.handoff import HandToTargets
from tests.steps.cases import (
    BUILT,
    SOURCE,
    StepTestCase,
)


class TestBuild(StepTestCase):
    async def test_a_build_sets_its_url_and_links_its_files(self) -> None:
        self.set_up("build")
        self.answers("build", 0, json.dumps(BUILT))
        self.expect_shown("build", BUILT)
        self.expect_outcome(result=SUCCESS)
        self.expect_property("build_url", "/state/artifacts/builds/x/1", "build")
        self.expect_property("identity", "abc", "build")
        await self.run_step()
        step = await self.master.data.get(("steps", self.step.stepid))
        link = {"name": "bzip2.rpm", "url": "http://ci/plugins/kitten/artifacts/builds/x/1/bzip2.rpm"}
        self.assertEqual(step["urls"], [link])

    async def test_a_failed_build_sets_no_url(self) -> None:
        self.set_up("build")
        result = {**BUILT, "outcome": "failed", "cause": "no"}
        self.answers("build", 1, json.dumps(result))
        self.expect_shown("build", result)
        self.expect_no_property("build_url")
        self.expect_outcome(result=FAILURE)
        await self.run_step()

    async def test_a_source_build_sets_the_properties_that_targets_need(self) -> None:
        self.set_up("source")
        self.answers("source", 0, json.dumps(SOURCE))
        self.expect_shown("source", SOURCE)
        self.expect_outcome(result=SUCCESS)
        self.expect_property("source_url", "/state/artifacts/sources/bzip2/k", "source")
        self.expect_property("got_revision", "1a2b3c4d5e", "source")
        self.expect_property("build_requires", ["zlib-devel"], "source")
        await self.run_step()

    async def test_the_patch_of_a_try_build_is_copied_to_the_worker_first(self) -> None:
        self.change = (1, "--- a\n+++ b\n")
        self.set_up("source")
        reader = ExpectRemoteRef(remotetransfer.StringFileReader)
        self.expect_commands(
            ExpectDownloadFile(
                blocksize=32 * 1024, maxsize=None, mode=None, reader=reader, workdir="wkdir", workerdest="change.patch"
            ).exit(0),
            self.shell("source", "--patch", "change.patch").exit(0),
            self.upload(json.dumps(SOURCE)),
        )
        self.expect_shown("source", SOURCE)
        self.expect_outcome(result=SUCCESS)
        await self.run_step()

    async def test_a_target_that_the_package_is_not_built_for_is_an_error_with_the_possible_ones(self) -> None:
        targets = {"bzip2": ["x86_64", "s390x"]}
        self.setup_step(HandToTargets(name="hand", schedulers={"s390x": "to-s390x"}, targets=targets))
        self.build.setProperty("package", "bzip2", "test")
        self.build.setProperty("targets", "s390x, vax", "test")
        self.expect_outcome(result=FAILURE, state_string="not built for vax; it is built for x86_64, s390x")
        await self.run_step()


def test_durations_are_rounded_for_people() -> None:
    assert [duration(s) for s in (31.4, 240, 9000)] == ["31 s", "4 min", "2.5 h"]
