"""A test result as JUnit's XML, which every CI and editor reads, in the form that Maven's Surefire and pytest write.

A flaky case carries Surefire's ``flakyFailure``. Readers that do not know it would show a pass, so it is ``skipped`` as well:
the one word of JUnit's for what is neither a pass nor a failure.
"""

# mypy: allow-untyped-calls
# junitparser has types for a part of itself only.

from __future__ import annotations

import re

from junitparser import Failure, Skipped
from junitparser.xunit2 import FlakyFailure, JUnitXml, TestCase, TestSuite

from workers.results import Case, SuiteResult, TestResult

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2 Char


def document(result: TestResult, folder: str) -> bytes:
    """The document: a test suite for each of ours.

    :param folder: URL of the folder it will lie in: pictures are named as seen from there, in the notation of Jenkins and
        GitLab, ``[[ATTACHMENT|PATH]]``.
    """
    whole = JUnitXml(f"kitten test, {_clean(result.target)}")
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
    name = _clean(f"{target}.{suite.suite}")
    made = TestSuite(name)
    for fact in ("cpu", "accelerator", "kernel"):
        made.add_property(fact, _clean(getattr(suite, fact)))
    for fact, value in suite.facts.items():
        made.add_property(_clean(fact), _clean(value))
    places = {log.name: log.url.removeprefix(folder) for log in suite.logs}
    for case in suite.cases:
        made.append(_case(name, case, [places[picture] for picture in case.pictures if picture in places]))
    return made


def _case(group: str, case: Case, pictures: list[str]) -> TestCase:
    made = TestCase(_clean(case.name), group, case.seconds)
    text = _clean(f"{case.detail}\n{case.console}".strip())
    if case.outcome == "skipped":
        made.append(Skipped(_clean(case.reason), _clean(case.code) or "skipped"))
    elif case.outcome == "failed":
        failure = Failure(_clean(case.reason), "failure")
        failure.text = text
        made.append(failure)
    elif case.outcome == "flaky":
        made.append(Skipped(_clean(f"flaky: failed, then passed: {case.reason}"), "flaky"))
        flaky = FlakyFailure(_clean(case.reason), "flaky")
        flaky.stack_trace = text
        made.append(flaky)
    if pictures:
        made.system_out = "\n".join(f"[[ATTACHMENT|{_clean(path)}]]" for path in pictures)
    return made


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
