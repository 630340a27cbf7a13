"""Builds that are not published: users see what they saw before."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion.user_view import seen, versions
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun
from workers.promotion.gate.override import Overrides
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.repository.state import published


def test_another_source_package_under_the_same_name_is_refused(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    result = publish(site, state, "x86_64", str(make_build("x86_64", source="changed")))
    assert result.outcome == "failed"
    assert result.cause.startswith("one-source: tiny-1-1.el10.src.rpm is published with other content on aarch64")
    assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}


def test_another_commit_under_a_published_version_is_refused(site: Site, state: Path, make_build: BuildFactory) -> None:
    publish(site, state, "aarch64", str(make_build()))
    result = publish(site, state, "aarch64", str(make_build(content="changed", commit="d" * 40)))
    assert result.outcome == "failed"
    assert "no-replaced-file: tiny-libs-1-1.el10.aarch64.rpm is published from commit cccccccccccc" in result.cause


def test_a_version_that_was_rolled_back_cannot_come_again_with_other_content(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    publish(site, state, "aarch64", str(make_build(version="2")))
    rollback(site, state)
    with pytest.raises(CannotRun, match="was published before with other content"):
        publish(site, state, "aarch64", str(make_build(version="2", content="changed", commit="d" * 40)))
    assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}
    publish(site, state, "aarch64", str(make_build(version="2")))
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}


def test_an_older_version_is_refused_unless_somebody_may_and_says_why(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    publish(site, state, "aarch64", str(make_build(epoch="1")))
    older = str(make_build(version="2"))
    result = publish(site, state, "aarch64", older)
    assert result.cause.startswith("no-downgrade: tiny-2-1.el10 is older than the published tiny-1-1.el10")
    reason = "the newer one loses data"
    with pytest.raises(CannotRun, match="contributor may not override the gate"):
        publish(site, state, "aarch64", older, overrides=Overrides(("no-downgrade",), reason, "contributor"))
    assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}
    forced = publish(site, state, "aarch64", older, overrides=Overrides(("no-downgrade",), reason, "release"))
    assert forced.outcome == "passed"
    (record,) = published(site, state).values()
    (override,) = record.overrides
    assert (override.rule, override.user, override.reason) == ("no-downgrade", "release", reason)
    assert "no-downgrade" not in record.passed
    assert {"built", "verified", "tested"} < set(record.passed)
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}


def test_a_build_without_proof_is_refused_and_nothing_is_made(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    build = make_build()
    (build / "verify.json").unlink()
    result = publish(site, state, "aarch64", str(build))
    assert result.summary == (
        "tiny-1-1.el10 is not published on aarch64: verified: there is no verify.json "
        f"→ kitten verify --target aarch64 --build {build}"
    )
    assert not (state / "published/10-kitten").exists()


def test_a_changed_package_is_refused(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    rpm = next(build.glob("tiny-libs-1*"))
    rpm.write_bytes(rpm.read_bytes() + b"\0")
    with pytest.raises(CannotRun, match=r"is not what build.json says"):
        publish(site, state, "aarch64", str(build))
    assert not seen(state)


def test_a_package_of_another_architecture_is_refused(site: Site, state: Path, make_build: BuildFactory) -> None:
    with pytest.raises(CannotRun, match="has architecture s390x"):
        publish(site, state, "aarch64", str(make_build("aarch64", arch="s390x")))
    assert not seen(state)


@pytest.mark.parametrize(
    ("stage", "says"),
    [("staged", "stage staged is not a signed one"), ("moon", "unknown stage 'moon'; there are: staged, kitten")],
)
def test_only_signed_stages_are_published_to(
    site: Site, state: Path, make_build: BuildFactory, stage: str, says: str
) -> None:
    with pytest.raises(CannotRun, match=says):
        publish(site, state, "aarch64", str(make_build()), stage_name=stage)
