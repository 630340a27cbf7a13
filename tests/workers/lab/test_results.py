"""From the reports of suites to stored results: reruns, names of logs and pictures, and JUnit for its own parser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from junitparser.xunit2 import JUnitXml

from config.loading import load_site
from workers.base.errors import CannotRun
from workers.lab import cli, junit, suites
from workers.lab.suites import Report, Request
from workers.lab.testing import merge_rerun, run_suites
from workers.results import Artifact, BuildResult, Case, SuiteResult, TestResult

SITE = load_site("demo")
TARGET = SITE.target("aarch64")
SUITE = next(suite for suite in SITE.suites if not suite.needs_package and suite.fits(TARGET))
PNG = b"\x89PNG\r\n\x1a\n and the rest"

FOUND: list[dict[str, str]] = []
"""The cases of each attempt of `run`: name of a case → its outcome."""


def run(request: Request) -> Report:
    """Run a suite whose attempts have the outcomes of ``FOUND``. Each attempt leaves a console log and a picture."""
    found = FOUND.pop(0)
    (request.logs / "guest-console.log").write_text(f"attempt with {len(FOUND)} to come\n")
    (request.logs / "screen.png").write_bytes(PNG)
    (request.scratch / "used").mkdir()
    cases = tuple(
        Case.model_validate({"name": name, "outcome": outcome, "reason": "why", "pictures": ("screen.png",)})
        for name, outcome in found.items()
    )
    return Report(cases, "tcg", "", "cortex-a57", "6.12")


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    monkeypatch.setitem(suites.RUNNERS, SUITE.name, __name__)  # type: ignore[arg-type]
    FOUND.clear()
    return FOUND


def outcome_of(state: Path) -> TestResult:
    return run_suites(SITE, TARGET, [SUITE], state, ())


def test_a_case_that_fails_and_then_passes_is_flaky_and_the_logs_of_both_attempts_are_kept(tmp_path, attempts):
    attempts += [{"a": "failed", "b": "passed"}, {"a": "passed", "b": "passed"}]
    result = outcome_of(tmp_path)
    (suite,) = result.suites
    assert [(case.name, case.outcome) for case in suite.cases] == [("a", "flaky"), ("b", "passed")]
    assert result.outcome == "passed"
    assert "1 flaky" in result.summary
    texts = {log.name: Path(log.url).read_text(errors="replace") for log in suite.logs}
    assert texts[f"{SUITE.name}-guest-console.log"] == "attempt with 1 to come\n"
    assert texts[f"{SUITE.name}-rerun-1-guest-console.log"] == "attempt with 0 to come\n"


def test_a_case_that_fails_again_has_failed_and_has_the_picture_of_its_attempt(tmp_path, attempts):
    attempts += [{"a": "failed", "b": "passed"}, {"a": "failed", "b": "failed"}]
    result = outcome_of(tmp_path)
    (suite,) = result.suites
    assert result.outcome == "failed"
    assert [(case.name, case.outcome, case.pictures) for case in suite.cases] == [
        ("a", "failed", (f"{SUITE.name}-screen.png",)),
        ("b", "failed", (f"{SUITE.name}-rerun-1-screen.png",)),
    ]
    assert {name for case in suite.cases for name in case.pictures} <= {log.name for log in suite.logs}


def test_a_suite_that_passes_runs_once(tmp_path, attempts):
    attempts += [{"a": "passed"}]
    assert outcome_of(tmp_path).outcome == "passed"
    assert attempts == []


@pytest.mark.parametrize("found", [{}, {"a": "skipped"}])
def test_a_suite_that_tested_nothing_has_failed(tmp_path, attempts, found):
    attempts += [found]
    result = outcome_of(tmp_path)
    assert result.outcome == "failed"
    assert result.cause == f"{SUITE.name}: nothing was tested"


def test_a_failure_that_the_second_run_does_not_have_is_flaky_and_a_failed_case_that_is_then_skipped_has_failed():
    first = [Case(name="guest", outcome="failed"), Case(name="a", outcome="failed")]
    again = merge_rerun(first, [Case(name="a", outcome="skipped"), Case(name="new", outcome="failed")])
    assert [(case.name, case.outcome) for case in again] == [("guest", "flaky"), ("a", "failed"), ("new", "failed")]


def test_the_report_of_the_command_embeds_its_pictures(tmp_path, attempts):
    attempts += [{"a": "passed", "b": "skipped"}]
    page, document = tmp_path / "report.html", tmp_path / "test.json"
    options = ["--target", "aarch64", "--suite", SUITE.name, "--state", str(tmp_path), "--html", str(page)]
    done = CliRunner().invoke(cli.test, [*options, "--json", str(document)])
    assert done.exit_code == 0, done.output
    assert page.read_text().count("<img src='data:image/png;base64,iVBORw0KGgo") == 2
    kept = Path(json.loads(document.read_text())["reports"][0]["url"])
    (suite,) = JUnitXml.fromstring(kept.read_bytes())
    attached = {line for case in suite for line in case.system_out.splitlines()}
    assert attached == {f"[[ATTACHMENT|{SUITE.name}/screen.png]]"}
    assert (kept.parent / SUITE.name / "screen.png").read_bytes() == PNG


def test_the_command_runs_the_suites_that_the_service_runs_for_a_build(tmp_path):
    bzip2 = SITE.package("bzip2").model_copy(update={"suites": (SUITE.name,)})
    site = SITE.model_copy(update={"packages": (bzip2,)})
    for name, expected in (("bzip2", (*TARGET.suites, SUITE.name)), ("unknown", TARGET.suites)):
        folder = tmp_path / name
        BuildResult(summary="", target="aarch64", package=name, nevr="n-1-1", url=str(folder)).write(
            folder / "build.json"
        )
        assert cli._usual_suites(site, TARGET, str(folder), tmp_path) == expected
    assert cli._usual_suites(site, TARGET, None, tmp_path) == TARGET.suites


def test_a_run_without_a_suite_does_not_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_usual_suites", lambda *_: ())
    done = CliRunner().invoke(cli.test, ["--target", "aarch64", "--state", str(tmp_path)])
    assert isinstance(done.exception, CannotRun)
    assert str(done.exception).startswith("no suite runs on builds for aarch64")


def whole(*cases: Case, name: str = "spice") -> TestResult:
    log = Artifact(name="spice-a.png", url="/state/builds/1/spice-a.png", sha256="", size=1)
    suite = SuiteResult(
        suite=name,
        outcome="passed",
        summary="",
        cases=cases,
        seconds=7.5,
        cpu="c",
        accelerator="tcg",
        kernel="k",
        logs=(log,),
    )
    return TestResult(summary="", target="x86_64", suites=(suite, suite.model_copy(update={"suite": "other"})))


CASES = (
    Case(name="p", outcome="passed", seconds=1.25, pictures=("spice-a.png", "not-there.png")),
    Case(name="f", outcome="failed", reason="no", detail="it printed <this> ]]>", console="\x1b[1mOops"),
    Case(name="s", outcome="skipped", reason="none here", code="no-device"),
    Case(name="y", outcome="flaky", reason="late", detail="the first time"),
)


def test_a_junit_parser_reads_the_outcomes_times_and_pictures():
    read = JUnitXml.fromstring(junit.to_xml(whole(*CASES), "/state/builds/1"))
    assert (read.tests, read.failures, read.errors, read.time) == (8, 2, 0, 15.0)
    suite = next(iter(read))
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped, suite.time) == (
        "x86_64.spice", 4, 1, 0, 2, 7.5
    )  # fmt: skip
    assert {one.name: one.value for one in suite.properties()} == {"cpu": "c", "accelerator": "tcg", "kernel": "k"}
    passed, failed, skipped, flaky = suite
    assert (passed.is_passed, passed.time, passed.system_out) == (True, 1.25, "[[ATTACHMENT|spice-a.png]]")
    assert (failed.result[0].message, failed.result[0].text) == ("no", "it printed <this> ]]>\nOops")
    assert (skipped.result[0].type, skipped.result[0].message) == ("no-device", "none here")
    assert {case.classname for case in suite} == {"x86_64.spice"}
    assert flaky.is_flaky
    assert flaky.flaky_failures()[0].stack_trace == "the first time"


def test_a_reader_that_does_not_know_flaky_cases_does_not_show_them_as_passed():
    import junitparser

    suite = next(iter(junitparser.JUnitXml.fromstring(junit.to_xml(whole(*CASES), "/x"))))
    assert [case.name for case in suite if case.is_passed] == ["p"]
    assert [case.name for case in suite if case.is_failure or case.is_error] == ["f"]


@given(st.text(), st.text())
def test_any_text_makes_a_document_that_can_be_read(name, text):
    cases = [
        Case.model_validate(
            {"name": name, "outcome": outcome, "reason": text, "detail": text, "console": text, "code": text}
        )
        for outcome in ("passed", "failed", "flaky", "skipped")
    ]
    suite = next(iter(JUnitXml.fromstring(junit.to_xml(whole(*cases, name=name), name))))
    assert suite.tests == 4
