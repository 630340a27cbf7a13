"""Sites load, extend each other, and get new levels without code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from config.loading import FOLDER, load_site, site_folder
from config.models import Retention
from config.problems import ConfigError
from tests.config.conftest import lines

X86_64_V4 = """
- name: x86_64_v4
  description: 64-bit x86 with AVX-512
  rpm_arch: x86_64_v4
  machine_arch: x86_64
  isa_level: x86-64-v4
  required: false
  flags:
    isa: [-march=x86-64-v4]
    frame_pointers: [-fno-omit-frame-pointer, -mno-omit-leaf-frame-pointer]
  mock: {config: almalinux-kitten-10-x86_64_v4}
  machine: {machine: q35, cpu: Skylake-Server-v4}
  suites: [packages]
"""


@pytest.mark.parametrize("site", ["demo", "kitten-10"])
def test_the_sites_of_the_checkout_load(site: str) -> None:
    loaded = load_site(site)
    assert loaded.distribution.name == site
    assert [target.name for target in loaded.targets] == ["x86_64", "x86_64_v2", "aarch64", "ppc64le", "s390x"]
    assert loaded.packages


def test_a_site_can_be_a_path() -> None:
    assert load_site(str(FOLDER / "demo")) == load_site("demo")
    assert site_folder("demo") == FOLDER / "demo"


def test_a_missing_section_file_is_inherited(folder: Path) -> None:
    assert not (folder / "demo/targets.yaml").exists()
    (folder / "demo/stages.yaml").unlink()
    demo, base = load_site(str(folder / "demo")), load_site(str(folder / "kitten-10"))
    assert demo.targets == base.targets
    assert demo.stages == base.stages
    assert demo.web != base.web


def test_packages_are_not_inherited(folder: Path) -> None:
    names = {package.name for package in load_site(str(folder / "demo")).packages}
    assert "zlib" in names
    assert "kernel" not in names


def test_sections_are_inherited_through_three_folders(folder: Path) -> None:
    (folder / "mine/packages").mkdir(parents=True)
    mine_is = {
        "title": "Mine",
        "description": "Mine",
        "short": "mine",
        "version": "1",
        "tag": "tag:example.org,2026:mine",
    }
    (folder / "mine/site.yaml").write_text(json.dumps({"name": "mine", "extends": "demo", **mine_is}))
    (folder / "mine/packages/zlib.yaml").write_text("name: zlib\nbinaries: [zlib]\n")
    mine, demo = load_site(str(folder / "mine")), load_site(str(folder / "demo"))
    assert (mine.stages, mine.targets) == (demo.stages, demo.targets)
    assert [package.name for package in mine.packages] == ["zlib"]


def test_a_new_level_is_one_entry(tmp_path: Path) -> None:
    for shipped in ("kitten-10", "demo"):
        shutil.copytree(FOLDER / shipped, tmp_path / shipped)
    with (tmp_path / "kitten-10/targets.yaml").open("a") as targets:
        targets.write(X86_64_V4)
    site = load_site(str(tmp_path / "demo"))
    added = site.target("x86_64_v4")
    assert added.flags.compiler == ("-march=x86-64-v4", "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer")
    assert all(added in site.targets_of(package) for package in site.packages)


def test_a_new_target_needs_native_workers(folder: Path) -> None:
    with (folder / "kitten-10/targets.yaml").open("a") as targets:
        targets.write(X86_64_V4)
    assert lines(folder, "kitten-10") == [
        f"kitten-10/workers.yaml:3: found no {role} worker for x86_64_v4, "
        f"allowed: a pool with roles: [{role}] for each target"
        for role in ("build", "try")
    ]


def test_swap_files_of_editors_are_ignored(folder: Path) -> None:
    before = load_site(str(folder / "demo"))
    (folder / "demo/.web.yaml").write_text("[")
    (folder / "demo/packages/.zlib.yaml.swp").write_bytes(b"\xff")
    assert load_site(str(folder / "demo")) == before


def test_an_unknown_site_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="config/nope: found no such folder, allowed: demo, kitten-10, or a path"):
        load_site("nope")


def test_all_problems_of_all_files_are_reported_at_once(folder: Path) -> None:
    (folder / "demo/web.yaml").write_text("title: 5\nport: many\n")
    (folder / "demo/stages.yaml").write_text("- name: a\n\tb: c\n")
    (folder / "demo/packages/zlib.yaml").write_text("name: zlib\nbinaries: [zlib]\ntargets: [s930x]\n")
    (folder / "demo/packages/pigz.yaml").write_text("name: gzip\nbinaries: [pigz]\ncolour: red\n")
    found = lines(folder, "demo")
    for expected in (
        "demo/stages.yaml:2: found a tab, allowed: spaces for indentation",
        "demo/web.yaml:1: title: found 5, allowed: text (in quotes, if it looks like a number, a date or yes/no)",
        "demo/web.yaml:2: port: found 'many', allowed: a whole number",
        "demo/packages/pigz.yaml:1: name: found 'gzip', allowed: 'pigz', as the file is named",
        "demo/packages/zlib.yaml:3: targets[0]: found unknown target 's930x', allowed: "
        "s390x? (all: aarch64, ppc64le, s390x, x86_64, x86_64_v2)",
    ):
        assert expected in found
    assert any(line.startswith("demo/packages/pigz.yaml:3: colour: found unknown key 'colour'") for line in found)
    assert any(line.startswith("demo/web.yaml:1: url: found nothing, allowed: this key is required") for line in found)


def test_files_in_the_checkout_are_named_relative_to_its_root() -> None:
    with pytest.raises(ConfigError) as caught:
        load_site(str(FOLDER / "demo/packages"))
    assert str(caught.value).startswith("config/demo/packages")


def test_retention_may_be_absent(folder: Path) -> None:
    assert load_site(str(folder / "kitten-10")).retention == Retention()
    assert load_site(str(folder / "demo")).retention.try_days == 15
    (folder / "demo/retention.yaml").unlink()
    assert load_site(str(folder / "demo")).retention.try_days == 14
