"""Pushes of several publishers to one bucket, and of several publications of one publisher."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.workers.mirrors import s3
from tests.workers.mirrors.pushes import APPS, BASE, Make, content, expected, failed, go, shown_index
from workers.base.errors import CannotRun
from workers.mirrors.mark import BucketMark
from workers.mirrors.publication import Publication
from workers.mirrors.remote import publisher_of

pytestmark = pytest.mark.slow


def test_of_two_publishers_in_two_processes_one_wins(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    both = {"ours@here": make(1, "1"), "theirs@there": make(1, "2", publisher="theirs@there")}
    context = get_context("fork")

    def work(publication: Publication, report: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KITTEN_CACHE", str(report.parent / f"cache-{publication.publisher}"))  # another host's locks
            failure = failed(lambda: go(publication))
        report.write_text(failure.what if failure else "pushed")

    for round_ in range(5):
        s3.fresh_bucket(port, "stage")
        reports = {who: tmp_path / f"{round_}-{who}" for who in both}
        workers = [context.Process(target=work, args=(both[who], reports[who])) for who in both]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        messages = {who: path.read_text() for who, path in reports.items()}
        (winner,) = (who for who, message in messages.items() if message == "pushed")
        (loser,) = both.keys() - {winner}
        assert re.fullmatch(
            rf"s3://stage/p (belongs to the publisher {winner}; this one is {loser}"
            rf"|is changed by {winner} at this moment)",
            messages[loser],
        )
        assert [shown_index(port, tmp_path, key_home, r) for r in (BASE, APPS)] == [
            expected(both[winner], r) for r in (BASE, APPS)
        ]


def test_two_pushes_of_one_publisher_wait_for_each_other(proxy: s3.Proxy, make: Make) -> None:
    one, two = make(1, "1"), make(2, "2")
    go(one)
    workers = [get_context("fork").Process(target=go, args=(two,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert go(two) == "publication 2 is there already; 0 objects deleted"


def test_another_publisher_is_refused_and_changes_nothing(port: int, proxy: s3.Proxy, make: Make) -> None:
    go(make(1, "1"))
    before, first = content(port, "publication.json"), len(proxy.paths)
    with pytest.raises(CannotRun) as caught:
        go(make(2, "2", publisher="theirs@there"))
    assert caught.value.what == "s3://stage/p belongs to the publisher ours@here; this one is theirs@there"
    assert content(port, "publication.json") == before
    assert len(proxy.paths) == first + 1
    assert go(make(3, "3", publisher="theirs@there"), take_over=True).startswith("publication 3: ")


def test_two_publishers_at_the_same_time(port: int, proxy: s3.Proxy, make: Make) -> None:
    ours, theirs = make(1, "1"), make(7, "2", publisher="theirs@there")
    raced = []
    original = BucketMark.require_ours

    def late(self: BucketMark, shown: Mapping[str, str]) -> None:
        original(self, shown)
        if not raced:
            raced.append(0)
            go(theirs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BucketMark, "require_ours", late)
        with pytest.raises(CannotRun, match=r"is changed by theirs@there at this moment"):
            go(ours)
    assert json.loads(content(port, "publication.json") or b"")["number"] == 7


def test_an_older_publication_and_another_history_are_refused(proxy: s3.Proxy, make: Make) -> None:
    go(make(2, "2"))
    with pytest.raises(CannotRun, match="has seen publication 2; this one is 1"):
        go(make(1, "1"))
    with pytest.raises(CannotRun, match="has another publication 2: 10-kitten/BaseOS/x86_64/os differs"):
        go(make(2, "3"))


def test_the_publisher_is_a_folder_on_one_host(tmp_path: Path) -> None:
    first = publisher_of(tmp_path)
    assert publisher_of(tmp_path) == first
    other = tmp_path / "other"
    other.mkdir()
    assert publisher_of(other) != first
