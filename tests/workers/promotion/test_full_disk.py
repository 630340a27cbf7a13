"""A full disk at many fill levels, on a small real file system: old files stay complete, the next run ends the work."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion.test_stage import staged
from tests.workers.promotion.user_view import versions
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.promotion.stage import stage

pytestmark = [pytest.mark.slow, pytest.mark.mounts]

SIZE = 4 << 20
STEP = 48 << 10


@pytest.fixture
def small(state: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder of the state on a file system of 4 MiB."""
    folder = state / request.param
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    subprocess.run(words, check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def walked(folder: Path, work: Callable[[], object], whole: Callable[[], None]) -> int:
    """Do the work with more and more room, from none on, until it ends; how often there was too little.

    After each time ``whole`` looks at what users see.
    """
    filler = folder / "filler"
    for short, left in enumerate(range(0, SIZE, STEP)):
        space = os.statvfs(folder)
        free = space.f_bavail * space.f_frsize + (filler.stat().st_size if filler.exists() else 0)
        filler.write_bytes(b"\0" * max(0, free - left))
        try:
            work()
        except CannotRun as error:
            assert "\n" not in error.what  # noqa: PT017 - any of several
            assert error.hint  # noqa: PT017
        except OSError as error:  # which the command line says in a line: test_publish_interrupted.py
            assert error.errno == errno.ENOSPC  # noqa: PT017
        else:
            filler.unlink()
            return short
        whole()
    raise AssertionError("it never ended")


@pytest.mark.parametrize("small", ["published"], indirect=True)
def test_publishing_and_rolling_back(site: Site, state: Path, small: Path, make_build: BuildFactory) -> None:
    publish(site, state, "aarch64", str(make_build()))
    newer = str(make_build(version="2"))

    def old() -> None:
        assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}

    short = walked(small, lambda: publish(site, state, "aarch64", newer), old)
    assert short >= 2
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}
    assert not list((state / "published/.snapshots").glob(".*"))
    assert not (state / "published/.signed/.work").exists()

    def new() -> None:
        assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}

    assert walked(small, lambda: rollback(site, state), new) >= 1
    assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}


@pytest.mark.parametrize("small", ["staged"], indirect=True)
def test_staging(site: Site, state: Path, small: Path, make_build: BuildFactory) -> None:
    stage(site, state, "aarch64", str(make_build()))
    before, newer = set(staged(state)), str(make_build(version="2"))

    def old() -> None:
        assert set(staged(state)) == before

    assert walked(small, lambda: stage(site, state, "aarch64", newer), old) >= 1
    assert set(staged(state)) == {"tiny-libs-0:2-1.el10.aarch64", "tiny-doc-0:2-1.el10.noarch"}
    assert not (state / "staged/aarch64/.incoming").exists()


@pytest.mark.parametrize("small", ["published"], indirect=True)
def test_a_disk_that_is_full_before_the_first_publication(
    site: Site, state: Path, small: Path, make_build: BuildFactory
) -> None:
    build = str(make_build())

    def nothing() -> None:
        assert versions(state, site) == {}

    assert walked(small, lambda: publish(site, state, "aarch64", build), nothing) >= 2
    assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}
    assert shutil.disk_usage(small).used < SIZE / 2, "and nothing of the tries was left"
