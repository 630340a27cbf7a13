"""An index as clients read it: what repomd.xml says of each data file is true, compressed and not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import zstandard

from tests.workers.publishing import RpmFactory, write_index
from workers.base.errors import CannotRun
from workers.metadata.changelog import changelog
from workers.repository import index


@pytest.mark.parametrize("packages", [0, 3])
def test_repomd_has_checksums_and_sizes_of_its_files(make_rpms: RpmFactory, tmp_path: Path, packages: int) -> None:
    import createrepo_c

    rpms = make_rpms("aarch64")[:packages]
    assert len(rpms) == packages
    repomd = write_index(tmp_path, [index.describe(rpm, rpm.name) for rpm in rpms], 1_700_000_000)
    records = createrepo_c.Repomd(str(repomd)).records
    assert [record.type for record in records] == ["primary", "filelists", "other"]
    for record in records:
        closed = (tmp_path / record.location_href).read_bytes()
        opened = zstandard.ZstdDecompressor().stream_reader(closed, read_across_frames=True).read()
        assert opened.startswith(b"<?xml")
        assert f'packages="{packages}"'.encode() in opened
        assert (record.checksum, record.size) == (hashlib.sha256(closed).hexdigest(), len(closed))
        assert (record.checksum_open, record.size_open) == (hashlib.sha256(opened).hexdigest(), len(opened))
        assert record.timestamp == 1_700_000_000
    assert index.number(tmp_path) == 1
    assert {package.pkgId for package in index.load(tmp_path)} == {
        hashlib.sha256(rpm.read_bytes()).hexdigest() for rpm in rpms
    }


def test_a_file_larger_than_one_read_has_the_checksum_of_the_whole(
    make_rpms: RpmFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [index.describe(rpm, rpm.name) for rpm in make_rpms("aarch64")]
    whole = write_index(tmp_path, packages, 1).read_bytes()
    monkeypatch.setattr(index, "_BLOCK", 7)
    assert write_index(tmp_path, packages, 1).read_bytes() == whole


def test_a_data_file_has_its_name_once_it_is_whole(
    make_rpms: RpmFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError("No space left on device")

    packages = [index.describe(rpm, rpm.name) for rpm in make_rpms("aarch64")]
    with monkeypatch.context() as patch:
        patch.setattr(index.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_index(tmp_path, packages, 1)
    assert not [path for path in (tmp_path / "repodata").iterdir() if not path.name.startswith(".")]
    write_index(tmp_path, packages, 1)
    assert {path.name for path in (tmp_path / "repodata").iterdir()} == index.data_files(tmp_path) - {"repomd.xml.asc"}


def test_the_catalogue_has_the_changelog_of_the_file(make_rpms: RpmFactory) -> None:
    entries = (
        "* Tue Nov 24 2026 A <a@example.org> - 2-1\n- <b> & more\n\n* Mon Nov 23 2026 A <a@example.org> - 1-1\n- First"
    )
    rpm = next(rpm for rpm in make_rpms("aarch64", changelog=entries) if rpm.name.startswith("tiny-libs-1"))
    package = index.describe(rpm, rpm.name)
    metadata = index.catalogue_entry("", package).metadata
    assert metadata is not None
    recalled = changelog(index.package_of(metadata))
    assert recalled == changelog(package)
    assert [entry.text for entry in recalled] == ["- <b> & more", "- First"]


def test_what_is_no_package_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.rpm").write_bytes(b"no")
    with pytest.raises(CannotRun, match=r"a.rpm is not a readable RPM package: .*"):
        index.describe(tmp_path / "a.rpm", "a.rpm")


@pytest.mark.parametrize("character", ["\x07", "\x1b", "\x1f", "\ufffe"])
def test_text_that_no_index_can_carry_is_refused(make_rpms: RpmFactory, character: str) -> None:
    """One such package in an index, and no client could read any package of the repository."""
    rpm = make_rpms("aarch64")[0]
    package = index.describe(rpm, rpm.name)
    assert index.catalogue_entry("AppStream", package).path == rpm.name
    package.description = f"before{character}after"
    with pytest.raises(CannotRun, match=rf"{re.escape(rpm.name)}.*(control characters|index)"):
        index.catalogue_entry("AppStream", package)
