"""The place of each file of a package, also if users have it already; and packages that no rule places."""

from __future__ import annotations

import pytest

from config.models import Site, SourcePackage
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun, CheckFailed
from workers.promotion.publish import publish
from workers.repository.placement import place, published_in
from workers.repository.state import published
from workers.sources.srpm import check_placement

LIBS = "tiny-libs-1-1.el10.aarch64.rpm"


def homeless(site: Site) -> Site:
    return site.model_copy(update={"repositories": site.repositories.model_copy(update={"default": None})})


def test_what_is_published_is_read_from_its_records(site: Site, state, make_build: BuildFactory) -> None:
    publish(site, state, "aarch64", str(make_build()))
    records = list(published(site, state).values())
    for target in ("aarch64", "s390x"):  # where a target has nothing, what another has counts
        assert published_in(site, site.target(target), records) == {"tiny-libs": "BaseOS", "tiny-doc": "AppStream"}


def test_a_package_stays_where_users_have_it(site: Site) -> None:
    tiny, target = site.package("tiny"), site.target("aarch64")
    placed = place(site, tiny, target, LIBS, {"tiny-libs": "AppStream"})
    assert placed is not None
    assert placed.repository == "AppStream/aarch64/os"
    debug = place(site, tiny, target, "tiny-libs-debuginfo-1-1.el10.aarch64.rpm", {"tiny-libs": "AppStream"})
    assert debug is not None
    assert debug.repository == "AppStream/debug/aarch64"


def test_what_nothing_places_is_refused_with_a_hint(site: Site) -> None:
    with pytest.raises(CannotRun) as error:
        place(homeless(site), site.package("tiny"), site.target("aarch64"), LIBS)
    assert str(error.value) == (
        "no rule names the repository of tiny-libs of tiny on aarch64\n"
        "  → add placement: {tiny-libs: REPOSITORY} in packages/tiny.yaml, or a rule for it in repositories.yaml"
    )


def test_a_spec_is_checked_against_the_rules_before_it_is_built(site: Site) -> None:
    tiny = SourcePackage.model_validate({"name": "tiny", "placement": {"tiny": "BaseOS", "tiny-libs": "BaseOS"}})
    check_placement(homeless(site), tiny, "tiny.spec", ["tiny-libs"])
    check_placement(site, tiny, "tiny.spec", ["tiny-new"])
    with pytest.raises(CheckFailed) as error:
        check_placement(homeless(site), tiny, "tiny.spec", ["tiny-libs", "tiny-new"])
    assert str(error.value) == (
        "tiny.spec of tiny makes tiny-new, which nothing places in a repository: "
        "add placement: {tiny-new: REPOSITORY} in packages/tiny.yaml, or a rule for it in repositories.yaml"
    )
