"""Publish and promote steps, and the housekeeping steps: properties, overrides, links."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from buildbot.process.results import FAILURE, SUCCESS, WARNINGS
from buildbot.test.steps import ExpectShell
from twisted.internet.defer import succeed

from steps.command import RUN_FRESH, Installation
from steps.housekeeping import CleanStep, ComposeStep
from tests.steps.cases import (
    CLEANED,
    COMPOSED,
    PROMOTED,
    PUBLISHED,
    RPM,
    StepTestCase,
)
from workers.results import PublishResult


class TestPromotion(StepTestCase):
    async def test_a_publication_with_flaky_tests_names_them_and_is_a_warning(self) -> None:
        self.set_up("publish")
        result = {**PUBLISHED, "flaky": ["packages: agent"]}
        self.answers("publish", 0, json.dumps(result))
        self.expect_build_data("publish", PublishResult.model_validate(result).model_dump_json().encode(), "kitten")
        summary = "b-1 on s390x: published in kitten, snapshot 7; FLAKY in its tests: packages: agent"
        self.expect_outcome(result=WARNINGS, state_string=summary)
        await self.run_step()

    async def test_a_promotion_to_users_sets_a_property_for_each_package(self) -> None:
        self.set_up("promote")
        self.answers("promote", 0, json.dumps(PROMOTED))
        self.expect_shown("promote", PROMOTED)
        self.expect_outcome(result=SUCCESS)
        self.expect_property("released:bzip2", [["x86_64", "c" * 40], ["s390x", "d" * 40]])
        self.expect_property("released:zlib", [["s390x", "e" * 40]])
        await self.run_step()

    async def test_a_stage_that_users_do_not_see_sets_no_released_property(self) -> None:
        self.set_up("publish", to_users=False)
        self.answers("publish", 0, json.dumps(PUBLISHED))
        self.expect_shown("publish", PUBLISHED)
        self.expect_outcome(result=SUCCESS)
        self.expect_no_property("released:bzip2")
        await self.run_step()

    async def promote_with_override(self, rebuilt: int | None, owner: str) -> None:
        self.set_up("promote")
        self.build.requests = [SimpleNamespace(bsid=7)]
        get = self.master.data.get
        buildset = {"rebuilt_buildid": rebuilt}
        self.master.data.get = lambda path: succeed(buildset) if path == ("buildsets", 7) else get(path)
        answers = {"packages": ["spice", "zlib"], "override": ["lag"], "override_reason": "--as=admin", "owner": "ann"}
        for name, value in answers.items():
            self.build.setProperty(name, value, "Force Build Form")
        words = ["promote", "spice", "zlib", "--override=lag", "--reason=--as=admin", f"--as={owner}"]
        words += ["--site", "demo", "--state", "/state", "--json", "result.json"]
        self.expect_commands(
            ExpectShell(
                workdir="wkdir",
                command=["sh", "-c", RUN_FRESH, "result.json", *words],
                env={"KITTEN_DIE_WITH_PARENT": "1", "PYTHONUNBUFFERED": "1"},
                log_environ=False,
                timeout=1200,
                use_pty=False,
                sigterm_time=15,
            ).exit(2)
        )
        self.expect_outcome(result=FAILURE)
        await self.run_step()

    async def test_an_override_has_the_name_of_the_user_who_filled_in_the_form(self) -> None:
        await self.promote_with_override(None, "ann")

    async def test_the_override_of_a_rebuild_has_no_user(self) -> None:
        await self.promote_with_override(3, "")

    async def test_a_publication_links_documents_before_packages(self) -> None:
        self.set_up("publish")
        documents = [
            {**RPM, "name": f"b-1.s390x.{kind}", "url": f"https://host/b-1.s390x.{kind}"}
            for kind in ("intoto.json", "intoto.json.asc", "cdx.json", "cdx.json.asc")
        ]
        packages = [{**RPM, "name": f"b-{n}.rpm", "url": f"https://host/b-{n}.rpm"} for n in range(30)]
        result = {**PUBLISHED, "documents": documents, "packages": packages}
        self.answers("publish", 0, json.dumps(result))
        self.expect_build_data("publish", PublishResult.model_validate(result).model_dump_json().encode(), "kitten")
        self.expect_outcome(result=SUCCESS)
        await self.run_step()
        step = await self.master.data.get(("steps", self.step.stepid))
        linked = [url["name"] for url in step["urls"]]
        self.assertEqual(linked[:5], [*(document["name"] for document in documents), "b-0.rpm"])
        self.assertEqual(len(linked), 24)


class TestHousekeeping(StepTestCase):
    async def test_a_clean_removes_only_if_the_property_is_true(self) -> None:
        for remove, flag in (
            (True, "--yes"),
            (False, "--dry-run"),
            (None, "--dry-run"),
            ("true", "--dry-run"),
            (1, "--dry-run"),
        ):
            step: Any = SimpleNamespace(getProperty={"remove": remove}.get)
            assert await CleanStep.prepare(step) == [flag]

    async def test_a_clean_lists_the_removed_folders(self) -> None:
        self.set_up("clean")
        self.build.setProperty("remove", True, "test")
        result = {**CLEANED, "dry": False, "summary": "removed 1 folder (2.5 MB); 7 folders (9.0 MB) stay"}
        self.expect_commands(self.shell("clean", "--yes").exit(0), self.upload(json.dumps(result)))
        self.expect_shown("clean", result)
        line = "       2.5 MB  failed/s390x/77  failed build  bzip2-1-1: 15.0 days old, over failed_days: 14\n"
        self.expect_log_file("removed", line)
        self.expect_outcome(result=SUCCESS, state_string=result["summary"])
        await self.run_step()

    async def test_a_compose_uses_the_stage_of_the_build_and_links_its_tree(self) -> None:
        served = Installation("demo", (("/state/published", "http://ci/plugins/kitten/published"),))
        self.setup_step(ComposeStep(name="compose", arguments=["compose"], installation=served, state_folder="/state"))
        self.build.setProperty("stage", "kitten", "test")
        self.build.setProperty("if_due", True, "test")
        words = self.shell("compose", "--stage", "kitten", "--if-due")
        self.expect_commands(words.exit(0), self.upload(json.dumps(COMPOSED)))
        self.expect_shown("compose", COMPOSED)
        self.expect_outcome(result=SUCCESS, state_string=COMPOSED["summary"])
        await self.run_step()
        address = "http://ci/plugins/kitten/published/composes/kitten-10-20260801.3"
        step = await self.master.data.get(("steps", self.step.stepid))
        assert step["urls"] == [{"name": "kitten-10-20260801.3", "url": address}]
