"""Artifacts are read from any fsspec URL, and their checksums are verified."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec
import pytest

from workers.artifacts import artifact_store
from workers.base.errors import CannotRun
from workers.results import Artifact, SourceResult


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path / "cache"))


def source(folder: Path, data: bytes = b"rpm") -> SourceResult:
    folder.mkdir(parents=True)
    (folder / "a-1-1.src.rpm").write_bytes(data)
    srpm = artifact_store.artifact_of(folder / "a-1-1.src.rpm", str(folder))
    result = SourceResult(summary="", package="a", branch="b", commit="c", srpm=srpm)
    result.write(folder / "source.json")
    return result


def test_a_source_is_found_in_the_state_folder(tmp_path: Path) -> None:
    made = source(tmp_path / "artifacts/sources/a/k")
    found = artifact_store.source_at("artifacts/sources/a/k", tmp_path)
    assert (found.url, found.result, found.srpm) == (str(tmp_path / "artifacts/sources/a/k"), made, made.srpm)
    assert artifact_store.fetch(found.url, found.srpm).read_bytes() == b"rpm"


def test_a_remote_source_is_downloaded_once_and_verified() -> None:
    with fsspec.open("memory://sources/a/a-1-1.src.rpm", "wb") as stream:
        stream.write(b"rpm")
    promised = Artifact(name="a-1-1.src.rpm", url="", sha256=hashlib.sha256(b"rpm").hexdigest(), size=3)
    first = artifact_store.fetch("memory://sources/a", promised)
    fsspec.filesystem("memory").rm("/sources/a/a-1-1.src.rpm")
    assert artifact_store.fetch("memory://sources/a", promised) == first
    assert first.read_bytes() == b"rpm"


def test_a_changed_srpm_is_refused(tmp_path: Path) -> None:
    made = source(tmp_path / "s")
    (tmp_path / "s/a-1-1.src.rpm").write_bytes(b"other")
    assert made.srpm is not None
    with pytest.raises(CannotRun, match="SHA-256"):
        artifact_store.fetch(str(tmp_path / "s"), made.srpm)


def test_a_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="not a file name"):
        artifact_store.fetch(str(tmp_path), Artifact(name="../../etc/passwd", url="", sha256="", size=0))


@pytest.mark.parametrize("where", ["nowhere", "memory://nowhere"])
def test_a_missing_source_is_reported_in_one_line(tmp_path: Path, where: str) -> None:
    with pytest.raises(CannotRun, match="there is no source at"):
        artifact_store.source_at(where, tmp_path)
