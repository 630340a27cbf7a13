"""A result that is used again is marked as used, and kitten clean never removes it at the same time."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import fsspec
import pytest

from workers.artifacts import reuse
from workers.artifacts.reuse import reuse_result
from workers.base.errors import CannotRun
from workers.promotion.store import Store
from workers.repository.retention import Found
from workers.results import BuildResult, SourceResult

LONG_AGO = 1_000_000_000.0
FOLDER = "builds/x86_64/" + "1" * 64


def build(root: Path, path: str = FOLDER) -> Path:
    """Write an old build; return its document."""
    folder = root / path
    folder.mkdir(parents=True)
    BuildResult(summary="made", target="x86_64", package="tiny", nevr="tiny-1-1").write(folder / "build.json")
    (folder / "x.rpm").write_bytes(b"x")
    for file in (*folder.iterdir(), folder):
        os.utime(file, (LONG_AGO, LONG_AGO))
    return folder / "build.json"


def stored(root: Path, path: str = FOLDER) -> Found:
    return next(one for one in Store(str(root)).found() if one.path == path)


def test_a_result_that_is_used_again_gets_a_new_time(tmp_path: Path) -> None:
    document = build(tmp_path)
    before = time.time() - 60  # clocks of file systems tick coarsely
    result = reuse_result(str(document), BuildResult)
    assert result is not None
    assert result.nevr == "tiny-1-1"
    assert stored(tmp_path).changed > before
    assert (document.with_name("x.rpm")).stat().st_mtime == LONG_AGO


def test_a_missing_result_is_none_and_leaves_no_file(tmp_path: Path) -> None:
    assert reuse_result(str(tmp_path / "builds/x86_64/1/build.json"), BuildResult) is None
    assert list(tmp_path.iterdir()) == []


def test_a_document_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="not a result of SourceResult, version 2"):
        reuse_result(str(build(tmp_path)), SourceResult)


def test_a_result_used_after_clean_chose_it_stays(tmp_path: Path) -> None:
    document = build(tmp_path)
    judged = stored(tmp_path)
    assert reuse_result(str(document), BuildResult) is not None
    assert Store(str(tmp_path)).aside(judged) is None
    assert document.is_file()


def test_a_result_that_a_command_marks_now_is_not_removed(tmp_path: Path) -> None:
    document = build(tmp_path)
    judged = stored(tmp_path)
    with document.open("rb") as finder:
        fcntl.flock(finder, fcntl.LOCK_SH)
        assert Store(str(tmp_path)).aside(judged) is None
    assert document.is_file()
    assert Store(str(tmp_path)).aside(judged) == "builds/x86_64/." + "1" * 64 + ".gone"


def test_a_result_that_clean_removes_now_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = build(tmp_path)
    answers: list[BuildResult | None] = []
    waiting = threading.Event()
    flock = fcntl.flock

    def watched_flock(stream: object, how: int) -> None:
        if how == fcntl.LOCK_SH:
            waiting.set()
        flock(stream, how)  # type: ignore[arg-type]

    monkeypatch.setattr(reuse.fcntl, "flock", watched_flock)
    finder = threading.Thread(target=lambda: answers.append(reuse_result(str(document), BuildResult)))
    with reuse.lock_if_unused(document) as free:
        assert free
        finder.start()
        assert waiting.wait(60)
        document.parent.rename(document.parent.with_name("gone"))
    finder.join()
    assert answers == [None]


def test_a_build_that_appears_while_a_leftover_of_its_name_is_removed_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(tmp_path).parent
    (folder / "build.json").unlink()
    os.utime(folder, (LONG_AGO, LONG_AGO))
    judged, store, rename = stored(tmp_path), Store(str(tmp_path)), Path.rename

    def late(self: Path, to: Path) -> Path:
        if self == folder:
            (folder / "build.json").write_text("whole")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", late)
    assert store.aside(judged) is None
    assert sorted(path.name for path in folder.iterdir()) == ["build.json", "x.rpm"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def _clean(root: Path, judged: list[Found]) -> None:
    store = Store(str(root))
    for one in judged:
        if hidden := store.aside(one):
            store.remove(hidden, one)


def _reuse(root: Path, paths: list[str], record: Path) -> None:
    names = [path for path in paths if reuse_result(str(root / path / "build.json"), BuildResult) is not None]
    record.write_text("\n".join(names))


def test_builds_used_while_others_are_removed_stay_whole(tmp_path: Path) -> None:
    root, context = tmp_path / "store", get_context("fork")
    paths = [f"builds/x86_64/{number:064x}" for number in range(400)]
    for path in paths:
        build(root, path)
    judged = list(Store(str(root)).found())
    # The processes begin at opposite ends and meet in the middle.
    orders: list[Callable[[], None]] = [
        lambda: _clean(root, judged),
        lambda: _reuse(root, paths[::-1], tmp_path / "one"),
        lambda: _reuse(root, paths[::-1], tmp_path / "two"),
    ]
    processes = [context.Process(target=order) for order in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    used = {*(tmp_path / "one").read_text().splitlines(), *(tmp_path / "two").read_text().splitlines()}
    for path in paths:
        names = sorted(file.name for file in (root / path).iterdir()) if (root / path).exists() else []
        assert names == (["build.json", "x.rpm"] if path in used else []), path


def test_in_an_object_store_an_object_beside_a_result_shows_its_use() -> None:
    memory = fsspec.filesystem("memory")
    url = f"memory://again/{FOLDER}/build.json"
    assert reuse_result(url, BuildResult) is None
    assert not memory.exists(f"/again/{FOLDER}")
    text = BuildResult(summary="made", target="x86_64", package="tiny", nevr="tiny-1-1").model_dump_json()
    memory.pipe(f"/again/{FOLDER}/build.json", text.encode())
    (judged,) = Store("memory://again").found()
    assert reuse_result(url, BuildResult) is not None
    assert memory.exists(f"/again/{FOLDER}/used")
    assert Store("memory://again").aside(judged) is None
    assert memory.exists(f"/again/{FOLDER}/build.json")


def test_in_an_object_store_a_build_made_while_the_old_one_is_removed_stays() -> None:
    memory, store = fsspec.filesystem("memory"), Store("memory://remade")
    text = BuildResult(summary="made", target="x86_64", package="tiny", nevr="tiny-1-1").model_dump_json()
    memory.pipe(f"/remade/{FOLDER}/build.json", text.encode())
    memory.pipe(f"/remade/{FOLDER}/x.rpm", b"x")
    (judged,) = store.found()
    hidden = store.aside(judged)
    assert hidden is not None
    assert not memory.exists(f"/remade/{FOLDER}/build.json")
    memory.pipe(f"/remade/{FOLDER}/x.rpm", b"x")
    store.remove(hidden, judged)
    assert memory.exists(f"/remade/{FOLDER}/x.rpm")
