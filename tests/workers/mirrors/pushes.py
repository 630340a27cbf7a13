"""Publications of two repositories, a bucket to push them to, and what its users see of them."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workers.mirrors import s3
from tests.workers.publishing import RpmFactory, write_index
from workers.base.errors import CannotRun
from workers.mirrors.publication import File, Publication
from workers.mirrors.remote import push
from workers.repository import index
from workers.signing.sign import signer

BASE, APPS = "10-kitten/BaseOS/x86_64/os", "10-kitten/AppStream/x86_64/os"
Make = Callable[..., Publication]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of an S3 server."""
    pytest.importorskip("moto", reason="moto is not installed: pip install 'moto[s3,server]'")
    with s3.server() as port:
        yield port


@pytest.fixture
def proxy(port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[s3.Proxy]:
    """A proxy to the server, which has an empty bucket."""
    from botocore.loaders import create_loader

    s3.fresh_bucket(port, "stage")
    # Each push makes a client, which reads botocore's models again. Without this cache, that is two thirds of the time.
    monkeypatch.setattr("botocore.session.create_loader", functools.cache(create_loader))
    between = s3.Proxy(port)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{between.port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "KITTEN_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    yield between
    between.close()


@pytest.fixture
def make(tmp_path: Path, make_rpms: RpmFactory, key_home: Path) -> Make:
    """A function (number, version …) → a signed publication of two repositories, each with one package."""

    def publication(
        number: int, version: str, publisher: str = "ours@here", retired: tuple[str, ...] = ()
    ) -> Publication:
        rpms = [
            path for path in make_rpms("x86_64", version) if "debuginfo" not in path.name and ".src." not in path.name
        ]
        files, repositories = {}, {}
        with signer(key_home, "Tests") as key:
            local = tmp_path / f"signed-{version}"
            if not local.is_dir():
                local.mkdir()
                key.sign_packages([Path(shutil.copy(rpm, local)) for rpm in rpms])
            for repository, word in ((BASE, "libs"), (APPS, "doc")):
                folder = tmp_path / f"{number}-{version}" / repository
                folder.mkdir(parents=True)
                rpm = next(path for path in local.iterdir() if word in path.name)
                write_index(folder, [index.describe(rpm, f"Packages/t/{rpm.name}")], 1_000_000 + number)
                key.sign_detached(folder / "repodata" / "repomd.xml")
                repositories[repository] = folder / "repodata"
                content = hashlib.sha256(rpm.read_bytes()).hexdigest()
                files[f"{repository}/Packages/t/{rpm.name}"] = File(rpm, content, number)
        made = "2026-01-01T00:00:00Z"
        return Publication(number, made, publisher, repositories, files, frozenset(retired))

    return publication


def content(port: int, name: str) -> bytes | None:
    return s3.request(port, "GET", f"/stage/p/{name}")


def shown_index(port: int, tmp_path: Path, key_home: Path, repository: str) -> str | None:
    """Return the checksum of the index that users see, after all files that a client reads of it were checked.

    It is "unsigned" if the signature is that of another index.
    """
    repomd = content(port, f"{repository}/repodata/repomd.xml")
    if repomd is None:
        return None
    folder = tmp_path / "seen"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "repodata").mkdir(parents=True)
    (folder / "repodata/repomd.xml").write_bytes(repomd)
    (folder / "repodata/repomd.xml.asc").write_bytes(content(port, f"{repository}/repodata/repomd.xml.asc") or b"")
    words = ["gpg", "--homedir", str(key_home), "--batch", "--no-autostart", "--status-fd", "1", "--verify"]
    files = [str(folder / "repodata" / name) for name in ("repomd.xml.asc", "repomd.xml")]
    output = subprocess.run([*words, *files], capture_output=True, text=True, check=False).stdout
    assert "GOODSIG" in output or "BADSIG" in output, output
    for name in index.data_files(folder):
        if name.startswith("repomd.xml"):
            continue
        data = content(port, f"{repository}/repodata/{name}")
        assert data is not None, f"{name} is named and missing"
        assert hashlib.sha256(data).hexdigest() in name
        (folder / "repodata" / name).write_bytes(data)
    for package in index.load(folder):
        data = content(port, f"{repository}/{package.location_href}")
        assert data is not None, f"{package.location_href} is named and missing"
        assert hashlib.sha256(data).hexdigest() == package.pkgId
    return "unsigned" if "BADSIG" in output else hashlib.sha256(repomd).hexdigest()


def expected(publication: Publication, repository: str) -> str:
    return hashlib.sha256((publication.repositories[repository] / "repomd.xml").read_bytes()).hexdigest()


def go(publication: Publication, **more: object) -> str:
    return str(push(publication, "s3://stage/p", **{"attempts": 2, **more}))  # type: ignore[arg-type]


def failed(work: Callable[[], object]) -> CannotRun | None:
    try:
        work()
    except CannotRun as error:
        return error
    return None
