"""Layers: packages of one target do not affect the others. With real apt, dpkg, overlayfs and the real base."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Site
from tests.workers.debian import Debian
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.run import Completed, run
from workers.results import SandboxResult
from workers.sandbox import bubblewrap, trees
from workers.sandbox.layer import cross_packages, target_tree
from workers.sandbox.tree import base_key, base_tree, is_foreign, native_arch

pytestmark = pytest.mark.sandbox

NewCache = Callable[[str], Path]


@pytest.fixture(scope="session")
def base() -> Path:
    """The user's own base; made first if it does not exist."""
    return base_tree(load_site("demo")).base.parent


@pytest.fixture
def new_cache(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewCache:
    """Change to a named cache that shares only the base of the trees with the user's cache."""

    def change(name: str) -> Path:
        folder = tmp_path / name
        (folder / "trees").mkdir(parents=True)
        (folder / "trees" / base.name).symlink_to(base)
        monkeypatch.setenv("KITTEN_CACHE", str(folder))
        return folder

    return change


@dataclass
class Archive:
    """An archive of small packages in place of the cross packages; ``publish`` makes added ones visible."""

    debian: Debian
    packages: dict[str, Path] = field(default_factory=dict)
    """Name → file of its newest version."""

    def add(self, name: str, version: str = "100", **how: str) -> None:
        self.packages[name] = self.debian.archive.package(name, version, **how)

    def deb(self, name: str, version: str = "100") -> Path:
        """The file of a package in the pool."""
        return self.packages[name].with_name(f"{name}_{version}_{native_arch()}.deb")

    def publish(self, suite: str, codename: str) -> None:
        self.debian.archive.release(suite, codename=codename, packages=[*self.packages.values()])


@pytest.fixture
def archive(site: Site, debian: Debian, new_cache: NewCache) -> Archive:
    """The site's suite with a small package in place of each cross package; the cache is the test's own."""
    debian.archive.architecture = native_arch()
    made = Archive(debian)
    new_cache("cache")
    for target in site.targets:
        for name in cross_packages(target):
            made.add(name, program=f"/usr/{target.architecture.triplet}/lib/{name}")
    made.publish(site.build.suite, site.build.suite)
    return made


def compiler(site: Site, target: str) -> str:
    """The package whose versions the tests change: one of the target's layer."""
    return f"gcc-{site.target(target).architecture.triplet}"


def change(archive: Archive, site: Site, name: str, version: str = "100", **how: str) -> None:
    archive.add(name, version, **how)
    archive.publish(site.build.suite, site.build.suite)


def kitten(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "workers.cli", *arguments]


def kitten_sandbox(*arguments: str) -> Completed:
    return run(kitten("sandbox", "--site", "demo", *arguments), check=False)


def entries() -> set[str]:
    """Names of the entries of the cache's trees, with leftovers of unfinished ones."""
    return {path.name for path in (cache.root() / "trees").iterdir() if path.suffix not in (".lock", ".used")}


def test_packages_of_another_target_do_not_change_a_tree(site: Site, archive: Archive, new_cache: NewCache) -> None:
    before = {target.name: target_tree(site, target).identity for target in site.targets}
    change(archive, site, compiler(site, "s390x"), "101")
    new_cache("later")
    after = {target.name: target_tree(site, target).identity for target in site.targets}
    assert {name for name in before if before[name] != after[name]} == {"s390x"}


def test_a_build_sees_its_own_layer_and_the_base_and_no_other_layer(site: Site, archive: Archive) -> None:
    seen = {}
    for name in ("aarch64", "s390x"):
        target = site.target(name)
        with bubblewrap.scratch() as folder:
            binds = bubblewrap.rpm_configuration(folder, site, target)
            argv = ["sh", "-c", "ls -d /usr/*-linux-gnu; rpm --version; touch /usr/x"]
            seen[name] = bubblewrap.run_in(
                target_tree(site, target), argv, binds=binds, target=target, check=False
            ).output
        assert f"/usr/{target.architecture.triplet}\n" in seen[name]
        assert "RPM version" in seen[name]
        assert "Read-only file system" in seen[name]
    assert "s390x" not in seen["aarch64"]
    assert "aarch64" not in seen["s390x"]


def test_targets_of_one_triplet_share_a_layer_and_native_ones_need_none(site: Site, archive: Archive) -> None:
    plain = site.target("s390x")
    level = plain.model_copy(update={"name": "s390x_z15"})
    assert target_tree(site, level) == target_tree(site, plain)
    assert all(target_tree(site, t) == base_tree(site) for t in site.targets if not is_foreign(t))
    assert len(entries()) == 2, "the base and one layer"


def test_libraries_of_buildrequires_are_in_one_folder_on_every_target(site: Site, archive: Archive) -> None:
    target = site.target("ppc64le")
    triplet = target.architecture.triplet
    argv = ["readlink", "-f", f"/usr/{triplet}/lib/{triplet}"]
    assert bubblewrap.run_in(target_tree(site, target), argv, binds={}, target=target).output == "/usr/lib64\n"


def test_a_layer_that_cannot_be_made_leaves_the_others_usable_and_is_named(
    site: Site, archive: Archive, tmp_path: Path
) -> None:
    missing = compiler(site, "s390x")
    archive.deb(missing).unlink()
    done = kitten_sandbox("--json", str(tmp_path / "r.json"))
    assert (done.status, "Traceback" in done.output) == (2, False)
    result = SandboxResult.read((tmp_path / "r.json").read_text())
    assert result.outcome == "cannot-run"
    failed = [tree for tree in result.targets if tree.outcome != "passed"]
    assert [tree.target for tree in failed] == ["s390x"]
    assert missing in failed[0].cause
    assert "404" in failed[0].cause
    last = done.output[done.output.index("kitten: ") :]
    assert f"s390x: {failed[0].cause}" in last
    assert "kitten sandbox --target s390x" in last
    assert len(entries()) == 3, "the base, the layers of aarch64 and ppc64le, nothing half made"
    assert target_tree(site, site.target("aarch64")).identity in {tree.identity for tree in result.targets}
    change(archive, site, missing)
    assert kitten_sandbox("--target", "s390x").status == 0


def test_only_the_named_targets_are_made(site: Site, archive: Archive, tmp_path: Path) -> None:
    done = kitten_sandbox("--target", "ppc64le", "--target", "x86_64", "--json", str(tmp_path / "r.json"))
    assert done.status == 0, done.output
    result = SandboxResult.read((tmp_path / "r.json").read_text())
    assert [(tree.target, tree.packages) for tree in result.targets] == [("ppc64le", 4), ("x86_64", 0)]
    assert len(entries()) == 2


def test_a_script_that_fails_is_named_with_its_package(site: Site, archive: Archive) -> None:
    change(archive, site, compiler(site, "s390x"), postinst="exit 3")
    with pytest.raises(CannotRun, match=f"layer of s390x.*{compiler(site, 's390x')}.*exit status 3"):
        target_tree(site, site.target("s390x"))
    assert entries() == {base_key(site)}


def test_a_killed_command_leaves_no_unfinished_layer(site: Site, archive: Archive) -> None:
    name = compiler(site, "s390x")
    change(archive, site, name, postinst="touch /usr/reached\nsleep 987655")
    argv = kitten("sandbox", "--site", "demo", "--target", "s390x")
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list((cache.root() / "trees").glob(".*.partial/overlay/upper/usr/reached")):
            assert process.poll() is None, "it ended before it installed the package"
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    while [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"987655" in _read(path)]:
        time.sleep(0.05)  # the kernel ends them; if one stays, the test runs into its time limit
    assert not [name for name in entries() if not name.startswith(".") and name != base_key(site)]
    archive.deb(name).unlink()
    change(archive, site, name, "101")
    made = target_tree(site, site.target("s390x"))
    assert made.find("usr/reached") is None
    assert not [name for name in entries() if name.startswith(".")]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_newer_packages_of_a_changed_archive_are_only_in_the_layer(site: Site, archive: Archive) -> None:
    archive.add("unzip", "99", program="/usr/bin/unzip")
    change(archive, site, compiler(site, "s390x"), depends="unzip (= 99)")
    made, other = (target_tree(site, site.target(name)) for name in ("s390x", "aarch64"))
    layer = trees.make_trees(site, [site.target("s390x")]).targets[0]
    assert layer.packages == len(cross_packages(site.target("s390x"))) + 1
    calls = [
        bubblewrap.run_in(tree, ["unzip", "-v"], binds={}, target=None).output.splitlines()[0] for tree in (made, other)
    ]
    assert calls[0] == "unzip 99"
    assert calls[1].startswith("UnZip 6")
    assert other.find("usr/bin/funzip") is not None
    assert made.find("usr/bin/funzip") is None, "a file of the base's unzip that the newer one lacks"


def test_a_layer_removes_no_package_of_the_base(site: Site, archive: Archive) -> None:
    change(archive, site, compiler(site, "s390x"), conflicts="rpm")
    with pytest.raises(CannotRun, match=r"layer of s390x could not be made: .*[Rr]emove") as caught:
        target_tree(site, site.target("s390x"))
    assert "the base does not fit the archive any more" in caught.value.hint


def test_with_an_inconsistent_mirror_the_releases_other_name_is_used(
    site: Site, archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, name = site.build.suite, compiler(site, "s390x")
    archive.publish("stable", "of-another-release")
    archive.publish("oldstable", suite)
    change(archive, site, name, "101")
    archive.deb(name, "101").unlink()
    assert f"{name} 100 " in (target_tree(site, site.target("s390x")).lower[0].parent / "packages").read_text()
    printed = capsys.readouterr().out
    assert "using the lists that the mirror serves as oldstable" in printed
    assert "serves as stable" not in printed
