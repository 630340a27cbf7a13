"""Each step against a worker's answers: success, not held, cannot run, garbled, contradicting, lost, cancelled."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

from buildbot.process import remotetransfer
from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, SUCCESS, WARNINGS
from buildbot.test.reactor import TestReactorMixin
from buildbot.test.steps import ExpectDownloadFile, ExpectRemoteRef, ExpectShell, ExpectUploadFile, TestBuildStepMixin
from twisted.internet import error
from twisted.internet.defer import succeed
from twisted.python.failure import Failure
from twisted.trial import unittest

from steps.build import BuildRpmsStep, duration
from steps.command import _FRESH, Installation, KittenCommand, one_line
from steps.housekeeping import CleanStep, ComposeStep
from steps.lab import LOG_BYTES, GuestTestStep, TargetTestStep, tap
from steps.promotion import PromoteStep, PublishStep, StageStep
from steps.source import SourceStep
from steps.verify import VerifyStep
from workers.results import Case, PublishResult, TestResult

SUITES = {"bzip2": ("packages", "spice"), "zlib": ("packages",)}
INSTALLATION = Installation("demo", (("/state/artifacts", "http://ci/plugins/kitten/artifacts"),))
RPM = {"name": "bzip2.rpm", "url": "/state/artifacts/builds/x/1/bzip2.rpm", "sha256": "00", "size": 9}

BUILT = {
    "command": "build",
    "summary": "built",
    "seconds": 31.2,
    "target": "x86_64",
    "package": "bzip2",
    "nevr": "bzip2-1.0.8-1.el10",
    "identity": "abc",
    "url": "/state/artifacts/builds/x/1",
    "rpms": [RPM] * 4,
}
SOURCE = {
    "command": "source",
    "summary": "made",
    "package": "bzip2",
    "branch": "c10s",
    "commit": "1a2b3c4d5e",
    "nevr": "bzip2-1.0.8-1.el10",
    "srpm": {**RPM, "name": "bzip2.src.rpm", "url": "/state/artifacts/sources/bzip2/k/bzip2.src.rpm"},
    "build_requires": ["zlib-devel"],
}
CHECKS = [
    {"rule": "frame-pointer", "file": "bzip2", "outcome": "passed"},
    {"rule": "isa", "file": "bzip2", "outcome": "passed"},
    {"rule": "isa", "file": "README", "outcome": "skipped", "reason": "no-code"},
]
VERIFIED = {"command": "verify", "summary": "proven", "target": "x86_64", "checks": CHECKS}
CASES = [
    {"name": "round trip", "outcome": "passed", "seconds": 1.25},
    {"name": "big file", "outcome": "skipped", "reason": "memory", "code": "tap"},
]
CONSOLE = {
    "name": "packages-console.log",
    "url": "/state/artifacts/builds/x/1/packages-console.log",
    "sha256": "00",
    "size": 5,
}
PICTURE = {**CONSOLE, "name": "packages-a.png", "url": "/state/artifacts/builds/x/1/packages-a.png"}
SUITE = {
    "suite": "packages",
    "outcome": "passed",
    "summary": "packages said",
    "cases": CASES,
    "cpu": "power9",
    "accelerator": "TCG",
    "logs": [CONSOLE, PICTURE],
}
TESTED = {"command": "test", "summary": "tested", "target": "x86_64", "suites": [SUITE]}
STAGED = {
    "command": "stage",
    "summary": "s",
    "target": "x86_64",
    "package": "bzip2",
    "nevr": "b-1",
    "staged": ["b", "c"],
}
PUBLISHED = {
    "command": "publish",
    "summary": "p",
    "target": "s390x",
    "package": "bzip2",
    "nevr": "b-1",
    "stage": "kitten",
    "snapshot": 7,
    "packages": [RPM],
    "has": [{"package": "bzip2", "target": "s390x", "nevr": "b-1", "commit": "c" * 40}],
}
PROMOTED = {
    "command": "promote",
    "summary": "b-1 on 2 targets in kitten, snapshot 7",
    "stage": "kitten",
    "snapshot": 7,
    "has": [
        {"package": "bzip2", "target": "x86_64", "nevr": "b-1", "commit": "c" * 40},
        {"package": "bzip2", "target": "s390x", "nevr": "b-1", "commit": "d" * 40},
        {"package": "zlib", "target": "s390x", "nevr": "z-1", "commit": "e" * 40},
    ],
}
CLEANED = {
    "command": "clean",
    "summary": "1 folder (2.5 MB) would go, 7 folders (9.0 MB) stay; remove them: kitten clean --yes",
    "dry": True,
    "folders": [
        {
            "path": "failed/s390x/77",
            "kind": "failed build",
            "what": "bzip2-1-1",
            "size": 2_500_000,
            "why": "15.0 days old, over failed_days: 14",
        }
    ],
    "size": 2_500_000,
    "staying": 7,
}
COMPOSED = {
    "command": "compose",
    "summary": "compose kitten-10-20260801.3 of snapshot 7: mirrors see it",
    "stage": "kitten",
    "id": "kitten-10-20260801.3",
    "url": "/state/published/composes/kitten-10-20260801.3",
    "new": True,
}
STEPS: dict[str, tuple[type[KittenCommand[Any]], dict[str, Any], str]] = {
    "source": (SourceStep, SOURCE, "bzip2-1.0.8-1.el10 from c10s 1a2b3c4"),
    "build": (BuildRpmsStep, BUILT, "bzip2-1.0.8-1.el10: 4 RPMs, 31 s"),
    "verify": (VerifyStep, VERIFIED, "proven"),
    "test": (GuestTestStep, TESTED, "1 tests passed on power9 (TCG), 1 skipped"),
    "stage": (StageStep, STAGED, "2 RPMs of b-1 staged"),
    "publish": (PublishStep, PUBLISHED, "b-1 on s390x: published in kitten, snapshot 7"),
    "promote": (PromoteStep, PROMOTED, "b-1 on 2 targets in kitten, snapshot 7"),
    "clean": (CleanStep, CLEANED, f"dry run: {CLEANED['summary']}"),
    "compose": (ComposeStep, COMPOSED, "compose kitten-10-20260801.3 of snapshot 7: mirrors see it"),
}
OUTCOMES = {
    "verify": (
        "verify",
        [
            (1000, "1", "proof", "bzip2", None, None),
            (1001, "no-code", "isa", "README", None, None),
        ],
    ),
    "test": (
        "guest tests",
        [
            (1000, "1", "packages: round trip", None, None, 1_250_000_000),
            (1001, "tap: memory", "packages: big file", None, None, None),
        ],
    ),
}


class TestSteps(TestBuildStepMixin, TestReactorMixin, unittest.TestCase):
    """Every step gets every answer a worker can give."""

    def setUp(self) -> Any:
        self.setup_test_reactor()
        return self.setup_test_build_step()

    change: tuple[int, str] | None = None

    def set_up(self, command: str, **more: Any) -> None:
        kind, _, _ = STEPS[command]
        # Buildbot's fake data API takes no blanks in a step's name; the real one does.
        more |= {"suites": SUITES} if command == "test" else {}
        more = {"to_users": True, **more} if command in ("publish", "promote") else more
        self.setup_step(
            kind(name=command, arguments=[command], installation=INSTALLATION, state_folder="/state", **more)
        )
        self.build.setProperty("package", "bzip2", "test")
        self.pages: list[str] = []
        self.step.addHTMLLog = lambda _name, html: succeed(self.pages.append(html))

        if command == "source":
            self.build.sources[""] = SimpleNamespace(branch="c10s", revision="1a2b3c4d5e", patch=self.change)

    def shell(self, command: str, *more: str, factor: float = 1.0, limit: float | None = None) -> ExpectShell:
        if command == "source":
            more = ("--branch", "c10s", "--revision", "1a2b3c4d5e", *more)
        if command == "promote":
            more = ("bzip2", *more)
        if command == "clean":
            more = more or ("--dry-run",)
        if command == "test":
            more = ("--suite", "packages", "--suite", "spice", *more)
        words = [command, *more, "--site", "demo", "--state", "/state", "--json", "result.json"]
        return ExpectShell(
            workdir="wkdir",
            command=["sh", "-c", _FRESH, "result.json", *words],
            env={"KITTEN_DIE_WITH_PARENT": "1", "PYTHONUNBUFFERED": "1"},
            log_environ=False,
            timeout=1200 * factor,
            max_time=limit,
            use_pty=False,
            sigterm_time=15,
        )

    def upload(self, text: str | None, source: str = "result.json") -> ExpectUploadFile:
        expected = ExpectUploadFile(
            blocksize=32 * 1024,
            maxsize=None,
            workersrc=source,
            workdir="wkdir",
            writer=ExpectRemoteRef(remotetransfer.StringFileWriter),
        )
        return expected.exit(1) if text is None else expected.upload_string(text).exit(0)

    def answers(self, command: str, status: int, text: str | None) -> None:
        self.expect_commands(self.shell(command).exit(status), self.upload(text))

    def expect_shown(self, command: str, result: dict[str, Any]) -> None:
        kept = STEPS[command][0].result_type.model_validate(result).model_dump_json().encode()
        self.expect_build_data(command, kept, "kitten")
        if command in OUTCOMES:
            category, rows = OUTCOMES[command]
            self.expect_test_result_sets(
                [(category, "pass_fail", "boolean"), (f"{category}: skipped", category, "reason")]
            )
            self.expect_test_results(rows)

    async def hold(self, command: str) -> None:
        _, result, summary = STEPS[command]
        self.set_up(command)
        self.answers(command, 0, json.dumps(result))
        if command == "test":
            self.expect_commands(self.upload("boot\n", CONSOLE["url"]))
            self.expect_log_file("packages-console", "boot\n")
        self.expect_shown(command, result)
        self.expect_outcome(result=SUCCESS, state_string=summary)
        await self.run_step()

    async def not_hold(self, command: str) -> None:
        self.set_up(command)
        result = {**STEPS[command][1], "outcome": "failed", "cause": "bzip2.c:7: error: no such thing"}
        self.answers(command, 1, json.dumps(result))
        if command == "test":
            self.expect_commands(self.upload(None, CONSOLE["url"]))
        self.expect_shown(command, result)
        self.expect_outcome(result=FAILURE, state_string="bzip2.c:7: error: no such thing")
        await self.run_step()

    async def cannot_run(self, command: str) -> None:
        self.set_up(command)
        said = "noise\nkitten: rpmbuild is not installed\n  → make setup\n"
        self.expect_commands(self.shell(command).stderr(said).exit(2))
        self.expect_outcome(result=FAILURE, state_string="could not run: rpmbuild is not installed")
        await self.run_step()

    async def absent(self, command: str) -> None:
        self.set_up(command)
        self.answers(command, 143, None)
        self.expect_outcome(result=EXCEPTION, state_string=f"kitten {command} ended with status 143 and left no result")
        await self.run_step()

    async def garbled(self, command: str) -> None:
        self.set_up(command)
        self.answers(command, 0, '{"version": 99}')
        self.expect_outcome(result=EXCEPTION)
        await self.run_step()
        assert f"kitten {command} ended with status 0 and left not a result" in self.step.getResultSummary()["step"]

    async def contradicting(self, command: str) -> None:
        self.set_up(command)
        self.answers(command, 0, json.dumps({**STEPS[command][1], "outcome": "failed"}))
        said = f"kitten {command} ended with status 0 but its result says failed"
        self.expect_outcome(result=EXCEPTION, state_string=said)
        await self.run_step()

    async def lost(self, command: str) -> None:
        self.set_up(command)
        self.expect_commands(self.shell(command).error(Failure(error.ConnectionLost())))
        self.expect_outcome(result=RETRY, state_string="worker lost")
        await self.run_step()

    async def cancelled(self, command: str) -> None:
        self.set_up(command)
        shell = self.shell(command).exit(143)
        shell.interrupted = True
        self.expect_commands(shell)
        self.interrupt_nth_remote_command(0)
        self.expect_outcome(result=CANCELLED, state_string="cancelled")
        await self.run_step()

    async def test_the_log_begins_with_the_command_line_that_repeats_the_step(self) -> None:
        self.set_up("stage")
        self.answers("stage", 0, json.dumps(STAGED))
        self.expect_shown("stage", STAGED)
        self.expect_outcome(result=SUCCESS)
        await self.run_step()
        first, second = self.step.logs["stdio"].header.splitlines()[:2]
        self.assertIn("repeat this step by hand", first)
        self.assertEqual(second, "kitten stage --site demo --state /state")

    async def test_what_is_flaky_is_a_warning_that_the_build_shows_and_a_set_of_its_own(self) -> None:
        self.set_up("test")
        flaky = {"name": "agent", "outcome": "flaky", "reason": "no answer", "detail": "words"}
        result = {**TESTED, "suites": [{**SUITE, "cases": [*CASES, flaky], "logs": []}]}
        self.answers("test", 0, json.dumps(result))
        self.expect_build_data("test", TestResult.model_validate(result).model_dump_json().encode(), "kitten")
        others = [(f"guest tests: {kind}", "guest tests", "reason") for kind in ("flaky", "skipped")]
        self.expect_test_result_sets([("guest tests", "pass_fail", "boolean"), *others])
        self.expect_test_results(
            [
                (1000, "1", "packages: round trip", None, None, 1_250_000_000),
                (1001, "no answer", "packages: agent", None, None, None),
                (1002, "tap: memory", "packages: big file", None, None, None),
            ]
        )
        said = "1 FLAKY (packages: agent), 1 tests passed on power9 (TCG), 1 skipped"
        self.expect_outcome(result=WARNINGS, state_string=said)
        await self.run_step()
        self.assertTrue(self.step.warnOnWarnings)
        self.assertIn(WARNINGS, self.step.updateBuildSummaryPolicy)
        said = "not ok 3 - packages: agent # TODO flaky: failed, then passed: no answer"
        self.assertIn(said, self.step.logs["tests"].stdout)

    async def test_a_publication_names_what_was_flaky_and_is_a_warning(self) -> None:
        self.set_up("publish")
        result = {**PUBLISHED, "flaky": ["packages: agent"]}
        self.answers("publish", 0, json.dumps(result))
        self.expect_build_data("publish", PublishResult.model_validate(result).model_dump_json().encode(), "kitten")
        said = "b-1 on s390x: published in kitten, snapshot 7; FLAKY in its tests: packages: agent"
        self.expect_outcome(result=WARNINGS, state_string=said)
        await self.run_step()

    async def test_what_users_have_is_a_property_for_each_package_where_the_stage_is_the_last(self) -> None:
        self.set_up("promote")
        self.answers("promote", 0, json.dumps(PROMOTED))
        self.expect_shown("promote", PROMOTED)
        self.expect_outcome(result=SUCCESS)
        self.expect_property("released:bzip2", [["x86_64", "c" * 40], ["s390x", "d" * 40]])
        self.expect_property("released:zlib", [["s390x", "e" * 40]])
        await self.run_step()

    async def test_a_stage_before_the_last_releases_nothing(self) -> None:
        self.set_up("publish", to_users=False)
        self.answers("publish", 0, json.dumps(PUBLISHED))
        self.expect_shown("publish", PUBLISHED)
        self.expect_outcome(result=SUCCESS)
        self.expect_no_property("released:bzip2")
        await self.run_step()

    async def overriding(self, rebuilt: int | None, owner: str) -> None:
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
                command=["sh", "-c", _FRESH, "result.json", *words],
                env={"KITTEN_DIE_WITH_PARENT": "1", "PYTHONUNBUFFERED": "1"},
                log_environ=False,
                timeout=1200,
                use_pty=False,
                sigterm_time=15,
            ).exit(2)
        )
        self.expect_outcome(result=FAILURE)
        await self.run_step()

    async def test_an_override_is_in_the_name_of_who_filled_in_the_form(self) -> None:
        await self.overriding(None, "ann")

    async def test_a_rebuild_overrides_in_nobodys_name(self) -> None:
        await self.overriding(3, "")

    async def test_only_true_removes(self) -> None:
        for remove, flag in (
            (True, "--yes"),
            (False, "--dry-run"),
            (None, "--dry-run"),
            ("true", "--dry-run"),
            (1, "--dry-run"),
        ):
            step: Any = SimpleNamespace(getProperty={"remove": remove}.get)
            assert await CleanStep.prepare(step) == [flag]

    async def test_a_clean_lists_what_went(self) -> None:
        self.set_up("clean")
        self.build.setProperty("remove", True, "test")
        result = {**CLEANED, "dry": False, "summary": "removed 1 folder (2.5 MB); 7 folders (9.0 MB) stay"}
        self.expect_commands(self.shell("clean", "--yes").exit(0), self.upload(json.dumps(result)))
        self.expect_shown("clean", result)
        line = "       2.5 MB  failed/s390x/77  failed build  bzip2-1-1: 15.0 days old, over failed_days: 14\n"
        self.expect_log_file("removed", line)
        self.expect_outcome(result=SUCCESS, state_string=result["summary"])
        await self.run_step()

    async def test_a_compose_is_of_the_builds_stage_and_links_the_tree(self) -> None:
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

    async def test_a_publication_links_the_packages_documents_before_its_packages(self) -> None:
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

    async def test_the_report_shows_the_pictures_that_this_service_serves_and_nothing_a_worker_wrote_as_markup(
        self,
    ) -> None:
        self.set_up("test")
        evil = "<script>alert(1)</script>"
        logs = [
            PICTURE,
            {**PICTURE, "name": "packages-b.png", "url": "https://elsewhere/b.png"},
            {**PICTURE, "name": "packages-c.png", "url": "/state/artifacts/../secrets/c.png"},
            {**PICTURE, "name": "packages-d.png", "url": "/state/artifacts/d.html"},
            {**PICTURE, "name": "packages-e.svg", "url": "/state/artifacts/e.svg"},
            {**PICTURE, "name": f"{evil}.png", "url": "/state/artifacts/f.png"},
        ]
        case = {"name": evil, "outcome": "failed", "console": evil, "pictures": [log["name"] for log in logs]}
        result = {
            **TESTED,
            "outcome": "failed",
            "suites": [{**SUITE, "cases": [case], "logs": logs, "outcome": "failed"}],
        }
        self.answers("test", 1, json.dumps(result))
        self.expect_build_data("test", TestResult.model_validate(result).model_dump_json().encode(), "kitten")
        self.expect_test_result_sets([("guest tests", "pass_fail", "boolean")])
        self.expect_test_results([(1000, "0", f"packages: {evil}", None, None, None)])
        self.expect_outcome(result=FAILURE, state_string="tested")
        await self.run_step()
        (shown,) = self.pages
        self.assertEqual(
            re.findall("src='([^']*)'", shown), ["http://ci/plugins/kitten/artifacts/builds/x/1/packages-a.png"]
        )
        self.assertNotIn("<script", shown)

    async def test_a_consoles_text_is_taken_from_the_worker_only_so_far(self) -> None:
        self.set_up("test")
        logs = [{**CONSOLE, "name": f"packages-{n}-console.log", "url": f"/state/{n}-console.log"} for n in range(20)]
        logs[0]["size"] = LOG_BYTES + 1
        logs[2]["url"] = "s3://elsewhere/2-console.log"
        result = {**TESTED, "suites": [{**SUITE, "logs": logs}]}
        self.answers("test", 0, json.dumps(result))
        self.expect_commands(
            *(self.upload("x" * (LOG_BYTES + 1), f"/state/{n}-console.log") for n in (1, *range(3, 13)))
        )
        self.expect_log_file("packages-1-console", "x" * LOG_BYTES)
        self.expect_shown("test", result)
        self.expect_outcome(result=SUCCESS)
        await self.run_step()

    async def test_a_target_is_tested_by_the_suites_asked_for_or_by_all_that_can(self) -> None:
        suites = {"x86_64": ["a", "b"], "s390x": ["c"]}
        self.setup_step(TargetTestStep(name="t", arguments=["test"], installation=INSTALLATION, suites=suites))
        self.build.setProperty("target", "x86_64", "test")
        self.assertEqual(await self.get_nth_step(0).prepare(), ["--suite", "a", "--suite", "b"])
        self.build.setProperty("suites", ["b"], "test")
        self.assertEqual(await self.get_nth_step(0).prepare(), ["--suite", "b"])

    async def test_a_run_of_suites_says_of_which_target_it_speaks(self) -> None:
        step = TargetTestStep(arguments=["test"], installation=INSTALLATION, suites={})
        result = TestResult.model_validate(TESTED)
        self.assertEqual(step.summary(result), "x86_64: packages: 1 tests passed on power9 (TCG), 1 skipped")
        self.assertEqual(step.complaint(result.model_copy(update={"cause": "spice: no"})), "x86_64: spice: no")

    async def test_slow_hardware_gets_more_time(self) -> None:
        self.set_up("build", time_limit=100, timeout_factor=3)
        self.expect_commands(self.shell("build", factor=3, limit=300).exit(0), self.upload(json.dumps(BUILT)))
        self.expect_shown("build", BUILT)
        self.expect_outcome(result=SUCCESS)
        await self.run_step()

    async def test_a_build_tells_later_steps_where_it_lies_and_links_its_files(self) -> None:
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

    async def test_a_build_that_did_not_hold_is_no_build_to_go_on_from(self) -> None:
        self.set_up("build")
        result = {**BUILT, "outcome": "failed", "cause": "no"}
        self.answers("build", 1, json.dumps(result))
        self.expect_shown("build", result)
        self.expect_no_property("build_url")
        self.expect_outcome(result=FAILURE)
        await self.run_step()

    async def test_a_source_build_hands_on_what_targets_need(self) -> None:
        self.set_up("source")
        self.answers("source", 0, json.dumps(SOURCE))
        self.expect_shown("source", SOURCE)
        self.expect_outcome(result=SUCCESS)
        self.expect_property("source_url", "/state/artifacts/sources/bzip2/k", "source")
        self.expect_property("got_revision", "1a2b3c4d5e", "source")
        self.expect_property("build_requires", ["zlib-devel"], "source")
        await self.run_step()

    async def test_a_try_builds_patch_goes_to_the_worker_first(self) -> None:
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


class TestWords:
    def test_durations_are_as_exact_as_a_person_cares(self) -> None:
        assert [duration(s) for s in (31.4, 240, 9000)] == ["31 s", "4 min", "2.5 h"]

    def test_a_summary_is_one_line_without_control_characters(self) -> None:
        assert one_line("\n  \x1b[31mred\x1b[0m\x07 line \nsecond") == "red line"
        assert len(one_line("x" * 999)) == 200

    def test_links_stay_below_their_folder(self) -> None:
        assert INSTALLATION.link("/state/artifacts-of-others/x") is None
        assert INSTALLATION.link("file:///state/artifacts/a b") == "http://ci/plugins/kitten/artifacts/a%20b"
        assert INSTALLATION.link("https://elsewhere/x") == "https://elsewhere/x"
        assert INSTALLATION.link("/state/artifacts/../secrets/web-admin") is None
        assert INSTALLATION.link("/state/artifacts/x/../../..") is None
        assert INSTALLATION.served("https://elsewhere/x") is None
        assert INSTALLATION.served("/state/artifacts/a?b#c") == "http://ci/plugins/kitten/artifacts/a%3Fb%23c"

    def test_tap_has_a_word_for_each_outcome_and_no_name_breaks_its_line(self) -> None:
        cases = (
            Case(name="a # SKIP", outcome="passed"),
            Case(name="b\nok 9 - c", outcome="failed", reason="no", detail="one\ntwo"),
            Case(name="d", outcome="skipped", reason="none", code="no-device"),
            Case(name="e", outcome="flaky", reason="late"),
        )
        assert tap(cases).splitlines() == [
            "TAP version 14",
            "1..4",
            "ok 1 - a \\# SKIP",
            "not ok 2 - b",
            "# no",
            "# one",
            "# two",
            "ok 3 - d # SKIP no-device: none",
            "not ok 4 - e # TODO flaky: failed, then passed: late",
        ]


def _add_cases() -> None:
    for command in STEPS:
        for case in ("hold", "not_hold", "cannot_run", "absent", "garbled", "contradicting", "lost", "cancelled"):

            def test(self: TestSteps, command: str = command, case: str = case) -> Any:
                from twisted.internet.defer import ensureDeferred

                return ensureDeferred(getattr(self, case)(command))

            setattr(TestSteps, f"test_{command}_{case}", test)


_add_cases()
