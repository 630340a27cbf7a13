"""A test result as JUnit XML, which every CI and editor reads, in the dialect of Maven Surefire and pytest.

A flaky case has Surefire's ``flakyFailure``. A reader that does not know this element would show the case as passed.
So the case is ``skipped`` as well: JUnit's only word for a case that neither passed nor failed.
"""

# mypy: allow-untyped-calls
# Only a part of junitparser has types.

from __future__ import annotations

from junitparser import Failure, Skipped
from junitparser.xunit2 import FlakyFailure, JUnitXml, TestCase, TestSuite

from config.text import plain_text
from workers.results import Case, SuiteResult, TestResult


def to_xml(result: TestResult, folder: str) -> bytes:
    """Return the XML document, with one JUnit test suite for each suite of the result.

    :param folder: URL of the folder that the document is stored in. The paths of pictures are relative to it, in the
        notation of Jenkins and GitLab, ``[[ATTACHMENT|PATH]]``.
    """
    document = JUnitXml(f"kitten test, {plain_text(result.target)}")
    for suite in result.suites:
        document.add_testsuite(_suite(result.target, suite, folder.rstrip("/") + "/"))
    document.update_statistics()
    for element, suite in zip(document, result.suites, strict=True):
        element.time = suite.seconds  # not the sum of the cases: it includes the boot of the guests
    document.time = round(sum(suite.seconds for suite in result.suites), 3)
    data = document.tostring()
    assert isinstance(data, bytes)  # noqa: S101 - junitparser declares str or bytes
    return data


def _suite(target: str, suite: SuiteResult, folder: str) -> TestSuite:
    name = plain_text(f"{target}.{suite.suite}")
    element = TestSuite(name)
    for fact in ("cpu", "accelerator", "kernel"):
        element.add_property(fact, plain_text(getattr(suite, fact)))
    for fact, value in suite.facts.items():
        element.add_property(plain_text(fact), plain_text(value))
    paths = {log.name: log.url.removeprefix(folder) for log in suite.logs}
    for case in suite.cases:
        element.append(_case(name, case, [paths[picture] for picture in case.pictures if picture in paths]))
    return element


def _case(group: str, case: Case, pictures: list[str]) -> TestCase:
    element = TestCase(plain_text(case.name), group, case.seconds)
    text = plain_text(f"{case.detail}\n{case.console}".strip())
    if case.outcome == "skipped":
        element.append(Skipped(plain_text(case.reason), plain_text(case.code) or "skipped"))
    elif case.outcome == "failed":
        failure = Failure(plain_text(case.reason), "failure")
        failure.text = text
        element.append(failure)
    elif case.outcome == "flaky":
        element.append(Skipped(plain_text(f"flaky: failed, then passed: {case.reason}"), "flaky"))
        flaky = FlakyFailure(plain_text(case.reason), "flaky")
        flaky.stack_trace = text
        element.append(flaky)
    if pictures:
        element.system_out = "\n".join(f"[[ATTACHMENT|{plain_text(path)}]]" for path in pictures)
    return element
