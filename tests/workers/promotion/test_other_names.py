"""A site may give its stages, its product and its dist tag any names: a package takes the whole way there."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from config.loading import load_site
from tests.other_names import STAGES, site_with_other_names
from tests.workers.publishing import BuildFactory, with_tiny_alone
from workers.metadata.explain_cli import explain
from workers.mirrors.compose_cli import compose
from workers.promotion.cli import promote, rollback, stage
from workers.promotion.gate_cli import gate
from workers.promotion.publish import publish
from workers.promotion.status_cli import repo_status
from workers.repository.state import published

TARGETS = ("aarch64", "s390x")


@pytest.fixture
def harbour(tmp_path: Path) -> Path:
    """The site's folder; without dnf's rule, which takes seconds for each target."""
    folder = site_with_other_names(tmp_path / "config")
    with_tiny_alone(folder, targets=list(TARGETS))
    stages = folder / "stages.yaml"
    stages.write_text(stages.read_text().replace("  - rule: dnf\n", ""))
    return folder


def test_a_package_takes_the_whole_way_through_stages_of_other_names(
    harbour: Path, state: Path, make_build: BuildFactory
) -> None:
    site = load_site(str(harbour))

    def kitten(command: object, *words: str) -> str:
        options = ["--site", str(harbour), "--state", str(state)]
        done = CliRunner().invoke(command, [*words, *options], catch_exceptions=False)  # type: ignore[arg-type]
        assert done.exit_code == 0, done.output
        return done.output

    def bring(version: str) -> None:
        for target in TARGETS:
            build = str(make_build(target, version=version, release="1.hb3"))
            kitten(stage, "--target", target, "--build", build)
            assert (state / "pool" / target / "repodata/repomd.xml").is_file()
            assert publish(site, state, target, build).stage == "preview"  # its command makes a base package first
        assert "2 builds may pass to main" in kitten(gate)
        kitten(promote)

    def users_have() -> set[str]:
        return {record.nevr for record in published(site, state).values()}

    bring("1")
    assert users_have() == {"tiny-1-1.hb3"}
    assert list((state / "main/harbour-3").rglob("tiny-libs-1-1.hb3.s390x.rpm"))
    assert (state / "preview/RPM-GPG-KEY-harbour").is_file()
    bring("2")
    assert users_have() == {"tiny-2-1.hb3"}
    kitten(rollback)
    assert users_have() == {"tiny-1-1.hb3"}
    assert "tag:example.org,2026:harbour/harbour/s390x" in kitten(explain, "tiny", "--target", "s390x")
    kitten(compose)
    assert list((state / "main").rglob("composes/harbour-*/**/repomd.xml"))
    assert all(name in kitten(repo_status) for name in ("preview", "main"))
    assert not {*STAGES, "published", "10-kitten"} & {path.name for path in state.rglob("*")}
