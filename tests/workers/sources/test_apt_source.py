"""The apt-source lookaside, with the host's apt and the mirror of a small archive."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.workers.debian import Debian
from tests.workers.sources.conftest import Place, tarball
from workers.base.errors import CannotRun, CheckFailed
from workers.sources.lookaside import Tarball, fetch

pytestmark = [
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="this host has no apt"),
    pytest.mark.slow,
]

SHA512 = hashlib.sha512(tarball()).hexdigest()


UPSTREAM = "hello-upstream_1.orig.tar.gz"


@pytest.fixture
def archive(debian: Debian) -> Debian:
    """Make a mirror with the source package hello-upstream; its orig tarball is our tarball under Debian's name."""
    debian.archive.architecture = "amd64"
    files = {"hello-upstream_1-1.dsc": b"Source: hello-upstream\n", UPSTREAM: tarball()}
    debian.archive.source("hello-upstream", "1-1", files)
    (debian.archive.folder / "pool/main/hello-upstream_1-1.dsc").unlink()  # only the tarball is needed
    debian.archive.release("trixie", "stable", packages=[])
    return debian


@pytest.fixture
def debian_place(place: Place) -> Place:
    """Make the small site with apt-source as its only lookaside."""
    place.lookaside = [{"kind": "apt-source"}]
    (place.folder / "packages" / "hello.yaml").write_text("name: hello\nbinaries: [hello]\nupstream: hello-upstream\n")
    return place


def test_the_file_with_the_checksum_is_used_under_any_name(
    archive: Debian, debian_place: Place, tmp_path: Path
) -> None:
    fetch(debian_place.load(), "hello", Tarball("hello-1.tar", SHA512), debian_place.state, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == tarball()


def test_a_file_of_the_name_with_another_checksum_is_refused(
    archive: Debian, debian_place: Place, tmp_path: Path
) -> None:
    wanted = Tarball("hello-upstream_1.orig.tar.gz", "0" * 128)
    with pytest.raises(CheckFailed, match=f"expected SHA512 {'0' * 128}, got {SHA512}"):
        fetch(debian_place.load(), "hello", wanted, debian_place.state, tmp_path / "out")


def test_a_source_package_without_the_file_lists_its_files(
    archive: Debian, debian_place: Place, tmp_path: Path
) -> None:
    with pytest.raises(CannotRun, match=r"no file with that checksum \(hello-upstream_1\.orig\.tar\.gz\)"):
        fetch(debian_place.load(), "hello", Tarball("a.tar", "0" * 128), debian_place.state, tmp_path / "out")


def test_an_unknown_source_package_is_reported_with_apts_message(
    archive: Debian, debian_place: Place, tmp_path: Path
) -> None:
    (debian_place.folder / "packages" / "hello.yaml").write_text("name: hello\nbinaries: [hello]\nupstream: hallo\n")
    with pytest.raises(CannotRun, match=r"apt-source: .*Unable to find a source package for hallo"):
        fetch(debian_place.load(), "hello", Tarball("a.tar", "0" * 128), debian_place.state, tmp_path / "out")


def test_a_tarball_that_the_mirror_lost_comes_from_the_lists_of_another_name(
    archive: Debian, debian_place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.archive.source("hello-upstream", "2-1", {"hello-upstream_2.orig.tar.gz": b"the next version"})
    archive.archive.release("trixie", packages=[])
    archive.mirror.faults = lambda path: 404 if "upstream_2" in path else None
    fetch(debian_place.load(), "hello", Tarball("hello-1.tar", SHA512), debian_place.state, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == tarball()
    assert "using the lists that the mirror serves as stable" in capsys.readouterr().out


def test_a_mirror_without_the_tarball_is_the_reason(archive: Debian, debian_place: Place, tmp_path: Path) -> None:
    archive.mirror.faults = lambda path: 404 if path.startswith("pool") else None
    with pytest.raises(
        CannotRun, match=rf"apt-source: the mirror .* is inconsistent for trixie, amd64: .*{UPSTREAM} 404"
    ):
        fetch(debian_place.load(), "hello", Tarball("hello-1.tar", SHA512), debian_place.state, tmp_path / "out")
