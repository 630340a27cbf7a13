"""Composes are complete, never change, are switched by one rename, and rsync copies them while others are made."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from multiprocessing import get_context
from pathlib import Path

import pytest

from config.models import Composes, Site
from tests.workers.promotion.kills import killed_at
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun
from workers.mirrors import compose as work
from workers.mirrors import compose_metadata
from workers.mirrors.compose_tree import Content, RepositoryView, content_of
from workers.promotion.publish import publish
from workers.repository import index
from workers.repository.state import snapshots_of
from workers.signing.sign import signer

pytestmark = pytest.mark.slow

POLICY = Composes(every_minutes=60, keep=2)
NOON = 1_800_000_000.0  # 2027-01-15 08:00 UTC
DAY = 24 * 3600.0


def compose(site: Site, stage: Path, now: float = NOON, **more: object) -> work.ComposeRun:
    def read() -> Content:
        current = snapshots_of(site, stage.parent, site.stage("kitten")).current()
        assert current is not None
        return content_of(current)

    more = {"images": stage / "images", **more}
    return work.compose(stage, site, POLICY, read, now=now, **more)  # type: ignore[arg-type]


def whole(root: Path) -> dict[str, set[str]]:
    """Return each repository's packages; check that all files of the indexes exist unchanged, and no link does."""
    import createrepo_c

    assert not [path for path in root.rglob("*") if path.is_symlink()]
    found = {}
    for repomd in sorted(root.rglob("repodata/repomd.xml")):
        repository = repomd.parents[1]
        assert repomd.with_name("repomd.xml.asc").is_file()
        for record in createrepo_c.Repomd(str(repomd)).records:
            assert hashlib.sha256((repository / record.location_href).read_bytes()).hexdigest() == record.checksum
        packages = index.load(repository)
        for package in packages:
            assert hashlib.sha256((repository / package.location_href).read_bytes()).hexdigest() == package.pkgId
        found[str(repository.relative_to(root))] = {Path(package.location_href).name for package in packages}
    return found


def test_a_compose_is_the_publication_without_links(site: Site, stage: Path) -> None:
    made = compose(site, stage)
    assert (
        work.describe(made) == "compose kitten-10-20270115.0 of snapshot 1, made 2027-01-15T08:00:00Z: mirrors see it"
    )
    assert (stage / "mirror").readlink() == Path("composes/kitten-10-20270115.0")
    found = whole(stage / "mirror" / "10-kitten")
    assert found["BaseOS/aarch64/os"] == {"tiny-libs-1-1.el10.aarch64.rpm"}
    assert found["BaseOS/debug/aarch64"] == {"tiny-libs-debuginfo-1-1.el10.aarch64.rpm"}
    assert found["BaseOS/Source"] == {"tiny-1-1.el10.src.rpm"}
    package = "10-kitten/BaseOS/aarch64/os/Packages/t/tiny-libs-1-1.el10.aarch64.rpm"
    assert (stage / "mirror" / package).samefile(stage / package)


def test_composing_again_changes_nothing(site: Site, stage: Path) -> None:
    compose(site, stage)
    again = compose(site, stage, NOON + 60)
    assert not again.new
    assert work.describe(again).startswith("nothing is new: mirrors see compose kitten-10-20270115.0 of snapshot 1")
    assert [path.name for path in (stage / "composes").iterdir()] == ["kitten-10-20270115.0"]


def test_productmd_reads_the_metadata(site: Site, stage: Path) -> None:
    from productmd.compose import Compose
    from productmd.treeinfo import TreeInfo

    images = stage / "images" / "isos" / "x86_64_v2"
    images.mkdir(parents=True)
    (images / "Kitten-10-x86_64_v2-boot.iso").write_bytes(b"boots")
    (images / ".copying.iso").write_bytes(b"half")
    compose(site, stage)
    tree = stage / "mirror" / "10-kitten"
    read = Compose(str(stage / "mirror"))
    assert read.info.compose.id == "kitten-10-20270115.0"
    paths = read.info.variants["BaseOS"].paths
    assert (tree / paths.repository["aarch64"] / "repodata/repomd.xml").is_file()
    assert paths.source_repository["aarch64"] == "BaseOS/Source"
    rpms = read.rpms.rpms["BaseOS"]["aarch64"]["tiny-0:1-1.el10.src"]
    assert {name: entry["category"] for name, entry in rpms.items()} == {
        "tiny-0:1-1.el10.src": "source",
        "tiny-libs-0:1-1.el10.aarch64": "binary",
        "tiny-libs-debuginfo-0:1-1.el10.aarch64": "debug",
    }
    assert all((tree / entry["path"]).is_file() for entry in rpms.values())
    (image,) = read.images["BaseOS"]["x86_64_v2"]
    assert (image.path, image.type, image.size) == ("isos/x86_64_v2/Kitten-10-x86_64_v2-boot.iso", "boot", 5)
    info = TreeInfo()
    info.load(str(tree / "BaseOS/aarch64/os/.treeinfo"))
    assert info.tree.arch == "aarch64"
    assert info.variants["AppStream"].paths.repository == "../../../AppStream/aarch64/os"
    for folder in (tree / "isos/x86_64_v2", tree / "metadata"):
        subprocess.run(["sha256sum", "--check", "--strict", "CHECKSUM"], cwd=folder, check=True, capture_output=True)
    assert [path.name for path in sorted((tree / "isos/x86_64_v2").iterdir())] == [
        "CHECKSUM",
        "Kitten-10-x86_64_v2-boot.iso",
    ]


