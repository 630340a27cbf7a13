"""Every flag of a target reaches rpm, for each site and target."""

from __future__ import annotations

import re

import pytest

from config.loading import load_site
from config.models import Site, Target
from workers.sandbox import flags
from workers.sandbox.tree import is_foreign, native_arch

SITES = [load_site(name) for name in ("demo", "kitten-10")]
CASES = [
    pytest.param(site, target, id=f"{site.distribution.name}-{target.name}")
    for site in SITES
    for target in site.targets
]


def macro(text: str, name: str) -> str:
    found = re.findall(rf"(?m)^%{name} (.*)$", text)
    assert found, f"%{name} is not defined"
    return found[-1]


@pytest.mark.parametrize(("site", "target"), CASES)
def test_the_rpmrc_has_the_distributions_flags_then_the_targets(site: Site, target: Target) -> None:
    words = flags.rpmrc(site, target).split()
    assert words[:2] == ["optflags:", target.rpm_arch]
    assert words[2:] == [*site.build.optflags, *target.flags.isa, *target.flags.frame_pointers]


@pytest.mark.parametrize(("site", "target"), CASES)
def test_the_macros_have_the_linkers_flags_and_the_targets_tools(site: Site, target: Target) -> None:
    text = flags.macros(site, target)
    assert macro(text, "build_ldflags").split() == list(site.build.ldflags)
    assert macro(text, "_host") == target.architecture.triplet
    assert macro(text, "_lib") == "lib64"
    prefix = f"{target.architecture.triplet}-" if is_foreign(target) else ""
    for name, tool in {"__cc": "gcc", "__cxx": "g++", "__ar": "ar", "__strip": "strip", "__objcopy": "objcopy"}.items():
        assert macro(text, name) == prefix + tool


@pytest.mark.parametrize(("site", "target"), CASES)
def test_only_the_hosts_own_architecture_needs_a_loader_path(site: Site, target: Target) -> None:
    assert ("LD_LIBRARY_PATH" in flags.macros(site, target)) == (target.architecture.debian_arch == native_arch())


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.distribution.name)
def test_builds_are_reproducible_and_leave_debuginfo(site: Site) -> None:
    for target in (None, *site.targets):
        text = flags.macros(site, target)
        assert macro(text, "dist") == site.build.dist
        assert macro(text, "vendor") == site.build.vendor
        assert macro(text, "use_source_date_epoch_as_buildtime") == "1"
        assert macro(text, "source_date_epoch_from_changelog") == "1"
        assert macro(text, "build_mtime_policy") == "clamp_to_source_date_epoch"
        assert macro(text, "_enable_debug_packages") == "1"
        assert macro(text, "_debugsource_packages") == "1"


def test_a_sites_own_macros_win_over_ours() -> None:
    site = SITES[0].model_copy(
        update={"build": SITES[0].build.model_copy(update={"macros": {"_binary_payload": "w9.xzdio"}})}
    )
    assert macro(flags.macros(site, site.targets[0]), "_binary_payload") == "w9.xzdio"


def test_without_a_target_the_configuration_is_enough_to_pack_an_srpm() -> None:
    assert flags.rpmrc(SITES[0], None) == ""
    assert "%__cc" not in flags.macros(SITES[0], None).replace("%{__cc}", "")
