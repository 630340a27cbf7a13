"""Pushes to a real S3 server: each repository is complete at every moment, also after kills, cuts and refusals."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.mirrors import s3
from tests.workers.publishing import BuildFactory, RpmFactory, write_index
from workers.base import namespace
from workers.base.errors import CannotRun
from workers.mirrors.bucket import Bucket
from workers.mirrors.mark import BucketMark
from workers.mirrors.publication import File, Publication
from workers.mirrors.remote import publisher_of, push
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.repository import index
from workers.repository.state import published
from workers.signing.sign import signer

pytestmark = pytest.mark.slow

pytest.importorskip("moto", reason="moto is not installed: pip install 'moto[s3,server]'")

BASE, APPS = "10-kitten/BaseOS/x86_64/os", "10-kitten/AppStream/x86_64/os"
Make = Callable[..., Publication]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
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


def test_the_publisher_is_a_folder_on_one_host(tmp_path: Path) -> None:
    first = publisher_of(tmp_path)
    assert publisher_of(tmp_path) == first
    other = tmp_path / "other"
    other.mkdir()
    assert publisher_of(other) != first


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
