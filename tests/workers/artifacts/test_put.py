"""Files and folders appear in the store whole or not at all, whatever happens to the command that writes them."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from workers.artifacts import put
from workers.artifacts.artifact_store import artifact_of, read_result
from workers.base.errors import CannotRun
from workers.results import Artifact, BuildResult

DOCUMENT = "build.json"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["local", "remote"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a build's folder that does not exist yet."""
    if request.param == "local":
        yield str(tmp_path / "builds/x86_64/i")
        return
    yield "memory://builds/x86_64/i"
    memory = fsspec.filesystem("memory")
    for top in memory.ls("/", detail=False):
        memory.rm(top, recursive=True)


def names(url: str) -> list[str]:
    """Names of the files in a folder of the store."""
    system, path = fsspec.core.url_to_fs(url)
    return sorted(entry.rpartition("/")[2] for entry in system.ls(path, detail=False)) if system.exists(path) else []


def content(url: str) -> bytes:
    system, path = fsspec.core.url_to_fs(url)
    return bytes(system.cat(path))


def filled(url: str, text: str) -> tuple[Path, BuildResult]:
    """A folder that is ready for put_folder, and its result."""
    partial = put.partial_folder(url)
    (partial / "a.rpm").write_text(text)
    rpm = artifact_of(partial / "a.rpm", url)
    return partial, BuildResult(summary=text, target="x86_64", package="a", nevr="a-1-1", url=url, rpms=(rpm,))


def put_build(url: str, text: str, *, replace: bool = False) -> BuildResult:
    partial, result = filled(url, text)
    return put.put_folder(partial, url, result, DOCUMENT, result.rpms, replace=replace)


# ------------------------------------------------------------------------------------------------------- folders


def test_a_folder_appears_whole(url: str) -> None:
    partial, result = filled(url, "one")
    assert read_result(f"{url}/{DOCUMENT}", BuildResult) is None
    assert put.put_folder(partial, url, result, DOCUMENT, result.rpms) == result
    assert names(url) == ["a.rpm", DOCUMENT]
    assert read_result(f"{url}/{DOCUMENT}", BuildResult) == result
    assert not partial.exists()
    assert names(url.rpartition("/")[0]) == ["i"]


def test_a_finished_folder_replaces_an_earlier_one(url: str) -> None:
    for text in ("one", "two"):
        put_build(url, text, replace=True)
        assert names(url) == ["a.rpm", DOCUMENT]
        assert content(f"{url}/a.rpm") == text.encode()
    assert names(url.rpartition("/")[0]) == ["i"]


def test_the_second_writer_gets_the_result_of_the_first(url: str) -> None:
    first = put_build(url, "one")
    assert put_build(url, "two") == first
    assert content(f"{url}/a.rpm") == b"one"
    assert names(url.rpartition("/")[0]) == ["i"]


def test_a_folder_without_its_document_does_not_count(tmp_path: Path) -> None:
    url = str(tmp_path / "builds/x86_64/i")
    Path(url).mkdir(parents=True)
    (Path(url) / "half.rpm").write_text("")
    put_build(url, "one")
    assert names(url) == ["a.rpm", DOCUMENT]


