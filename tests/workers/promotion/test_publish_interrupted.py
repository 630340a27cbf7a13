"""Publications that a kill or a full disk ends early: users see the old content or the new, never a part."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion.kills import killed_at
from tests.workers.promotion.user_view import versions
from tests.workers.publishing import BuildFactory
from workers.promotion.publish import publish
from workers.results import PublishResult

pytestmark = pytest.mark.slow


def copy_of(folder: Path, into: Path) -> None:
    """A copy with hard links; our files are replaced, never written into, but for the catalogue."""
    shutil.rmtree(into, ignore_errors=True)

    def copy(source: str, place: str) -> None:
        (shutil.copyfile if ".catalogue.sqlite" in source else os.link)(source, place)

    shutil.copytree(folder, into, symlinks=True, copy_function=copy)


@pytest.mark.parametrize("signed_before", [False, True], ids=["with signing", "signed before"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_and_the_next_call_ends_the_work(
    site: Site, state: Path, make_build: BuildFactory, signed_before: bool
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    start, pool = state.with_name("start"), state / "published/.signed"
    newer = str(make_build(version="2"))

    def work() -> PublishResult:
        return publish(site, state, "aarch64", newer)

    copy_of(state / "published", start)
    if signed_before:
        work()
        shutil.rmtree(start / ".signed")
        copy_of(pool, start / ".signed")
    outcomes = []
    for step in range(1, 1000):
        copy_of(start, state / "published")
        killed = killed_at(step, work)
        outcomes.append(versions(state, site)["aarch64"])
        drafted = any((state / "published/.snapshots").glob(".*"))
        if step % 5 == 0 or not killed or outcomes[-2:] == ["tiny-1-1.el10", "tiny-2-1.el10"]:
            assert work().outcome == "passed"
            assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}
            assert not list((state / "published/.snapshots").glob(".*"))
            assert not (pool / ".work").exists()
        if not killed or (drafted and not signed_before):  # from the draft on, the other case goes on
            break
    assert len(outcomes) > 8
    assert outcomes == sorted(outcomes), "once new, never old again"
    assert outcomes[0] == "tiny-1-1.el10"
    assert not signed_before or outcomes[-1] == "tiny-2-1.el10"


@pytest.fixture
def small_disk(state: Path) -> Path:
    """The published folder on a file system of 2 MiB, nearly full."""
    folder = state / "published"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    subprocess.run(words, check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.mounts
def test_a_full_disk_is_one_line_and_nothing_is_half_published(
    site: Site, site_path: Path, state: Path, small_disk: Path, make_build: BuildFactory
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    build = str(make_build(version="2"))
    kitten = Path(__file__).parents[3] / ".venv/bin/kitten"
    words = [
        kitten,
        "publish",
        "--target",
        "aarch64",
        "--build",
        build,
        "--site",
        f"{site_path}",
        "--state",
        f"{state}",
    ]
    filler = small_disk / "filler"
    for left in (0, 4096, 16384, 65536, 131072):
        space = os.statvfs(small_disk)
        free = space.f_bavail * space.f_frsize + (filler.stat().st_size if filler.exists() else 0)
        filler.write_bytes(b"\0" * max(0, free - left))
        done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            break
        assert done.returncode == 2, done.stderr
        # rpm 4.20 of Debian 13 complains about a macro file of its own distribution.
        lines = [line for line in done.stderr.splitlines() if not line.startswith("error: Macro %add_sysuser ")]
        assert lines[0].startswith("kitten: ")
        assert len(lines) == 2
        assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}
    filler.unlink()
    assert publish(site, state, "aarch64", build).outcome == "passed"
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}
