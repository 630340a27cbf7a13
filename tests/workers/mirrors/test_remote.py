"""Pushes to a real S3 server: what they upload, keep and delete, and what users of the bucket see."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.mirrors import s3
from tests.workers.mirrors.pushes import APPS, BASE, Make, content, expected, go, shown_index
from tests.workers.publishing import BuildFactory
from workers.base import namespace
from workers.base.errors import CannotRun
from workers.mirrors.bucket import Bucket
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.repository.state import published
from workers.signing.sign import signer

pytestmark = pytest.mark.slow


def test_a_second_push_has_nothing_to_do(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    one = make(1, "1")
    assert go(one).startswith("publication 1: 8 objects (")
    assert [shown_index(port, tmp_path, key_home, r) for r in (BASE, APPS)] == [expected(one, r) for r in (BASE, APPS)]
    mark = json.loads(content(port, "publication.json") or b"")
    assert (mark["number"], mark["publisher"], mark["pushing"]) == (1, "ours@here", None)
    assert mark["repositories"][BASE]["repomd_sha256"] == expected(one, BASE)
    before = len(proxy.paths)
    assert go(one) == "publication 1 is there already; 0 objects deleted"
    assert len(proxy.paths) - before == 1


def test_packages_come_first_and_providers_are_switched_first(proxy: s3.Proxy, make: Make) -> None:
    go(make(1, "1"))
    puts = [path.split("?")[0].removeprefix("/stage/p/") for path in proxy.paths]
    last = {name: len(puts) - puts[::-1].index(name) for name in puts}
    packages = max(at for name, at in last.items() if name.endswith(".rpm"))
    metadata = max(at for name, at in last.items() if "-primary" in name or "-filelists" in name or "-other" in name)
    switches = [last[f"{r}/repodata/repomd.xml"] for r in (BASE, APPS)]
    assert packages < metadata < switches[0] < switches[1] < last["publication.json"]


def test_objects_have_content_type_and_cache_headers(port: int, proxy: s3.Proxy, make: Make) -> None:
    import urllib.request

    go(make(1, "1"))
    kinds = {}
    for name in (f"{BASE}/repodata/repomd.xml", f"{BASE}/repodata/repomd.xml.asc", "publication.json"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stage/p/{name}") as answer:
            kinds[name.rpartition("/")[2]] = (answer.headers["Content-Type"], answer.headers["Cache-Control"])
    assert kinds == {
        "repomd.xml": ("application/xml", "no-cache"),
        "repomd.xml.asc": ("application/pgp-signature", "no-cache"),
        "publication.json": ("application/json", "no-cache"),
    }


def test_files_that_no_index_names_stay_for_their_time(port: int, proxy: s3.Proxy, make: Make) -> None:
    one = make(1, "1")
    go(one, now=lambda: 1000.0)
    old = [*one.files, *(f"{BASE}/repodata/{f.name}" for f in one.repositories[BASE].iterdir() if "-primary" in f.name)]
    two = make(2, "2", retired=tuple(one.files))
    go(two, now=lambda: 2000.0, keep=3600)
    assert go(two, now=lambda: 5599.0, keep=3600) == "publication 2 is there already; 0 objects deleted"
    assert all(content(port, name) is not None for name in old)
    assert go(two, now=lambda: 5600.0, keep=3600) == "publication 2 is there already; 8 objects deleted"
    assert [name for name in old if content(port, name) is not None] == []
    assert all(content(port, name) is not None for name in two.files)


def test_verify_restores_missing_files_and_removes_strays(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    one = make(1, "1")
    go(one, now=lambda: 1000.0)
    bucket, lost = Bucket("s3://stage/p"), next(iter(one.files))
    bucket.delete([lost])
    bucket.put(f"{BASE}/Packages/t/stray.rpm", b"x", "application/x-rpm")
    bucket.put("index.html", b"not ours", "text/html")
    assert go(one, now=lambda: 2000.0, verify=True).startswith("publication 1: 1 objects (")
    assert shown_index(port, tmp_path, key_home, BASE) == expected(one, BASE)
    assert go(one, now=lambda: 99_000.0) == "publication 1 is there already; 1 objects deleted"
    assert content(port, f"{BASE}/Packages/t/stray.rpm") is None
    assert content(port, "index.html") == b"not ours"


def test_a_rollback_keeps_the_files_that_it_names_again(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    one, two = make(1, "1"), make(2, "2", retired=tuple(make(9, "1").files))
    go(one, now=lambda: 1000.0)
    go(two, now=lambda: 2000.0)
    back = make(3, "1", retired=tuple(two.files))
    go(back, now=lambda: 99_000.0)
    go(back, now=lambda: 999_000.0)
    assert shown_index(port, tmp_path, key_home, BASE) == expected(back, BASE)
    assert [name for name in two.files if content(port, name) is not None] == []


def test_a_package_changed_on_the_disk_never_reaches_users(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path
) -> None:
    one = make(1, "1")
    name, file = next(iter(one.files.items()))
    bad = tmp_path / "bad.rpm"
    bad.write_bytes(file.local.read_bytes() + b"x")
    with pytest.raises(CannotRun, match=r"bad\.rpm is not what was published: SHA-256 "):
        go(replace(one, files={**one.files, name: replace(file, local=bad)}))
    assert content(port, f"{BASE}/repodata/repomd.xml") is None


def test_a_large_file_is_uploaded_in_parts_with_its_checksum(port: int, proxy: s3.Proxy, tmp_path: Path) -> None:
    path = tmp_path / "large.rpm"
    path.write_bytes(bytes(range(256)) * (40 << 12))  # 40 MiB: three parts
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    Bucket("s3://stage/p", attempts=2).upload("large.rpm", path, sha256, "application/x-rpm")
    assert any("partNumber=3" in asked for asked in proxy.paths)
    assert Bucket("s3://stage/p").checksum("large.rpm") == sha256
    assert hashlib.sha256(content(port, "large.rpm") or b"").hexdigest() == sha256


@pytest.mark.skipif(shutil.which("dnf") is None, reason="dnf is not installed")
def test_dnf_installs_from_the_bucket_with_both_checks(
    port: int, proxy: s3.Proxy, make: Make, tmp_path: Path, key_home: Path
) -> None:
    go(make(1, "1"))
    with signer(key_home, "Tests") as key:
        (tmp_path / "key").write_text(key.public_key)
    repositories = tmp_path / "repositories"
    repositories.mkdir()
    for repository in (BASE, APPS):
        name = repository.split("/")[1]
        url = f"http://127.0.0.1:{port}/stage/p/{repository}/"
        checks = f"gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://{tmp_path}/key\n"
        (repositories / f"{name}.repo").write_text(f"[{name}]\nname={name}\nbaseurl={url}\n{checks}")
    (tmp_path / "dnf.conf").write_text("[main]\n")
    (tmp_path / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
    places = {"reposdir": repositories, "cachedir": tmp_path / "c", "persistdir": tmp_path / "d", "logdir": tmp_path}
    options = [f"--setopt={name}={path}" for name, path in places.items()]
    words = [*namespace.as_root(), "dnf", "-y", "--config", str(tmp_path / "dnf.conf")]
    words += ["--installroot", str(tmp_path / "root"), *options]
    words += ["--releasever", "10", "--forcearch", "x86_64", "install", "tiny-doc"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "root/usr/share/tiny/doc").is_file()
    assert (tmp_path / "root/usr/share/tiny/libs").is_file()


def test_publications_and_rollbacks_of_a_stage_reach_its_bucket(
    port: int, proxy: s3.Proxy, site: Site, state: Path, make_build: BuildFactory
) -> None:
    stages = tuple(s.model_copy(update={"bucket": "s3://stage/p"}) if s.signed else s for s in site.stages)
    site = site.model_copy(update={"stages": stages})

    def same() -> bool:
        root = state / "published"
        files = [*root.glob("10-kitten/*/*/*/repodata/repomd.xml*"), *root.glob("RPM-GPG-KEY-*")]
        assert len(files) > 2
        return all(content(port, str(file.relative_to(root))) == file.read_bytes() for file in files)

    publish(site, state, "aarch64", str(make_build()))
    assert same()
    package = "10-kitten/BaseOS/aarch64/os/Packages/t/tiny-libs-1-1.el10.aarch64.rpm"
    assert content(port, package) == (state / "published" / package).read_bytes()
    publish(site, state, "aarch64", str(make_build(version="2")))
    assert same()
    rollback(site, state)
    assert same()
    proxy.close()
    with pytest.raises(CannotRun):
        publish(site, state, "aarch64", str(make_build(version="3")))
    assert published(site, state)["tiny", "aarch64"].nevr == "tiny-3-1.el10", "users of the folder have it all the same"
