"""The tree's packages follow from the targets alone."""

from __future__ import annotations

import pytest

from config.loading import load_site
from config.models import Site, Target
from workers.rpm import tree


@pytest.fixture
def site() -> Site:
    return load_site("demo")


def riscv64(site: Site) -> Target:
    like = site.target("aarch64").model_dump()
    toolchain = {"debian_arch": "riscv64", "triplet": "riscv64-linux-gnu", "user_emulator": "qemu-riscv64"}
    return Target.model_validate(like | {"name": "riscv64", "rpm_arch": "riscv64", "toolchain": toolchain})


def test_each_foreign_target_brings_its_compilers_and_c_library(site: Site) -> None:
    names = tree.package_list(site)
    for target in site.targets:
        packages = {f"{tool}-{target.toolchain.triplet.replace('_', '-')}" for tool in ("gcc", "g++", "binutils")}
        packages.add(f"libc6-dev-{target.toolchain.debian_arch}-cross")
        assert packages.issubset(names) == tree.is_foreign(target)


def test_a_further_architecture_is_one_entry(site: Site) -> None:
    wider = site.model_copy(update={"targets": (*site.targets, riscv64(site))})
    added = set(tree.package_list(wider)) - set(tree.package_list(site))
    assert added == {f"{tool}-riscv64-linux-gnu" for tool in ("gcc", "g++", "binutils")} | {"libc6-dev-riscv64-cross"}
    assert tree.key(wider) != tree.key(site)


def test_the_trees_name_changes_with_its_suite_and_not_with_a_targets_flags(site: Site) -> None:
    other = site.model_copy(update={"build": site.build.model_copy(update={"suite": "sid"})})
    assert tree.key(other) != tree.key(site)
    target = site.targets[0]
    changed = target.model_copy(update={"flags": target.flags.model_copy(update={"isa": ("-march=native",)})})
    assert tree.key(site.model_copy(update={"targets": (changed, *site.targets[1:])})) == tree.key(site)


def test_dpkgs_status_is_read_and_removed_packages_are_not_counted() -> None:
    status = """Package: rpm
Status: install ok installed
Architecture: amd64
Version: 4.20.1+dfsg-3
Description: package manager
 Package: not a field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2
"""
    assert tree.installed_packages(status) == ("bash 5.2 amd64", "rpm 4.20.1+dfsg-3 amd64")
