"""Cloud images: fetched whole or not at all, never changed; each guest of one is another, and runs the same suites."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pycdlib
import pytest

from config.loading import load_site
from config.models import Image
from tests.workers.lab import cloud
from tests.workers.lab.test_tmt import request_for
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.base.run import run
from workers.lab.guest import file_system, saved, seed
from workers.lab.judge import judge
from workers.lab.machine import cloud_images
from workers.lab.suites import tmt

SITE = load_site("demo")
CONTENT = os.urandom(3_000_000)


class Mirror(BaseHTTPRequestHandler):
    """Serves CONTENT. ``faults`` has the error of each request, in order."""

    faults: list[str]
    asked: list[str]

    def do_GET(self) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        wanted = self.headers.get("Range", "")
        self.asked.append(wanted)
        if fault == "gone":
            self.send_error(404)
            return
        begin = int(re.sub(r"\D", "", wanted)) if wanted and fault != "no ranges" else 0
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "breaks off" else body)

    def log_message(self, *_: object) -> None:
        pass


def requested_offsets() -> list[int]:
    """The offsets of the requests."""
    return [int(re.sub(r"\D", "", wanted) or 0) for wanted in Mirror.asked]


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Iterator[Image]:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cloud_images, "_PAUSES_SECONDS", (0.0, 0.0))
    Mirror.faults, Mirror.asked = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/Kitten-GenericCloud-10-20260101.0.x86_64.qcow2"
    yield Image(url=address, sha256=hashlib.sha256(CONTENT).hexdigest())
    server.shutdown()
    server.server_close()


def test_an_image_is_fetched_once_and_cannot_be_written(mirror):
    path = cloud_images.fetch(mirror)
    assert path.read_bytes() == CONTENT
    assert path.name == "Kitten-GenericCloud-10-20260101.0.x86_64.qcow2"
    assert path.stat().st_mode & 0o777 == 0o444
    assert cloud_images.fetch(mirror) == path
    assert Mirror.asked == [""]
    assert [entry.name for entry in path.parent.parent.iterdir() if not entry.name.startswith(".")] == [mirror.sha256]


def test_a_download_continues_after_a_lost_connection(mirror):
    Mirror.faults = ["breaks off", "breaks off", ""]
    assert cloud_images.fetch(mirror).read_bytes() == CONTENT
    assert [begin // 1_000_000 for begin in requested_offsets()] == [0, 1, 2]  # a half, three quarters, the rest


def test_a_later_run_continues_a_download_and_a_server_without_ranges_restarts_it(mirror):
    Mirror.faults = ["breaks off", "gone"]
    with pytest.raises(CannotRun, match="404"):
        cloud_images.fetch(mirror)
    Mirror.faults = ["no ranges"]
    assert cloud_images.fetch(mirror).read_bytes() == CONTENT
    begins = requested_offsets()
    assert begins[0] == 0 < begins[1] == begins[2]


def test_an_unreachable_server_is_an_error_and_the_partial_download_stays(mirror):
    Mirror.faults = ["breaks off", "gone"]
    with pytest.raises(CannotRun, match="404"):
        cloud_images.fetch(mirror)
    nobody = mirror.model_copy(update={"url": "http://127.0.0.1:1/image"})
    with pytest.raises(CannotRun, match="cannot be fetched"):
        cloud_images.fetch(nobody)
    assert cloud_images.fetch(mirror).read_bytes() == CONTENT
    begins = requested_offsets()
    assert begins[0] == 0 < begins[1] == begins[2]


def test_a_file_with_another_checksum_is_refused_and_removed(mirror, tmp_path):
    wrong = mirror.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(CannotRun, match=rf"its SHA-256 is {mirror.sha256}, not 000"):
        cloud_images.fetch(wrong)
    assert {path.suffix for path in (tmp_path / "cache/images").rglob("*") if path.is_file()} == {".lock", ".used"}


def test_a_partial_download_of_another_file_is_replaced(mirror, tmp_path):
    (tmp_path / "cache/images").mkdir(parents=True)
    (tmp_path / f"cache/images/.{mirror.sha256}.download").write_bytes(b"x" * 10_000)
    assert cloud_images.fetch(mirror).read_bytes() == CONTENT
    assert Mirror.asked == ["bytes=10000-", ""]


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_overlay_has_the_content_of_the_image_and_no_name_and_does_not_change_it(kind, tmp_path):
    image = tmp_path / "image"
    run(["qemu-img", "create", "-q", "-f", kind, image, "64M"])
    image.chmod(0o444)
    before = sha256_of(image)
    descriptor = cloud_images.overlay(image)
    try:
        assert str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith("(deleted)")
        info = json.loads(run(["qemu-img", "info", "--output=json", f"/proc/{os.getpid()}/fd/{descriptor}"]).output)
        assert (info["format"], info["virtual-size"]) == ("qcow2", 64 << 20)
        assert (info["full-backing-filename"], info["backing-filename-format"]) == (str(image), kind)
    finally:
        os.close(descriptor)
    assert sha256_of(image) == before
    assert list(tmp_path.iterdir()) == [image]


def test_a_seed_names_the_guest_and_starts_its_script():
    disk = pycdlib.PyCdlib()
    disk.open_fp(io.BytesIO(seed.image("kitten-1234", b"the archive", b"the program")))
    assert disk.pvd.volume_identifier.decode().strip() == "CIDATA"

    def content(name: str) -> bytes:
        out = io.BytesIO()
        disk.get_file_from_iso_fp(out, rr_path=f"/{name}")
        return out.getvalue()

    assert json.loads(content("meta-data")) == {"instance-id": "kitten-1234", "local-hostname": "kitten-1234"}
    head, _, config = content("user-data").partition(b"\n")
    assert head == b"#cloud-config"
    ((shell, option, script),) = json.loads(config)["runcmd"]
    assert (shell, option) == ("sh", "-c")
    assert "kitten.cpio" in script
    assert content("kitten.cpio") == b"the archive"
    assert content("busybox") == b"the program"
    assert json.loads(content("network-config"))["ethernets"] == {}
    disk.close()


WHO = "cat /etc/machine-id /var/lib/cloud/data/instance-id\n"
FIRST = f"""
echo 1..4
{WHO}
test "$(cat /proc/sys/kernel/hostname)" != localhost && echo "ok 1 - a name"
[ ! -e /written ] && date >/written && sync && echo "ok 2 - a disk that nobody wrote to"
test "$(systemctl is-system-running)" != offline && echo "ok 3 - systemd runs"
grep -q avx2 /proc/cpuinfo && echo "ok 4 - the CPU of the target"
"""
TREE = {
    ".fmf/version": "1\n",
    "plans/all.fmf": "discover: {how: fmf}\nexecute: {how: tmt}\n",
    "tests/second.fmf": "test: ./second.sh\nframework: shell\n",
    "tests/second.sh": f"#!/bin/bash\nset -e\n{WHO}test ! -e /written\nsystemctl status kitten --no-pager\n",
}


@pytest.fixture
def published(monkeypatch) -> Iterator[Image]:
    """A real image on a local server."""
    path = cloud.image()
    handler = partial(SimpleHTTPRequestHandler, directory=str(path.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sha256 = sha256_of(path)
        yield Image(url=f"http://127.0.0.1:{server.server_port}/{path.name}", sha256=sha256)
        server.shutdown()
    shutil.rmtree(cache.root() / "images" / sha256)  # the tests have another copy


@pytest.mark.guest
@pytest.mark.skipif(
    not os.environ.get("KITTEN_SLOW"), reason="makes and boots whole systems, for minutes: KITTEN_SLOW=1"
)
def test_a_cloud_image_boots_with_its_seed_runs_suites_and_does_not_change(tmp_path, published):
    target = SITE.target("x86_64")
    machine = target.machine.model_copy(update={"image": published, "memory_mib": 1024})
    target = target.model_copy(update={"machine": machine})
    base = file_system.base(target)
    assert base.image
    with saved.start_guest(base, file_system.payload_archive(tests={"first.sh": FIRST.encode()}), tmp_path) as running:
        talk = running.finish(900)
    assert [(case.name, case.outcome, case.reason) for case in judge(talk, 900)] == [
        (f"first.sh: {name}", "passed", "")
        for name in ("a name", "a disk that nobody wrote to", "systemd runs", "the CPU of the target")
    ]
    suite = SITE.suites[[suite.name for suite in SITE.suites].index("tmt")].model_copy(update={"timeout_seconds": 120})
    request = dataclasses.replace(request_for(tmp_path, TREE), target=target, suite=suite)
    report = tmt.run(request)
    assert report.kernel == base.image.name
    found = {case.name: case for case in report.cases}
    assert {case.name: case.reason for case in report.cases if case.outcome == "failed"} == {}
    assert found["/plans/all: /tests/second"].outcome == "passed"
    who = re.compile(r"^ *(kitten-[0-9a-f]{8}|[0-9a-f]{32})\r?$", re.MULTILINE)
    first, second = (who.findall(text) for text in (talk.tap.decode(), found["/plans/all: /tests/second"].detail))
    assert (len(first), len(second)) == (2, 2)
    assert not set(first) & set(second)
    assert sha256_of(base.image) == published.sha256
