"""A test result as JUnit's XML, which every CI and editor reads."""

from __future__ import annotations

import re

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from workers.results import Case, TestResult

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2 Char


def document(result: TestResult) -> bytes:
    """The document: a test suite for each of ours."""
    whole = JUnitXml(f"kitten test, {result.target}")
    for suite in result.suites:
        made = TestSuite(f"{result.target}.{suite.suite}")
        for name in ("cpu", "accelerator", "kernel"):
            made.add_property(name, _clean(getattr(suite, name)))
        for case in suite.cases:
            made.add_testcase(_case(f"{result.target}.{suite.suite}", case))
        made.time = suite.seconds
        whole.add_testsuite(made)
    data = whole.tostring()  # type: ignore[no-untyped-call]
    assert isinstance(data, bytes)  # noqa: S101 - junitparser says str or bytes
    return data


def _case(group: str, case: Case) -> TestCase:
    made = TestCase(_clean(case.name), group, case.seconds)
    text = _clean(f"{case.detail}\n{case.console}".strip())
    if case.outcome == "skip":
        made.result = [Skipped(_clean(case.reason), case.code or "skip")]
    elif case.outcome == "fail":
        failure = Failure(_clean(case.reason), "failure")
        failure.text = text
        made.result = [failure]
    elif case.outcome == "flaky":  # JUnit has no word for it: it did not fail, and must not be green either
        error = Error(_clean(f"flaky: failed, then passed: {case.reason}"), "flaky")
        error.text = text
        made.result = [error]
    return made


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
