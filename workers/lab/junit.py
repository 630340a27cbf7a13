"""A test result as JUnit's XML, which every CI and editor reads, in the form that Maven's Surefire and pytest write.

A flaky case carries Surefire's ``flakyFailure``. Readers that do not know it would show a pass, so it is ``skipped`` as well:
the one word of JUnit's for what is neither a pass nor a failure.
"""

# mypy: allow-untyped-calls
# junitparser has types for a part of itself only.

from __future__ import annotations

from junitparser import Failure, Skipped
from junitparser.xunit2 import FlakyFailure, JUnitXml, TestCase, TestSuite

from config.text import plain_text
from workers.results import Case, SuiteResult, TestResult


def document(result: TestResult, folder: str) -> bytes:
    """The document: a test suite for each of ours.

    :param folder: URL of the folder it will lie in: pictures are named as seen from there, in the notation of Jenkins and
        GitLab, ``[[ATTACHMENT|PATH]]``.
    """
    whole = JUnitXml(f"kitten test, {plain_text(result.target)}")
    for suite in result.suites:
        whole.add_testsuite(_suite(result.target, suite, folder.rstrip("/") + "/"))
    whole.update_statistics()
    for made, suite in zip(whole, result.suites, strict=True):
        made.time = suite.seconds  # of the whole: guests boot as well
    whole.time = round(sum(suite.seconds for suite in result.suites), 3)
    data = whole.tostring()
    assert isinstance(data, bytes)  # noqa: S101 - junitparser says str or bytes
    return data


def _suite(target: str, suite: SuiteResult, folder: str) -> TestSuite:
    name = plain_text(f"{target}.{suite.suite}")
    made = TestSuite(name)
    for fact in ("cpu", "accelerator", "kernel"):
        made.add_property(fact, plain_text(getattr(suite, fact)))
    for fact, value in suite.facts.items():
        made.add_property(plain_text(fact), plain_text(value))
    places = {log.name: log.url.removeprefix(folder) for log in suite.logs}
    for case in suite.cases:
        made.append(_case(name, case, [places[picture] for picture in case.pictures if picture in places]))
    return made


def _case(group: str, case: Case, pictures: list[str]) -> TestCase:
    made = TestCase(plain_text(case.name), group, case.seconds)
    text = plain_text(f"{case.detail}\n{case.console}".strip())
    if case.outcome == "skipped":
        made.append(Skipped(plain_text(case.reason), plain_text(case.code) or "skipped"))
    elif case.outcome == "failed":
        failure = Failure(plain_text(case.reason), "failure")
        failure.text = text
        made.append(failure)
    elif case.outcome == "flaky":
        made.append(Skipped(plain_text(f"flaky: failed, then passed: {case.reason}"), "flaky"))
        flaky = FlakyFailure(plain_text(case.reason), "flaky")
        flaky.stack_trace = text
        made.append(flaky)
    if pictures:
        made.system_out = "\n".join(f"[[ATTACHMENT|{plain_text(path)}]]" for path in pictures)
    return made
