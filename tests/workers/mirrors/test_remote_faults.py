"""Pushes that are killed, cut or refused: each repository in the bucket is complete at every moment."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.workers.mirrors import s3
from tests.workers.mirrors.pushes import APPS, BASE, Make, content, expected, failed, go, shown_index
from workers.base.errors import CannotRun
from workers.mirrors.bucket import Bucket
from workers.mirrors.remote import push

pytestmark = pytest.mark.slow


def test_killed_at_every_request_each_repository_is_old_or_new(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    one, two = make(1, "1"), make(2, "2")
    steps, between = 1, 0
    while True:
        s3.fresh_bucket(port, "stage")
        go(one)
        ended = not s3.killed_at(proxy, steps, lambda: go(two))
        seen = {repository: shown_index(port, tmp_path, key_home, repository) for repository in (BASE, APPS)}
        assert all(seen[r] in (expected(one, r), expected(two, r), "unsigned") for r in seen)
        between += list(seen.values()).count("unsigned")
        go(two)
        assert [shown_index(port, tmp_path, key_home, r) for r in (BASE, APPS)] == [
            expected(two, r) for r in (BASE, APPS)
        ]
        assert json.loads(content(port, "publication.json") or b"")["pushing"] is None
        if ended:
            break
        steps += 1
    assert steps > 25
    assert between <= 4, "only between the two requests of a switch"


@pytest.mark.parametrize("lost", ["drop", "deaf"], ids=["the request is lost", "its answer is lost"])
def test_a_lost_connection_at_every_request_leaves_old_or_new_and_the_next_push_finishes(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path, lost: str
) -> None:
    """From its n-th request on, no request of a push arrives."""
    one, two = make(1, "1"), make(2, "2")
    old, new = ([expected(p, r) for r in (BASE, APPS)] for p in (one, two))
    states, end = [], 0

    def act(number: int, path: str) -> str:
        return "pass" if number < end else lost if number == end else "drop"

    for step in range(1, 1000):
        s3.fresh_bucket(port, "stage")
        go(one)
        end, proxy.act = len(proxy.paths) + step, act
        failure = failed(lambda: go(two, attempts=1))
        proxy.act = lambda number, path: "pass"
        seen = [shown_index(port, tmp_path, key_home, r) for r in (BASE, APPS)]
        assert all(s in (o, n, "unsigned") for s, o, n in zip(seen, old, new, strict=True))
        states.append(seen)
        go(two)
        assert [shown_index(port, tmp_path, key_home, r) for r in (BASE, APPS)] == new
        if failure is None:
            break
        assert failure.what.startswith("cannot reach s3://stage/p: ")
        assert "\n" not in failure.what
        assert failure.hint == "check AWS_ENDPOINT_URL and the network; then run it again"
    assert len(states) > 25
    assert (states[0], states[-1]) == (old, new)
    assert sum(seen.count("unsigned") for seen in states) <= 4


@pytest.mark.parametrize("refused", ["repomd.xml", "repomd.xml.asc"])
def test_a_switch_is_undone_if_the_server_refuses_one_half(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path, refused: str
) -> None:
    one, two = make(1, "1"), make(2, "2")
    go(one)
    asked: list[str] = []

    def act(number: int, path: str) -> str:
        if path.split("?")[0] != f"/stage/p/{BASE}/repodata/{refused}":
            return "pass"
        asked.append(path)
        return "busy" if len(asked) in (2, 3) else "pass"  # read; written, and tried again; read and written back

    proxy.act = act
    with pytest.raises(CannotRun, match="s3://stage/p"):
        go(two)
    assert len(asked) > 3
    assert shown_index(port, tmp_path, key_home, BASE) == expected(one, BASE)
    go(two)
    assert shown_index(port, tmp_path, key_home, BASE) == expected(two, BASE)


def test_an_answer_that_is_lost_once_is_no_error(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    """The client library sends the request again; the server then refuses the mark, which was written already."""
    go(make(1, "1"))
    two, asked = make(2, "2"), []

    def act(number: int, path: str) -> str:
        if path.split("?")[0] == "/stage/p/publication.json":
            asked.append(path)
            return "deaf" if len(asked) in (2, 5) else "pass"  # claimed; committed
        return "pass"

    proxy.act = act
    assert go(two).startswith("publication 2: ")
    assert len(asked) >= 7
    assert shown_index(port, tmp_path, key_home, BASE) == expected(two, BASE)
    assert json.loads(content(port, "publication.json") or b"")["pushing"] is None


def test_a_push_survives_a_connection_cut_after_some_bytes(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    go(make(1, "1"))
    proxy.cut_after = 9000
    go(two := make(2, "2"))  # the client library tries again
    assert proxy.cut_after == -1
    assert shown_index(port, tmp_path, key_home, BASE) == expected(two, BASE)


def test_a_busy_server_is_asked_again_and_a_dead_one_reported(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    one, two = make(1, "1"), make(2, "2")
    proxy.act = lambda number, path: "busy" if number == 2 else "pass"
    go(one)
    proxy.act = lambda number, path: "drop" if path.split("?")[0].endswith(f"{APPS}/repodata/repomd.xml") else "pass"
    with pytest.raises(CannotRun, match=r"cannot reach s3://stage/p: ") as caught:
        go(two)
    assert "\n" not in caught.value.what
    assert shown_index(port, tmp_path, key_home, BASE) == expected(two, BASE)
    assert shown_index(port, tmp_path, key_home, APPS) == expected(one, APPS)


def test_a_request_whose_answer_ends_early_is_repeated(proxy: s3.Proxy) -> None:
    bucket, words = Bucket("s3://stage/p", attempts=2), b"content " * 100
    bucket.put("x", words, "text/plain")
    torn: list[str] = []

    def tear_first(number: int, path: str) -> str:
        torn.append(path)
        return "torn" if len(torn) == 1 else "pass"

    proxy.act = tear_first
    stored = bucket.read("x")
    assert (stored.content if stored else None, len(torn)) == (words, 2)
    proxy.act = lambda number, path: "torn" if number == first else "pass"
    first = len(proxy.paths) + 2  # the first request is HEAD
    assert bucket.content_sha256("x") == hashlib.sha256(words).hexdigest()
    assert len(proxy.paths) > first
    proxy.act = lambda number, path: "torn"
    with pytest.raises(CannotRun, match="cannot reach s3://stage/p: "):
        bucket.read("x")


def test_missing_bucket_network_and_credentials_are_reported(
    proxy: s3.Proxy, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(1, "1")
    with pytest.raises(CannotRun, match="there is no bucket nowhere for s3://nowhere/p"):
        push(one, "s3://nowhere/p", attempts=1)
    with pytest.raises(CannotRun, match="sftp://x/y is no object storage that can be published to"):
        push(one, "sftp://x/y")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(CannotRun, match="cannot reach s3://stage/p: ") as caught:
        push(one, "s3://stage/p", attempts=1)
    assert caught.value.hint == "check AWS_ENDPOINT_URL and the network; then run it again"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(CannotRun, match="s3://stage/p refuses us: Unable to locate credentials"):
        push(one, "s3://stage/p", attempts=1)