def test_checksums_are_signed(site: Site, stage: Path, state: Path) -> None:
    with signer(state / "secrets" / "gnupg", "Tests") as key:
        compose(site, stage, sign=key.sign_detached)
    signature = stage / "mirror" / "10-kitten" / "metadata" / "CHECKSUM.asc"
    assert signature.read_text().startswith("-----BEGIN PGP SIGNATURE-----")


def test_a_new_image_alone_makes_a_compose(site: Site, stage: Path) -> None:
    compose(site, stage)
    (stage / "images" / "cloud").mkdir(parents=True)
    (stage / "images" / "cloud" / "Kitten-aarch64.qcow2").write_bytes(b"cloud")
    assert compose(site, stage, NOON + 60).record.id == "kitten-10-20270115.1"


def test_composes_stay_while_a_mirror_may_copy_them(site: Site, stage: Path) -> None:
    def another(now: float) -> work.ComposeRun:
        image = stage / "images" / "live" / f"{now}.iso"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(b"live")
        return compose(site, stage, now)

    ids = [another(NOON + minute * 60).record.id for minute in range(4)]
    assert len(list((stage / "composes").iterdir())) == 4  # more than keep, but they were shown in the last day
    made = another(NOON + DAY + 150)
    # The third was replaced 24 h before, less 30 s; the fourth is among the last two.
    assert made.collected == tuple(ids[:2])
    assert {path.name for path in (stage / "composes").iterdir()} == {*ids[2:], made.record.id}


def test_a_clock_that_was_set_back_makes_no_older_compose(site: Site, stage: Path) -> None:
    compose(site, stage)
    (stage / "images" / "live").mkdir(parents=True)
    (stage / "images" / "live" / "a.iso").write_bytes(b"live")
    assert compose(site, stage, NOON - 3 * DAY).record.id == "kitten-10-20270115.1"


def test_a_package_that_was_changed_by_hand_is_refused(site: Site, stage: Path) -> None:
    package = stage / "10-kitten/BaseOS/aarch64/os/Packages/t/tiny-libs-1-1.el10.aarch64.rpm"
    copy = package.read_bytes()
    package.unlink()
    package.write_bytes(copy + b"x")
    with pytest.raises(CannotRun, match=r"tiny-libs-1-1\.el10\.aarch64\.rpm has \d+ bytes, its index says \d+"):
        compose(site, stage)
    assert list((stage / "composes").iterdir()) == []
    assert not (stage / "mirror").exists()


def test_a_publication_that_is_removed_in_the_meantime_is_read_again(site: Site, stage: Path) -> None:
    current = snapshots_of(site, stage.parent, site.stage("kitten")).current()
    assert current is not None
    good = content_of(current)
    gone = Content(0, tuple(RepositoryView(v.folder, stage / "gone", stage / "gone") for v in good.repositories))
    answers = [gone, good]
    made = work.compose(stage, site, POLICY, lambda: answers.pop(0), now=NOON)
    assert made.record.snapshot == 1
    with pytest.raises(CannotRun, match=r"snapshot 0 lacks .*/gone/repomd\.xml"):
        work.compose(stage, site, POLICY, lambda: gone, now=NOON)


def test_a_mirror_folder_that_is_no_link_is_not_changed(site: Site, stage: Path) -> None:
    (stage / "mirror").mkdir()
    with pytest.raises(CannotRun, match="mirror is not a link to a compose"):
        compose(site, stage)


