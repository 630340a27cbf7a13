"""The catalogue: the cost of queries and compression grows with the change, not with the repository."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from workers.repository.catalogue import Catalogue
from workers.repository.frames import GROUP_PACKAGES
from workers.repository.tables import KINDS, File, Metadata

REPOSITORY = "BaseOS/aarch64/os"


def file(number: int, repository: str = REPOSITORY) -> File:
    name = f"thing{number:04}"
    xml = (f"<p {name}/>\n", f"<f {name}/>\n", f"<o {name}/>\n")
    path = f"Packages/t/{name}-1-1.aarch64.rpm"
    return File(repository, path, f"{number:064}", 1, f"{number + 1:064}", Metadata(name, "1-1", "aarch64", name, xml))


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """Of one snapshot with two full groups of packages and a third that has room."""
    with Catalogue.open(tmp_path / "catalogue") as opened:
        with opened.transaction():
            for number in range(2 * GROUP_PACKAGES + 3):
                opened.add(1, file(number))
            opened.compress(1)
        yield opened


def content(catalogue: Catalogue, kind: str) -> list[str]:
    """What the data file of a kind holds, frame by frame."""
    frames = catalogue.frames.read(REPOSITORY, kind)
    found = [zstandard.ZstdDecompressor().decompress(frame.data).decode() for frame in frames]
    assert [text.count("\n") for text in found] == [frame.packages for frame in frames]
    return found


def test_frames_hold_each_package_once(catalogue: Catalogue) -> None:
    for kind in KINDS:
        lines = "".join(content(catalogue, kind)).splitlines()
        assert lines == [f"<{kind[0]} thing{number:04}/>" for number in range(2 * GROUP_PACKAGES + 3)]


def test_a_package_more_compresses_the_newest_group_alone(catalogue: Catalogue) -> None:
    before = content(catalogue, "primary")
    with catalogue.transaction():
        catalogue.add(2, file(500))
        catalogue.compress(2)
    after = content(catalogue, "primary")
    assert after == [*before[:2], before[2] + "<p thing0500/>\n"]


def test_what_is_new_takes_the_room_of_what_left(catalogue: Catalogue) -> None:
    before = content(catalogue, "other")
    with catalogue.transaction():
        catalogue.retire(2, REPOSITORY, file(0).path, 0)
        catalogue.add(2, file(500))
        catalogue.compress(2)
    after = content(catalogue, "other")
    assert after == [before[0].replace("<o thing0000/>\n", "") + "<o thing0500/>\n", *before[1:]]


def test_a_group_that_is_full_is_followed_by_a_new_one(catalogue: Catalogue) -> None:
    with catalogue.transaction():
        for number in range(500, 500 + GROUP_PACKAGES):
            catalogue.add(2, file(number))
        catalogue.compress(2)
    assert [text.count("\n") for text in content(catalogue, "filelists")] == [*[GROUP_PACKAGES] * 3, 3]


def test_a_group_that_nothing_is_left_of_has_no_frame(catalogue: Catalogue) -> None:
    with catalogue.transaction():
        for number in range(GROUP_PACKAGES):
            catalogue.retire(2, REPOSITORY, file(number).path, 0)
        catalogue.compress(2)
    assert [text.count("\n") for text in content(catalogue, "primary")] == [GROUP_PACKAGES, 3]


def test_a_signed_copy_is_held_as_long_as_a_repository_has_the_package(catalogue: Catalogue) -> None:
    known = file(7)
    assert catalogue.has_signed(known.path, known.unsigned_sha256)
    assert not catalogue.has_signed(known.path, known.sha256)
    with catalogue.transaction():
        catalogue.add(2, file(7, "AppStream/aarch64/os"))
        catalogue.retire(2, REPOSITORY, known.path, 0)
    assert list(catalogue.prune(2, 1)) == [(REPOSITORY, known.path, known.unsigned_sha256)]
    assert catalogue.has_signed(known.path, known.unsigned_sha256)


@contextmanager
def asked(catalogue: Catalogue) -> Iterator[list[str]]:
    """The statements that are run meanwhile."""
    statements: list[str] = []
    catalogue._db.set_trace_callback(statements.append)
    try:
        yield statements
    finally:
        catalogue._db.set_trace_callback(None)


def widely(database: sqlite3.Connection, statement: str) -> list[str]:
    """Where SQLite reads a whole table for a statement, or all that a repository has in one."""
    if statement.startswith("SELECT max("):
        return []  # the last entry of an index
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}")]
    return [step for step in plan if step.startswith("SCAN") or re.search(r"\(repository=\?\)$", step)]


def test_no_question_of_a_publication_reads_a_whole_table(catalogue: Catalogue) -> None:
    with asked(catalogue) as statements:
        catalogue.recover(1)
        catalogue.file_at(REPOSITORY, file(1).path)
        catalogue.file(1, REPOSITORY, file(1).path)
        catalogue.published(1, "thing0001")
        catalogue.related_files(1, REPOSITORY, "thing0001", ["thing0002", "thing0003"])
        with catalogue.transaction():
            catalogue.retire(2, REPOSITORY, file(1).path, 0)
            catalogue.add(2, file(500))
            catalogue.set_record(2, "thing0500", "aarch64", "{}")
            catalogue.set_erratum(2, REPOSITORY, "thing0500", "<update/>")
            catalogue.set_extra(2, REPOSITORY, "group", b"<comps/>")
            catalogue.compress(2)
        with catalogue.transaction():
            assert catalogue.restore(3, 1, 0) == {REPOSITORY}
            catalogue.compress(3)
        catalogue.retired_files(3)
        list(catalogue.prune(3, 1))
        catalogue.has_signed(file(1).path, file(1).unsigned_sha256)
    plans = {s: widely(catalogue._db, s) for s in statements if s.startswith(("SELECT", "UPDATE", "DELETE"))}
    assert len(plans) > 40
    assert {statement: found for statement, found in plans.items() if found} == {}
    assert widely(catalogue._db, "SELECT * FROM files WHERE size = 1") == ["SCAN files"]


def test_names_are_read_from_an_index_alone(catalogue: Catalogue) -> None:
    with asked(catalogue) as statements:
        assert len(catalogue.names(REPOSITORY)) == 2 * GROUP_PACKAGES + 3
    (plan,) = (row[3] for row in catalogue._db.execute(f"EXPLAIN QUERY PLAN {statements[0]}"))
    assert plan.startswith("SEARCH files USING COVERING INDEX")


def test_a_rollback_gives_the_groups_back(catalogue: Catalogue) -> None:
    before = content(catalogue, "primary")
    with catalogue.transaction():
        catalogue.retire(2, REPOSITORY, file(0).path, 0)
        catalogue.add(2, file(500))
        catalogue.compress(2)
    assert content(catalogue, "primary") != before
    with catalogue.transaction():
        catalogue.restore(3, 1, 0)
        catalogue.compress(3)
    assert content(catalogue, "primary") == before
