"""The apt-source lookaside, with the host's apt and a small Debian archive on disk."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.workers.sources.conftest import Place, tarball
from workers import apt
from workers.errors import CannotRun, DidNotHold
from workers.sources.lookaside import Tarball, fetch

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="this host has no apt")

SHA512 = hashlib.sha512(tarball()).hexdigest()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A flat archive with the source package hello-upstream, whose orig tarball is our tarball under Debian's name."""
    folder = tmp_path / "archive"
    folder.mkdir()
    files = {"hello-upstream_1-1.dsc": b"Source: hello-upstream\n", "hello-upstream_1.orig.tar.gz": tarball()}
    lines = {"Files": "", "Checksums-Sha256": ""}
    for name, content in files.items():
        if name.endswith(".gz"):  # nothing but the tarball is needed, so nothing else is there
            (folder / name).write_bytes(content)
        lines["Files"] += f"\n {hashlib.md5(content).hexdigest()} {len(content)} {name}"  # noqa: S324 - the archive's format
        lines["Checksums-Sha256"] += f"\n {hashlib.sha256(content).hexdigest()} {len(content)} {name}"
    fields = {"Package": "hello-upstream", "Format": "1.0", "Version": "1-1", "Directory": ".", **lines}
    (folder / "Sources").write_text(
        "".join(f"{key}: {value}\n".replace(": \n", ":\n") for key, value in fields.items()) + "\n"
    )

    def private_root(suite: str, architecture: str, *, sources: bool = False) -> apt.AptRoot:
        root = apt.AptRoot(tmp_path / "apt", suite, architecture)
        (root.folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (root.folder / "sources.list").write_text(f"deb-src [trusted=yes] file:{folder} ./\n")
        settings = {
            "Dir::State": root.folder,
            "Dir::State::lists": root.folder / "lists",
            "Dir::Cache": root.folder,
            "Dir::Etc::sourcelist": root.folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Sandbox::User": "",
        }
        root.configuration.write_text(
            "".join(f'{key} "{value}";\n' for key, value in settings.items()) + "#clear APT::Update;\n"
        )
        root.apt("apt-get", "update")
        return root

    monkeypatch.setattr(apt, "private_root", private_root)
    return folder


@pytest.fixture
def debian_place(place: Place) -> Place:
    """The small site with nothing but apt-source as its lookaside."""
    place.lookaside = [{"kind": "apt-source"}]
    (place.folder / "packages" / "hello.yaml").write_text("name: hello\nbinaries: [hello]\nupstream: hello-upstream\n")
    return place


def test_the_file_with_the_checksum_is_taken_whatever_its_name_there(
    archive: Path, debian_place: Place, tmp_path: Path
) -> None:
    fetch(debian_place.load(), "hello", Tarball("hello-1.tar", SHA512), debian_place.state, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == tarball()


def test_a_file_of_the_name_with_another_checksum_is_a_wrong_checksum(
    archive: Path, debian_place: Place, tmp_path: Path
) -> None:
    wanted = Tarball("hello-upstream_1.orig.tar.gz", "0" * 128)
    with pytest.raises(DidNotHold, match=f"expected SHA512 {'0' * 128}, got {SHA512}"):
        fetch(debian_place.load(), "hello", wanted, debian_place.state, tmp_path / "out")


def test_a_source_package_without_the_file_says_what_it_has(archive: Path, debian_place: Place, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"no file with that checksum \(hello-upstream_1\.orig\.tar\.gz\)"):
        fetch(debian_place.load(), "hello", Tarball("a.tar", "0" * 128), debian_place.state, tmp_path / "out")


def test_an_unknown_source_package_is_apts_own_words(archive: Path, debian_place: Place, tmp_path: Path) -> None:
    (debian_place.folder / "packages" / "hello.yaml").write_text("name: hello\nbinaries: [hello]\nupstream: hallo\n")
    with pytest.raises(CannotRun, match=r"apt-source: .*Unable to find a source package for hallo"):
        fetch(debian_place.load(), "hello", Tarball("a.tar", "0" * 128), debian_place.state, tmp_path / "out")