def test_killed_at_any_step_mirrors_see_the_old_or_the_new(site: Site, stage: Path, make_build: BuildFactory) -> None:
    compose(site, stage)
    publish(site, stage.parent, "aarch64", str(make_build(version="2")))
    step = 1
    while killed_at(step, lambda: compose(site, stage, NOON + 60)):
        assert (stage / "mirror").readlink().name in {"kitten-10-20270115.0", "kitten-10-20270115.1"}
        whole(stage / "mirror" / "10-kitten")
        if (stage / "composes" / "kitten-10-20270115.1").exists():  # the next run must begin before it
            compose(site, stage, NOON + 60)
            assert (stage / "mirror").readlink().name == "kitten-10-20270115.1"
            shutil.rmtree(stage / "composes" / "kitten-10-20270115.1")
            (stage / "mirror").unlink()
            (stage / "mirror").symlink_to("composes/kitten-10-20270115.0")
        step += 1
    assert step > 10
    assert [path.name for path in sorted((stage / "composes").iterdir())] == [
        "kitten-10-20270115.0",
        "kitten-10-20270115.1",
    ]
    assert "tiny-libs-2-1.el10.aarch64.rpm" in whole(stage / "mirror" / "10-kitten")["BaseOS/aarch64/os"]


def _switch_composes(site: Site, stage: Path, stop: object) -> None:
    number = 0
    while not stop.is_set():  # type: ignore[attr-defined]
        # The content changes by a new image, and between the indexes of the two snapshots.
        live = stage / "images" / "live"
        live.mkdir(parents=True, exist_ok=True)
        for old in live.glob("*"):
            old.unlink()
        (live / f"{number}.iso").write_bytes(b"live")
        snapshots = snapshots_of(site, stage.parent, site.stage("kitten"))
        content = content_of(snapshots.get(1 + number % 2))
        images = stage / "images"
        work.compose(stage, site, POLICY, lambda c=content: c, images=images, now=NOON + number)  # type: ignore[misc]
        number += 1
        stop.wait(0.05)  # type: ignore[attr-defined]


def test_every_copy_that_rsync_finishes_is_complete(
    site: Site, stage: Path, make_build: BuildFactory, tmp_path: Path
) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed: apt-get install rsync")
    publish(site, stage.parent, "aarch64", str(make_build(version="2")))
    compose(site, stage, NOON - 1)
    context = get_context("fork")
    stop = context.Event()
    switching = context.Process(target=_switch_composes, args=(site, stage, stop))
    switching.start()
    mirror, seen = tmp_path / "mirror", set()
    try:
        for _ in range(12):
            command = ["rsync", "-a", "--delete", f"{stage}/mirror/10-kitten/", f"{mirror}/"]
            subprocess.run(command, check=True, capture_output=True)
            whole(mirror)
            subprocess.run(
                ["sha256sum", "--check", "--strict", "CHECKSUM"],
                cwd=mirror / "metadata",
                check=True,
                capture_output=True,
            )
            seen.add((mirror / "COMPOSE_ID").read_text())
    finally:
        stop.set()
        switching.join()
    assert switching.exitcode == 0
    assert len(seen) > 1, "no compose was switched while mirrors were made: the test showed nothing"
    if shutil.which("dnf"):
        command = ["dnf", "--noplugins", f"--setopt=cachedir={tmp_path}/cache", f"--setopt=logdir={tmp_path}"]
        command += ["--setopt=reposdir=/nowhere", f"--repofrompath=tiny,file://{mirror}/BaseOS/aarch64/os", "makecache"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HOME": str(tmp_path)})


def test_a_run_a_moment_before_the_full_time_makes_its_compose(site: Site, stage: Path) -> None:
    compose(site, stage)
    assert not work.is_due(stage, POLICY, NOON + 50 * 60)
    assert work.is_due(stage, POLICY, NOON + 60 * 60 - 5)


def test_a_full_disk_leaves_the_old_compose(
    site: Site, stage: Path, make_build: BuildFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose(site, stage)
    publish(site, stage.parent, "aarch64", str(make_build(version="2")))
    before = whole(stage / "mirror" / "10-kitten")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compose_metadata, "write", full)
    with pytest.raises(OSError, match="No space left"):
        compose(site, stage, NOON + 60)
    assert whole(stage / "mirror" / "10-kitten") == before
    assert [path.name for path in (stage / "composes").iterdir()] == ["kitten-10-20270115.0"]
