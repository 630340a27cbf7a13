"""Snapshots: what stays of earlier publications, and rollbacks to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion.user_view import seen, versions
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.repository import snapshot

pytestmark = pytest.mark.slow


def keeping(site: Site, snapshots: int) -> Site:
    """The same site, which keeps fewer snapshots."""
    policy = site.retention.model_copy(update={"snapshots": snapshots, "daily_days": 0})
    return site.model_copy(update={"retention": policy})


def test_what_no_mirror_can_still_need_is_left_out(
    site: Site, state: Path, make_build: BuildFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(site, state, "aarch64", str(make_build()))
    publish(site, state, "aarch64", str(make_build(version="2")))
    monkeypatch.setattr(snapshot, "READABLE", -1.0)
    site = keeping(site, 1)
    publish(site, state, "aarch64", str(make_build(version="3")))
    assert not any(Path(package.url).exists() for package in first.packages)
    assert versions(state, site) == {"aarch64": "tiny-3-1.el10"}


def test_earlier_snapshots_never_change(site: Site, state: Path, make_build: BuildFactory) -> None:
    def content() -> dict[str, bytes]:
        folder = state / "published/.snapshots/0001"
        return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    publish(site, state, "aarch64", str(make_build()))
    before = content()
    publish(site, state, "aarch64", str(make_build(version="2")))
    publish(site, state, "x86_64", str(make_build("x86_64", version="2")))
    rollback(site, state, 1)
    assert content() == before


def test_old_snapshots_are_removed(
    site: Site, state: Path, make_build: BuildFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = keeping(site, 2)
    monkeypatch.setattr(snapshot, "READABLE", -1.0)
    for version in ("1", "2", "3", "4"):
        publish(site, state, "aarch64", str(make_build(version=version)))
    assert sorted(path.name for path in (state / "published/.snapshots").iterdir()) == ["0003", "0004", "current"]
    kept = {path.name.split("-")[-2] for path in (state / "published/.signed").rglob("*.rpm")}
    assert kept == {"3", "4"}, "the signed copies of what no snapshot holds are gone too"
    packages = {path.name for path in (state / "published/10-kitten/BaseOS/aarch64/os/Packages/t").iterdir()}
    assert packages == {"tiny-libs-3-1.el10.aarch64.rpm", "tiny-libs-4-1.el10.aarch64.rpm"}
    assert rollback(site, state) == "snapshot 5 shows the content of 3 in place of 4"
    assert versions(state, site) == {"aarch64": "tiny-3-1.el10"}
    with pytest.raises(CannotRun, match="there is no snapshot 1"):
        rollback(site, state, 1)


def test_a_rollback_is_a_publication_of_its_own(site: Site, state: Path, make_build: BuildFactory) -> None:
    publish(site, state, "aarch64", str(make_build()))
    publish(site, state, "aarch64", str(make_build(version="2")))
    publish(site, state, "x86_64", str(make_build("x86_64")))
    assert rollback(site, state) == "snapshot 4 shows the content of 2 in place of 3"
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}
    assert seen(state)["BaseOS/x86_64/os"] == set(), "a repository users may have configured stays"
    assert rollback(site, state) == "snapshot 5 shows the content of 1 in place of 2"
    assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}
    assert rollback(site, state, 3) == "snapshot 6 shows the content of 3 in place of 1"
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10", "x86_64": "tiny-1-1.el10"}
    assert rollback(site, state, 6).endswith("nothing to switch")
    assert rollback(site, state, 3).endswith("nothing to switch")


def test_a_rolled_back_index_is_newer_than_the_one_it_replaces(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    import createrepo_c

    def revision() -> int:
        repomd = state / "published/10-kitten/BaseOS/aarch64/os/repodata/repomd.xml"
        return int(createrepo_c.Repomd(str(repomd)).revision)

    publish(site, state, "aarch64", str(make_build()))
    publish(site, state, "aarch64", str(make_build(version="2")))
    before = revision()
    rollback(site, state)
    assert revision() >= before


def test_nothing_to_roll_back_to_is_one_line(site: Site, state: Path, make_build: BuildFactory) -> None:
    with pytest.raises(CannotRun, match="nothing was published yet"):
        rollback(site, state)
    publish(site, state, "aarch64", str(make_build()))
    with pytest.raises(CannotRun, match="there is no snapshot 0"):
        rollback(site, state)
