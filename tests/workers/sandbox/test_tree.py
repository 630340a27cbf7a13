"""Only the targets decide which packages base and layers have."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Site
from workers.sandbox import layer, tree


@pytest.fixture
def site() -> Site:
    return load_site("demo")


def test_a_foreign_target_adds_its_compilers_and_c_library_and_a_native_one_nothing(site: Site) -> None:
    for target in site.targets:
        packages = {f"{tool}-{target.architecture.debian_triplet}" for tool in ("gcc", "g++", "binutils")}
        packages.add(f"libc6-dev-{target.architecture.debian_arch}-cross")
        assert set(layer.cross_packages(target)) == (packages if tree.is_foreign(target) else set())


def test_a_target_of_a_new_architecture_does_not_change_existing_trees(site: Site) -> None:
    wider, further = site, next(target for target in reversed(site.targets) if tree.is_foreign(target))
    site = wider.model_copy(update={"targets": tuple(target for target in wider.targets if target != further)})
    triplet = further.architecture.debian_triplet
    assert layer.cross_packages(further) == (
        *(f"{tool}-{triplet}" for tool in ("binutils", "g++", "gcc")),
        f"libc6-dev-{further.architecture.debian_arch}-cross",
    )
    assert tree.base_key(wider) == tree.base_key(site)
    base = tree.Tree((Path("/base"),), "identity")
    foreign = [target for target in wider.targets if tree.is_foreign(target)]
    assert len({layer.layer_key(wider, target, base) for target in foreign}) == len(foreign)
    assert layer.layer_key(wider, foreign[0], base) == layer.layer_key(site, foreign[0], base)


def test_a_layer_belongs_to_one_base(site: Site) -> None:
    target = next(filter(tree.is_foreign, site.targets))
    keys = {layer.layer_key(site, target, tree.Tree((Path("/base"),), identity)) for identity in ("one", "other")}
    assert len(keys) == 2


def test_the_bases_name_changes_with_its_suite_and_not_with_the_targets(site: Site) -> None:
    other = site.model_copy(update={"build": site.build.model_copy(update={"suite": "sid"})})
    assert tree.base_key(other) != tree.base_key(site)
    assert tree.base_key(site.model_copy(update={"targets": site.targets[:1]})) == tree.base_key(site)


def test_a_file_is_found_in_the_topmost_folder_that_has_it(tmp_path: Path) -> None:
    over, base = tmp_path / "over", tmp_path / "base"
    for path in (over / "bin/both", base / "bin/both", base / "bin/one"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (base / "folder").mkdir()
    made = tree.Tree((over, base), "")
    assert [made.find(name) for name in ("bin/both", "bin/one", "bin/none", "folder")] == [
        over / "bin/both",
        base / "bin/one",
        None,
        None,
    ]


def test_dpkgs_status_is_read_and_removed_packages_are_not_counted(tmp_path: Path) -> None:
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
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(status)
    assert tree.installed_packages(tmp_path) == ("bash 5.2 amd64", "rpm 4.20.1+dfsg-3 amd64")
