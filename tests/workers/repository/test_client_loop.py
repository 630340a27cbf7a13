"""A client that refreshes and upgrades in a loop while publications come one after another: never once is it refused.

``KITTEN_PUBLICATIONS=200`` for many; how many rounds dnf made is printed.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.mirrors import s3
from tests.workers.publishing import BuildFactory
from tests.workers.signing.test_signing_dnf import Client
from workers.base import namespace
from workers.base.run import run
from workers.mirrors import remote
from workers.promotion.publish import publish
from workers.repository import draft
from workers.repository.state import published

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dnf") is None, reason="dnf is not installed: apt-get install dnf"),
]

STEADY = draft.STEADY
"""As users have it; other tests are spared it."""
PUBLICATIONS = int(os.environ.get("KITTEN_PUBLICATIONS", "6"))
BASE = "10-kitten/BaseOS/aarch64/os"


class Quiet(http.server.SimpleHTTPRequestHandler):
    seconds = 0.0

    def do_GET(self) -> None:
        time.sleep(self.seconds)
        super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def served(
    request: pytest.FixtureRequest, state: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Address of what is published: a folder, a web server, a slow one that takes 0.15 s for each request, a bucket."""
    for module in (draft, remote):
        monkeypatch.setattr(module, "STEADY", STEADY)
    folder = state / "published"
    folder.mkdir()
    if request.param == "file":
        yield f"file://{folder}"
    elif request.param in ("http", "slow"):
        monkeypatch.setattr(Quiet, "seconds", 0.15 if request.param == "slow" else 0.0)
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()
    else:
        pytest.importorskip("moto", reason="moto is not installed: pip install 'moto[s3,server]'")
        with s3.server() as port:
            s3.fresh_bucket(port, "stage")
            for name, value in {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CONFIG_FILE": "/dev/null",
            }.items():
                monkeypatch.setenv(name, value)
            yield f"http://127.0.0.1:{port}/stage/p"


def rounds_while(work: Callable[[], object], client: Callable[[], object]) -> int:
    """Run one in a process of its own, and the other again and again until that ended; how often."""
    process = get_context("fork").Process(target=work)
    process.start()
    rounds = 0
    try:
        while process.is_alive():
            client()
            rounds += 1
        process.join()
        assert process.exitcode == 0
    finally:
        process.kill()
    return rounds


@pytest.mark.parametrize("served", ["file", "http", "slow", "bucket"], indirect=True)
def test_a_client_in_a_loop_is_never_refused_while_versions_are_published(
    site: Site,
    state: Path,
    make_build: BuildFactory,
    tmp_path: Path,
    served: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bucket = "s3://stage/p" if "/stage/p" in served else ""
    stages = tuple(s.model_copy(update={"bucket": bucket}) if s.signed else s for s in site.stages)
    site = site.model_copy(update={"stages": stages})
    builds = [str(make_build(version=str(number))) for number in range(1, PUBLICATIONS + 2)]
    publish(site, state, "aarch64", builds[0])
    (tmp_path / "client").mkdir()
    client = Client(tmp_path / "client", f"{served}/{BASE}", f"{served}/RPM-GPG-KEY-{site.distribution.name}")
    versions: list[int] = []

    def follow(*words: str) -> None:
        done = client.dnf(*words)
        assert done.status == 0, done.output
        assert not re.search(r"(?i)error|mismatch|bad gpg", done.output), done.output
        query = [*namespace.as_root(), "rpm", "--root", str(client.folder / "root")]
        query += ["--query", "--queryformat", "%{VERSION}", "tiny-libs"]
        versions.append(int(run(query, env={**os.environ, "HOME": str(client.folder)}).output))

    def work() -> None:
        for build in builds[1:]:
            assert publish(site, state, "aarch64", build).outcome == "passed"

    follow("install", "tiny-libs")
    rounds = rounds_while(work, lambda: follow("upgrade", "tiny-libs"))
    follow("upgrade", "tiny-libs")
    with capsys.disabled():
        print(  # noqa: T201 - the rounds, for a user who runs it with many
            f"\n{request.node.callspec.id}: {PUBLICATIONS} publications, {rounds} rounds of dnf in their time, "
            f"{len(set(versions))} versions seen"
        )
    assert rounds > 0
    assert versions == sorted(versions), "never an older one again"
    assert versions[-1] == PUBLICATIONS + 1 == published(site, state)["tiny", "aarch64"].snapshot
