"""Test steps: flaky cases, the report, console logs, TAP."""

from __future__ import annotations

import json
import re

from buildbot.process.results import FAILURE, SUCCESS, WARNINGS

from steps.lab import LOG_BYTES, TargetTestStep, tap
from tests.steps.cases import (
    CASES,
    CONSOLE,
    INSTALLATION,
    PICTURE,
    SUITE,
    TESTED,
    StepTestCase,
)
from workers.results import Case, TestResult


class TestLab(StepTestCase):
    async def test_flaky_cases_are_a_warning_and_have_their_own_result_set(self) -> None:
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
        summary = "1 FLAKY (packages: agent), 1 tests passed on power9 (TCG), 1 skipped"
        self.expect_outcome(result=WARNINGS, state_string=summary)
        await self.run_step()
        self.assertTrue(self.step.warnOnWarnings)
        self.assertIn(WARNINGS, self.step.updateBuildSummaryPolicy)
        line = "not ok 3 - packages: agent # TODO flaky: failed, then passed: no answer"
        self.assertIn(line, self.step.logs["tests"].stdout)

    async def test_the_report_shows_only_served_pictures_and_escapes_text_of_workers(
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

    async def test_console_logs_have_a_limit_in_size_and_number(self) -> None:
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

    async def test_a_target_runs_the_requested_suites_or_all_of_its_suites(self) -> None:
        suites = {"x86_64": ["a", "b"], "s390x": ["c"]}
        self.setup_step(TargetTestStep(name="t", arguments=["test"], installation=INSTALLATION, suites=suites))
        self.build.setProperty("target", "x86_64", "test")
        self.assertEqual(await self.get_nth_step(0).prepare(), ["--suite", "a", "--suite", "b"])
        self.build.setProperty("suites", ["b"], "test")
        self.assertEqual(await self.get_nth_step(0).prepare(), ["--suite", "b"])

    async def test_the_summary_of_a_target_test_begins_with_the_target(self) -> None:
        step = TargetTestStep(arguments=["test"], installation=INSTALLATION, suites={})
        result = TestResult.model_validate(TESTED)
        self.assertEqual(step.summary(result), "x86_64: packages: 1 tests passed on power9 (TCG), 1 skipped")
        self.assertEqual(step.failure_message(result.model_copy(update={"cause": "spice: no"})), "x86_64: spice: no")


def test_tap_has_a_line_for_each_outcome_that_no_name_can_break() -> None:
    cases = (
        Case(name="a # SKIP", outcome="passed"),
        Case(name="b\nok 9 - c", outcome="failed", reason="no", detail="one\n\x1b[31mtwo"),
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
