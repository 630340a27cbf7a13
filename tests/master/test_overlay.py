"""The copy of a site in which targets are optional: nothing else differs, and the site itself is not changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config.loading import FOLDER, load_site
from master.client.overlay import LAG_DAYS, original_service, with_optional_targets
from master.service.service import Service
from workers.rpm.backend import Plan
from workers.rpm.build import Order, identity

WHY = {"ppc64le": "the mirror lacks linux-image-6.12\nof ppc64el"}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(load_site("demo"), "demo", tmp_path)


def test_only_the_named_target_becomes_optional(service: Service) -> None:
    before = {path: path.read_bytes() for path in FOLDER.rglob("*.yaml")}
    degraded = with_optional_targets(service, WHY)
    required = {target.name: target.required for target in degraded.site.targets}
    assert required == {"x86_64": True, "x86_64_v2": True, "aarch64": True, "ppc64le": False, "s390x": True}
    assert degraded.site.target("ppc64le").lag_days == LAG_DAYS
    same = degraded.site.model_copy(update={"targets": (), "distribution": None})
    assert same == service.site.model_copy(update={"targets": (), "distribution": None})
    assert degraded.site.distribution.name == "demo"
    assert {path: path.read_bytes() for path in FOLDER.rglob("*.yaml")} == before


def test_commands_read_the_copy_as_any_other_site(service: Service) -> None:
    degraded = with_optional_targets(service, WHY)
    assert degraded.environment["KITTEN_SITE"] == degraded.site_argument
    assert load_site(degraded.site_argument) == degraded.site
    assert (Path(degraded.site_argument) / "dist-git" / "zlib" / "zlib.spec").is_file()
    assert (
        "# ppc64le: the mirror lacks linux-image-6.12 of ppc64el\n"
        in (Path(degraded.site_argument) / "targets.yaml").read_text()
    )


def test_builds_on_the_copy_do_not_wait_for_a_mirror(service: Service) -> None:
    assert "KITTEN_MIRROR_WAIT" not in service.environment
    assert with_optional_targets(service, WHY).environment["KITTEN_MIRROR_WAIT"] == "0"


def test_another_missing_target_replaces_the_first(service: Service) -> None:
    with_optional_targets(service, WHY)
    degraded = with_optional_targets(service, {"s390x": "the mirror is busy"})
    assert [target.name for target in degraded.site.targets if not target.required] == ["s390x"]


def test_a_target_that_may_lag_already_keeps_its_days(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "config")
    targets = tmp_path / "config/kitten-10/targets.yaml"
    text = targets.read_text()
    targets.write_text(text.replace("  rpm_arch: s390x\n", "  rpm_arch: s390x\n  required: false\n  lag_days: 30\n"))
    folder = str(tmp_path / "config/demo")
    degraded = with_optional_targets(Service(load_site(folder), folder, tmp_path / "state"), {"s390x": "busy"})
    assert degraded.site.target("s390x").lag_days == 30


@pytest.mark.parametrize("target", ["ppc64le", "aarch64"])
def test_a_build_has_the_same_identity_on_the_site_and_on_its_copy(service: Service, target: str) -> None:
    plan = Plan((), "tree", ())
    site, copy = service.site, with_optional_targets(service, WHY).site
    on_site = identity(Order(site, service.state, site.target(target)), "0" * 64, plan)
    assert identity(Order(copy, service.state, copy.target(target)), "0" * 64, plan) == on_site


def test_a_demo_on_the_copy_begins_with_the_site_again(service: Service) -> None:
    """Also if KITTEN_SITE names the copy: no copy of a copy is made, and every target is required again."""
    copy = with_optional_targets(service, WHY)
    again = original_service(Service(load_site(copy.site_argument), copy.site_argument, service.state))
    assert again.site == service.site
    assert again.waits_for_mirrors
    assert original_service(service) is service
    assert with_optional_targets(again, WHY).site == copy.site
    assert (Path(copy.site_argument) / "packages" / "zlib.yaml").is_file()
