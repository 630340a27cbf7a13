"""The tests' mirror in front of another mirror, started by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import requests

from tests.workers.debian import Debian
from tests.workers.mirror import serving
from workers.base.run import PIPE, start_program


def test_it_serves_the_other_mirrors_files_except_those_it_refuses(debian: Debian):
    debian.archive.package("big", "1")
    debian.archive.package("other", "1")
    words = ["--upstream", debian.mirror.url, "--refuse", r"/pool/.*other_.*\.deb$"]
    argv = [sys.executable, "-m", "tests.workers.mirror", *words]
    with start_program(argv, cwd=Path(__file__).parents[3], stdout=PIPE) as process:
        assert process.stdout is not None
        name, url = process.stdout.readline().decode().strip().split("=")
        assert name == "export KITTEN_DEBIAN_MIRROR"
        kept = requests.get(f"{url}/pool/main/big_1_s390x.deb", timeout=60)
        assert kept.content == (debian.archive.folder / "pool/main/big_1_s390x.deb").read_bytes()
        assert requests.get(f"{url}/pool/main/other_1_s390x.deb", timeout=60).status_code == 404
        assert requests.get(f"{url}/pool/main/nothing.deb", timeout=60).status_code == 404


def test_a_path_outside_the_archive_is_not_served(debian: Debian, tmp_path: Path):
    (tmp_path / "secret").write_text("secret")
    with requests.Session() as session, serving(debian.archive.folder) as mirror:
        request = requests.Request("GET", mirror.url).prepare()
        request.url = f"{mirror.url}/%2e%2e/secret"
        assert session.send(request, timeout=60).status_code == 404