def test_in_a_remote_folder_the_document_is_written_last(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    sent = []
    original = MemoryFileSystem.put_file

    def watched(self: MemoryFileSystem, file: str, to: str, **more: object) -> None:
        sent.append(to.rpartition("/")[2])
        original(self, file, to, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", watched)
    put_build("memory://order/i", "one")
    assert sent == ["a.rpm", DOCUMENT]


@pytest.mark.parametrize("change", ["shorter", "missing"])
def test_a_file_that_is_not_as_the_result_says_is_refused(url: str, change: str) -> None:
    partial, result = filled(url, "one")
    (partial / "a.rpm").write_text("o") if change == "shorter" else (partial / "a.rpm").unlink()
    with pytest.raises(CannotRun, match="changed while"):
        put.put_folder(partial, url, result, DOCUMENT, result.rpms)
    assert names(url) == []


def test_an_upload_that_stored_half_of_a_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def half(self: MemoryFileSystem, file: str, to: str, **_: object) -> None:
        self.pipe_file(to, Path(file).read_bytes()[:1])

    monkeypatch.setattr(MemoryFileSystem, "put_file", half)
    with pytest.raises(CannotRun, match="the store has 1 bytes of 3"):
        put_build("memory://half/i", "one")
    assert read_result(f"memory://half/i/{DOCUMENT}", BuildResult) is None


# --------------------------------------------------------------------------------------------------------- files


def test_a_file_is_replaced_and_its_record_is_of_the_written_bytes(url: str, tmp_path: Path) -> None:
    put_build(url, "one")
    for text in (b"first", b"second"):
        (tmp_path / "verify.json").write_bytes(text)
        made = put.put_file(tmp_path / "verify.json", url, "verify.json")
        assert made == Artifact(
            name="verify.json", url=f"{url}/verify.json", sha256=hashlib.sha256(text).hexdigest(), size=len(text)
        )
        assert content(made.url) == text
        assert names(url) == ["a.rpm", DOCUMENT, "verify.json"]


def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "verify.json").write_text("{}")
    with pytest.raises(CannotRun, match="does not exist"):
        put.put_file(tmp_path / "verify.json", str(tmp_path / "gone"), "verify.json")
    assert not (tmp_path / "gone").exists()


# -------------------------------------------------------------------------------------------------------- faults


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/store/a")


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "builds/x86_64/i")
    put_build(url, "one")
    partial, result = filled(url, "two")
    original = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self == partial:
            full()
        return original(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(CannotRun, match="no space left on the device"):
        put.put_folder(partial, url, result, DOCUMENT, result.rpms, replace=True)
    assert content(f"{url}/a.rpm") == b"one"
    assert names(url.rpartition("/")[0]) == ["i"]


@pytest.mark.parametrize("where", ["write_blocks", "flush"])
def test_a_full_disk_leaves_the_old_file(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "verify.json").write_text("before")
    (tmp_path / "new").write_text("after")
    monkeypatch.setattr(put, where, full)
    with pytest.raises(CannotRun, match="no space left on the device for /store/a"):
        put.put_file(tmp_path / "new", str(folder), "verify.json")
    assert names(str(folder)) == ["verify.json"]
    assert (folder / "verify.json").read_text() == "before"


@pytest.mark.parametrize("replace", [True, False])
def test_a_full_disk_leaves_the_old_folder(replace: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "builds/x86_64/i")
    if replace:
        put_build(url, "one")
    partial, result = filled(url, "two")
    monkeypatch.setattr(put, "flush", full)
    with pytest.raises(CannotRun, match="no space left"):
        put.put_folder(partial, url, result, DOCUMENT, result.rpms, replace=replace)
    assert names(url) == (["a.rpm", DOCUMENT] if replace else [])
    assert names(str(Path(url).parent)) == (["i"] if replace else [])


def _die_in_put(url: str, file: str) -> None:
    """Put a file or a folder, and die by SIGKILL after the content is written, before the rename."""
    put.flush = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    if file:
        put.put_file(Path(file), url, "verify.json")
    else:
        put_build(url, "killed", replace=True)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_killed_command_leaves_the_old_content_and_the_next_one_succeeds(what: str, tmp_path: Path) -> None:
    url = str(tmp_path / "builds/x86_64/i")
    before = put_build(url, "before")
    new = tmp_path / "new"
    new.write_text("after")
    process = multiprocessing.get_context("fork").Process(
        target=_die_in_put, args=(url, str(new) if what == "file" else "")
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read_result(f"{url}/{DOCUMENT}", BuildResult) == before
    assert content(f"{url}/a.rpm") == b"before"
    assert "verify.json" not in names(url)
    put_build(url, "again", replace=True)
    put.put_file(new, url, "verify.json")
    assert names(url) == ["a.rpm", DOCUMENT, "verify.json"]
    assert names(str(Path(url).parent)) == ["i"]


def _put_often(file: str, folder: str) -> None:
    for _ in range(40):
        put.put_file(Path(file), folder, "verify.json")


def test_two_writers_of_one_name_never_mix_their_content(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    folder.mkdir()
    contents = [bytes([n]) * 300_000 for n in (1, 2, 3)]
    processes = []
    for number, text in enumerate(contents):
        (tmp_path / str(number)).write_bytes(text)
        arguments = (str(tmp_path / str(number)), str(folder))
        processes.append(multiprocessing.get_context("fork").Process(target=_put_often, args=arguments))
    for process in processes:
        process.start()
    seen = set()
    while any(process.is_alive() for process in processes):
        if (folder / "verify.json").exists():
            seen.add((folder / "verify.json").read_bytes())
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert seen <= set(contents)
    assert names(str(folder)) == ["verify.json"]


def test_hosts_that_share_a_store_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "builds/x86_64/i")
    monkeypatch.setattr(socket, "gethostname", lambda: "one.example")
    slow, result = filled(url, "one")
    monkeypatch.setattr(socket, "gethostname", lambda: "two.example")
    quick = put_build(url, "two")
    monkeypatch.setattr(socket, "gethostname", lambda: "one.example")
    assert slow.is_dir()
    assert put.put_folder(slow, url, result, DOCUMENT, result.rpms) == quick
    assert content(f"{url}/a.rpm") == b"two"
