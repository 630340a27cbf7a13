"""Result files of version 1 are still read."""

import json

import pytest

from workers.results import Artifact, BuildResult, GateResult, GuestsResult, Result, TestResult, VerifyResult

OLD = [
    (BuildResult, {"command": "build", "outcome": "held", "target": "s390x", "package": "zlib", "nevr": "zlib-1-1"}),
    (
        VerifyResult,
        {
            "command": "verify",
            "outcome": "not-held",
            "target": "s390x",
            "checks": [
                {"rule": "isa", "file": "a", "outcome": "held"},
                {"rule": "isa", "file": "b", "outcome": "violated"},
                {"rule": "isa", "file": "c", "outcome": "skipped", "reason": "no-code"},
            ],
        },
    ),
    (
        TestResult,
        {
            "command": "test",
            "target": "s390x",
            "suites": [
                {
                    "suite": "packages",
                    "outcome": "held",
                    "summary": "held",
                    "cases": [{"name": word, "outcome": word} for word in ("pass", "fail", "flaky", "skip")],
                }
            ],
        },
    ),
    (
        GateResult,
        {
            "command": "gate",
            "stage": "kitten",
            "verdicts": [
                {
                    "rule": "tested",
                    "outcome": "refused",
                    "package": "zlib",
                    "target": "s390x",
                    "nevr": "zlib-1-1",
                    "build": "file:///x",
                    "what": "no test.json",
                    "way_out": "run kitten test",
                }
            ],
        },
    ),
    (
        GuestsResult,
        {"command": "guests", "targets": [{"target": "s390x", "outcome": "cannot-run", "way_out": "try again"}]},
    ),
]


@pytest.mark.parametrize(("kind", "old"), OLD, ids=lambda value: value.__name__ if isinstance(value, type) else "")
def test_a_result_of_version_1_is_read_as_one_of_version_2(kind, old):
    text = json.dumps({"version": 1, "summary": "held", **old})
    read = kind.read(text)
    assert read.version == 2
    assert read.summary == "held", "free text does not change"
    assert kind.read(read.model_dump_json()) == read
    outcomes = set(_outcomes(json.loads(read.model_dump_json())))
    assert outcomes <= {"passed", "failed", "flaky", "skipped", "refused", "cannot-run"}
    assert "way_out" not in read.model_dump_json()
    assert json.loads(text).get("targets", [{}])[0].get("way_out", "") in read.model_dump_json()


def test_each_outcome_of_version_1_has_its_word_in_version_2():
    checks = VerifyResult.read(json.dumps({"version": 1, "summary": "", **OLD[1][1]})).checks
    assert [check.outcome for check in checks] == ["passed", "failed", "skipped"]
    cases = TestResult.read(json.dumps({"version": 1, "summary": "", **OLD[2][1]})).cases
    assert [case.outcome for case in cases] == ["passed", "failed", "flaky", "skipped"]
    (verdict,) = GateResult.read(json.dumps({"version": 1, "summary": "", **OLD[3][1]})).verdicts
    assert (verdict.outcome, verdict.hint) == ("refused", "run kitten test")


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_other_versions_are_refused(version):
    with pytest.raises(ValueError, match="version 2"):
        Result.read(json.dumps({"version": version, "command": "build", "summary": "", "outcome": "held"}))


def test_a_word_of_version_1_in_a_file_of_version_2_is_refused():
    with pytest.raises(ValueError, match="outcome"):
        Result.read(json.dumps({"version": 2, "command": "build", "summary": "", "outcome": "held"}))


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 100_000, "1", '{"version": 1}', '{"version": 1, "outcome": ["held"]}']
)
def test_a_text_that_is_no_result_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match="not a result of Result, version 2") as caught:
        Result.read(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("depth", [*range(50, 1000, 50), 5000])
@pytest.mark.parametrize("version", [1, 2])
def test_a_document_of_any_depth_is_refused_in_one_line(version, depth):
    deep = '{"x": [' * depth + "]}" * depth
    text = f'{{"version": {version}, "deep": {deep}}}'
    with pytest.raises(ValueError, match="not a result of Result, version 2") as caught:
        Result.read(text)
    assert "\n" not in str(caught.value)


def test_artifacts_of_a_result_of_version_1_are_read():
    artifact = Artifact(name="a.rpm", url="file:///a.rpm", sha256="0" * 64, size=1)
    old = {"version": 1, "summary": "", **OLD[0][1], "rpms": [artifact.model_dump()]}
    assert BuildResult.read(json.dumps(old)).rpms == (artifact,)


def _outcomes(value):
    if isinstance(value, list):
        for item in value:
            yield from _outcomes(item)
    elif isinstance(value, dict):
        if "outcome" in value:
            yield value["outcome"]
        for item in value.values():
            yield from _outcomes(item)
