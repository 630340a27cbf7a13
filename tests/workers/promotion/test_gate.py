"""The gate's rules: each with what it lets through and what it stops, and its words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from config.models import Site, SourcePackage
from workers.promotion.gate.proofs import against_package, judge
from workers.promotion.gate.refusal import Refusal
from workers.promotion.gate.versions import Candidate, not_older, not_replaced, not_taken_back, same_source
from workers.repository.records import Arrival, PublishedFile, PublishedRecord
from workers.results import Artifact, BuildResult, Check, SuiteResult, TestResult, VerifyResult

ALL = ("built", "verified", "tested")
LIBS = Artifact(name="tiny-libs-1-1.el10.aarch64.rpm", url="", sha256="1" * 64, size=1)
DOC = Artifact(name="tiny-doc-1-1.el10.noarch.rpm", url="", sha256="2" * 64, size=1)
SOURCE = Artifact(name="tiny-1-1.el10.src.rpm", url="", sha256="3" * 64, size=1)


def build(**changes: Any) -> BuildResult:
    fields = {"target": "aarch64", "package": "tiny", "nevr": "tiny-1-1.el10", "identity": "i" * 64, "url": "/builds/i"}
    return BuildResult.model_validate({"summary": "built", **fields, "srpm": SOURCE, "rpms": (LIBS, DOC), **changes})


def verify(**changes: Any) -> VerifyResult:
    checks = (Check(rule="header", file=LIBS.name, outcome="passed"),)
    fields = {"summary": "proven", "target": "aarch64", "checked": (LIBS, DOC), "checks": checks}
    return VerifyResult.model_validate({**fields, **changes})


def report(**changes: Any) -> TestResult:
    fields = {"summary": "tested", "target": "aarch64", "checked": (LIBS, DOC), "suites": (suite("passed"),)}
    return TestResult.model_validate({**fields, **changes})


def suite(*outcomes: str, held: bool = True, name: str = "packages") -> SuiteResult:
    cases = [{"name": f"runs {number}", "outcome": outcome} for number, outcome in enumerate(outcomes, 1)]
    outcome = "passed" if held else "failed"
    return SuiteResult.model_validate({"suite": name, "outcome": outcome, "summary": "", "cases": cases})


def words(site: Site, *results: Any, requires: tuple[str, ...] = ALL) -> list[str]:
    return [str(refusal) for refusal in judge(*results, site.target("aarch64"), requires)]


def test_a_build_with_all_its_proofs_passes(site: Site) -> None:
    assert words(site, build(), verify(), report()) == []


def test_a_stage_that_requires_no_proof_asks_for_none(site: Site) -> None:
    assert words(site, build(), None, None, requires=("built",)) == []


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda: build(outcome="failed", cause="cc: error"), "built: the build failed: cc: error → "),
        (lambda: build(target="s390x"), "built: the build is for s390x, not for aarch64 → pass a build for aarch64"),
        (lambda: build(trial=True), "built: tiny-1-1.el10 is a try build → commit the change to dist-git"),
        (lambda: build(rpms=()), "built: the build made no package → kitten build --target aarch64"),
        (lambda: build(srpm=None), "built: the build does not name its source package → "),
        (lambda: build(identity=""), "built: the build has no identity: its inputs are unknown → "),
        (lambda: build(rpms=(LIBS, LIBS)), f"built: the build names {LIBS.name} more than once → "),
    ],
)
def test_a_build_that_is_not_whole_is_stopped(site: Site, make: Callable[[], BuildResult], refusal: str) -> None:
    (found,) = words(site, make(), None, None, requires=("built",))
    assert found.startswith(refusal)


VIOLATED = Check(rule="frame-pointers", file="usr/lib64/libtiny.so", outcome="failed")
SKIPPED = Check(rule="frame-pointers", file="usr/share/tiny", outcome="skipped", reason="no-code")


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda: None, "verified: there is no verify.json → kitten verify --target aarch64 --build /builds/i"),
        (
            lambda: verify(outcome="failed", cause="no frame pointer"),
            "verified: the proof failed: no frame pointer → ",
        ),
        (lambda: verify(target="s390x"), "verified: the proof is for s390x, not for aarch64 → kitten verify"),
        (lambda: verify(checks=()), "verified: nothing was checked → kitten verify"),
        (lambda: verify(checks=(SKIPPED,)), "verified: nothing was checked → kitten verify"),
        (
            lambda: verify(checks=(*verify().checks, VIOLATED)),
            "verified: frame-pointers is violated in usr/lib64/libtiny.so, but the proof says it passed → ",
        ),
        (lambda: verify(checked=(LIBS,)), f"verified: the proof does not cover {DOC.name} → kitten verify"),
        (
            lambda: verify(checked=(LIBS, DOC.model_copy(update={"sha256": "9" * 64}))),
            f"verified: the proof is for other content of {DOC.name} → kitten verify",
        ),
    ],
)
def test_a_proof_that_proves_too_little_is_stopped(
    site: Site, make: Callable[[], VerifyResult | None], refusal: str
) -> None:
    (found,) = words(site, build(), make(), report())
    assert found.startswith(refusal)


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda: None, "tested: there is no test.json → kitten test --target aarch64 --build /builds/i"),
        (lambda: report(outcome="failed", cause="panic"), "tested: the test failed: panic → "),
        (lambda: report(target="s390x"), "tested: the test ran for s390x, not for aarch64 → kitten test"),
        (lambda: report(suites=()), "tested: nothing was tested → kitten test"),
        (lambda: report(suites=(suite(),)), "tested: suite packages tested nothing → kitten test"),
        (
            lambda: report(suites=(suite("passed"), suite("skipped", name="spice"))),
            "tested: suite spice tested nothing → ",
        ),
        (
            lambda: report(suites=(suite("passed", "failed"),)),
            "tested: packages: runs 2 failed, but the report says it passed → ",
        ),
        (
            lambda: report(suites=(suite("passed", held=False),)),
            "tested: suite packages failed, but the report says it passed → ",
        ),
        (lambda: report(checked=(DOC,)), f"tested: the proof does not cover {LIBS.name} → kitten test"),
    ],
)
def test_a_report_that_proves_too_little_is_stopped(
    site: Site, make: Callable[[], TestResult | None], refusal: str
) -> None:
    (found,) = words(site, build(), verify(), make())
    assert found.startswith(refusal)


def test_what_is_flaky_is_no_failure_and_has_a_name(site: Site) -> None:
    flaky = report(suites=(suite("flaky", "passed"), suite("flaky", name="spice")))
    assert words(site, build(), verify(), flaky) == []
    assert flaky.flaky == ("packages: runs 1", "spice: runs 1")


def test_every_refusal_is_reported(site: Site) -> None:
    assert len(words(site, build(identity="", srpm=None), None, None)) == 4


PACKAGE = SourcePackage(name="tiny", binaries=("tiny-libs", "tiny-doc"))


def test_packages_the_entry_names_and_their_debuginfo_pass() -> None:
    debug = [
        LIBS.model_copy(update={"name": f"tiny-{kind}-1-1.el10.aarch64.rpm"})
        for kind in ("libs-debuginfo", "debugsource", "debuginfo-common-aarch64")
    ]
    assert against_package(PACKAGE, (LIBS, DOC, *debug)) == ()


def test_a_package_the_entry_does_not_name_is_stopped() -> None:
    stray = LIBS.model_copy(update={"name": "glibc-9-9.aarch64.rpm"})
    (refusal,) = against_package(PACKAGE, (LIBS, stray))
    assert (
        str(refusal) == "placement: packages/tiny.yaml does not list glibc → add it there, or remove it from the spec"
    )


def published(
    target: str = "aarch64", evr: str = "1-1.el10", checksum: str = "1" * 64, name: str = LIBS.name
) -> PublishedRecord:
    file = PublishedFile(name=name, repository="r", path="p", unsigned_sha256=checksum, sha256="f" * 64, size=1)
    return PublishedRecord(
        package="tiny",
        target=target,
        nevr=f"tiny-{evr}",
        evr=evr,
        commit="c" * 40,
        snapshot=1,
        published="",
        files=(file,),
    )


def candidate(evr: str = "1-1.el10", **unsigned: str) -> Candidate:
    return Candidate("tiny", f"tiny-{evr}", evr, unsigned or {LIBS.name: "1" * 64})


def arrival(evr: str) -> Arrival:
    return Arrival("tiny", f"tiny-{evr}", evr, "2026-03-01T00:00:00Z")


def against_published(
    new: Candidate, old: PublishedRecord | None, others: Iterable[PublishedRecord]
) -> tuple[Refusal, ...]:
    return (*not_older(new, old), *not_replaced(new, old), *same_source(new, others))


@pytest.mark.parametrize("evr", ["1-1.el10", "1-1.el10.alma.1", "1.1-1.el10", "10-1.el10", "1:0-1.el10"])
def test_an_equal_or_newer_version_passes(evr: str) -> None:
    assert against_published(candidate(evr), published(), ()) == ()


@pytest.mark.parametrize("evr", ["1~rc1-1.el10", "0.9-1.el10", "1-0.el10"])
def test_an_older_version_is_stopped(evr: str) -> None:
    (refusal,) = against_published(candidate(evr), published(), ())
    assert str(refusal) == (
        f"no-downgrade: tiny-{evr} is older than the published tiny-1-1.el10 → raise its version, go back with "
        "kitten rollback, or --override no-downgrade"
    )


def test_what_was_taken_back_does_not_come_again() -> None:
    came = (arrival("1-1.el10"), arrival("2-1.el10"))
    assert list(not_taken_back(candidate("3-1.el10"), published(), came)) == []
    assert list(not_taken_back(candidate("1-1.el10"), published(), came)) == [], "it is there"
    (refusal,) = not_taken_back(candidate("2-1.el10"), published(), came)
    assert str(refusal) == (
        "not-taken-back: tiny-2-1.el10 was published before and was rolled back; now the stage has tiny-1-1.el10 → fix "
        "it and raise its Release, or --override not-taken-back"
    )


def test_other_content_under_a_published_name_is_stopped() -> None:
    (refusal,) = against_published(candidate(), published(checksum="8" * 64), ())
    assert str(refusal) == (
        f"no-replaced-file: {LIBS.name} is published from commit cccccccccccc with other content → raise its Release"
    )


def test_another_target_may_have_other_binaries_but_not_another_source() -> None:
    new = Candidate("tiny", "tiny-1-1.el10", "1-1.el10", {LIBS.name: "1" * 64, SOURCE.name: "3" * 64})
    assert against_published(new, None, [published("s390x", checksum="8" * 64)]) == ()
    (refusal,) = against_published(new, None, [published("s390x", checksum="8" * 64, name=SOURCE.name)])
    assert str(refusal) == f"one-source: {SOURCE.name} is published with other content on s390x → raise its Release"
