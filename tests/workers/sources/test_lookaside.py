from __future__ import annotations

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from tests.workers.sources.conftest import Place, Server, tarball, whole
from workers.base import cache
from workers.base.errors import CannotRun, CheckFailed
from workers.sources import lookaside
from workers.sources.lookaside import Tarball, fetch

HELLO = Tarball("hello-1.tar", hashlib.sha512(tarball()).hexdigest())


def get(place: Place, to: Path, wanted: Tarball = HELLO) -> bytes:
    fetch(place.load(), "hello", wanted, place.state, to)
    return to.read_bytes()


def http_place(server: Server) -> dict[str, str]:
    return {"kind": "http", "location": server.url + "/{package}/{file}/{algorithm}/{hash}/{file}"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookaside.time, "sleep", lambda seconds: None)


def test_a_folder_gives_the_file_and_the_cache_keeps_it(place: Place, tmp_path: Path) -> None:
    assert get(place, tmp_path / "first") == tarball()
    (tmp_path / "lookaside" / "hello-1.tar").unlink()
    assert get(place, tmp_path / "again") == tarball()


def test_the_url_template_is_filled_in_and_quoted(place: Place, server: Server, tmp_path: Path) -> None:
    server.answer = whole(tarball())
    place.lookaside = [http_place(server)]
    assert get(place, tmp_path / "out", Tarball("hello+1.tar", HELLO.sha512)) == tarball()
    assert server.asked == [f"/hello/hello%2B1.tar/sha512/{HELLO.sha512}/hello%2B1.tar"]


def test_lookasides_are_searched_in_order_until_one_has_the_file(place: Place, server: Server, tmp_path: Path) -> None:
    server.answer = whole(tarball())
    place.lookaside = [{"kind": "folder", "location": str(tmp_path / "empty")}, http_place(server), *place.lookaside]
    get(place, tmp_path / "out")
    assert len(server.asked) == 1

    place.lookaside.reverse()
    server.asked.clear()
    (cache.root() / "lookaside" / HELLO.sha512 / "file").unlink()
    (cache.root() / "lookaside" / HELLO.sha512).rmdir()
    get(place, tmp_path / "out")
    assert server.asked == []


def test_a_wrong_checksum_is_reported_with_file_place_and_both_checksums(
    place: Place, server: Server, tmp_path: Path
) -> None:
    server.answer = whole(b"something else")
    place.lookaside = [http_place(server)]
    got = hashlib.sha512(b"something else").hexdigest()
    with pytest.raises(CheckFailed) as refusal:
        get(place, tmp_path / "out")
    for part in ("hello-1.tar", server.url, f"expected SHA512 {HELLO.sha512}", f"got {got}"):
        assert part in str(refusal.value)
    assert not (cache.root() / "lookaside" / HELLO.sha512).exists()


def test_a_wrong_file_does_not_stop_the_search(place: Place, server: Server, tmp_path: Path) -> None:
    server.answer = whole(b"something else")
    place.lookaside.insert(0, http_place(server))
    assert get(place, tmp_path / "out") == tarball()


def test_if_no_lookaside_has_it_each_has_a_line_with_the_reason(place: Place, server: Server, tmp_path: Path) -> None:
    closed = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    port = closed.server_port
    closed.server_close()
    place.lookaside = [
        {"kind": "folder", "location": str(tmp_path / "empty")},
        http_place(server),
        {"kind": "http", "location": f"http://127.0.0.1:{port}/{{file}}"},
        {"kind": "apt-source"},
    ]
    with pytest.raises(CannotRun) as refusal:
        get(place, tmp_path / "out")
    first, *lines = refusal.value.what.splitlines()
    assert first.startswith("no lookaside has hello-1.tar of hello")
    assert [("no such file" in lines[0]), ("404" in lines[1]), ("refused" in lines[2]), ("upstream" in lines[3])] == [
        True
    ] * 4
    assert len(lines) == 4


def test_errors_that_may_pass_are_retried_and_a_missing_file_is_not(
    place: Place, server: Server, tmp_path: Path
) -> None:
    place.lookaside = [http_place(server)]

    def recovering(handler: http.server.BaseHTTPRequestHandler) -> None:
        whole(tarball())(handler) if len(server.asked) == lookaside.ATTEMPTS else handler.send_error(503)

    server.answer = recovering
    assert get(place, tmp_path / "out") == tarball()
    assert len(server.asked) == lookaside.ATTEMPTS

    server.asked.clear()
    server.answer = lambda handler: handler.send_error(404)
    with pytest.raises(CannotRun, match="404"):
        get(place, tmp_path / "out", Tarball("other.tar", "0" * 128))
    assert len(server.asked) == 1


def test_a_body_that_ends_early_is_refused(place: Place, server: Server, tmp_path: Path) -> None:
    def short(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(tarball())))
        handler.end_headers()
        handler.wfile.write(tarball()[:100])
        handler.close_connection = True

    server.answer = short
    place.lookaside = [http_place(server)]
    with pytest.raises(CannotRun, match="3 attempts"):
        get(place, tmp_path / "out")


def test_a_download_has_a_size_limit(
    place: Place, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookaside, "LARGEST", 1000)
    server.answer = whole(tarball())
    place.lookaside = [http_place(server)]
    with pytest.raises(CannotRun, match="more than 1000 bytes"):
        get(place, tmp_path / "out")


def test_content_with_a_content_encoding_is_not_unpacked(place: Place, server: Server, tmp_path: Path) -> None:
    """Some servers send .tar.gz files with Content-Encoding: gzip; the checksum is that of the compressed file."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(b"\x1f\x8bnot even gzip")

    server.answer = answer
    place.lookaside = [http_place(server)]
    content = b"\x1f\x8bnot even gzip"
    assert get(place, tmp_path / "out", Tarball("a.tar.gz", hashlib.sha512(content).hexdigest())) == content


def test_a_damaged_cache_entry_is_fetched_again(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get(place, tmp_path / "out")
    (cache.root() / "lookaside" / HELLO.sha512 / "file").write_bytes(b"rot")
    assert get(place, tmp_path / "out") == tarball()
    assert "damaged" in capsys.readouterr().out


def test_several_at_once_fetch_a_file_once(place: Place, server: Server, tmp_path: Path) -> None:
    server.answer = whole(tarball())
    place.lookaside = [http_place(server)]
    site = place.load()
    threads = [
        threading.Thread(target=fetch, args=(site, "hello", HELLO, place.state, tmp_path / f"out{number}"))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / f"out{number}").read_bytes() for number in range(4)] == [tarball()] * 4
    assert len(server.asked) == 1
