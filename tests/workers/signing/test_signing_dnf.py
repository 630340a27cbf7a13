"""dnf, with both signature checks on, reads what tokens and rotated keys signed, also during a publication."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.models import Signing
from tests.workers.publishing import RpmFactory, write_index
from tests.workers.signing.conftest import MadeKey, secret_file
from tests.workers.signing.test_sign import copies
from tests.workers.signing.test_signing_token import new_token, ready, section
from workers.base import namespace
from workers.base.run import Completed, run
from workers.repository import index
from workers.signing.sign import signer_of

__all__ = ["new_token", "ready", "section"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dnf") is None, reason="dnf is not installed: apt-get install dnf"),
]


@dataclass
class Client:
    """dnf with its own cache and root."""

    folder: Path
    served: str
    key: str = ""
    """Address of the public keys, if they are not beside the index."""

    def dnf(self, *words: str) -> Completed:
        (self.folder / "log").mkdir(exist_ok=True)
        (self.folder / "dnf.conf").write_text("[main]\n")
        options = {"cachedir": "cache", "persistdir": "persist", "logdir": "log", "reposdir": "none"}
        settings = {name: str(self.folder / place) for name, place in options.items()}
        settings |= {
            "tsflags": "noscripts",
            "x.gpgcheck": "1",
            "x.repo_gpgcheck": "1",
            "x.gpgkey": self.key or f"{self.served}/KEY",
        }
        command = [*namespace.as_root(), "dnf", "--assumeyes", "--noplugins", "--releasever", "10"]
        command += ["--config", str(self.folder / "dnf.conf")]
        command += ["--forcearch", "aarch64", "--installroot", str(self.folder / "root"), "--refresh"]
        command += [
            "--repofrompath",
            f"x,{self.served}/",
            *(f"--setopt={name}={value}" for name, value in settings.items()),
        ]
        environment = {**os.environ, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        return run([*command, *words], env=environment, check=False, timeout=300)


@dataclass
class Server:
    """A folder served by HTTP; the first ``stale`` readers of the file ``name`` get its earlier content."""

    folder: Path
    earlier: bytes = b""
    name: str = "repomd.xml"
    stale: int = 0
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    served = Server(tmp_path / "served")
    served.folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: object, **keys: object) -> None:
            super().__init__(*words, directory=str(served.folder), **keys)  # type: ignore[arg-type]

        def do_GET(self) -> None:
            served.asked.append(self.path.rsplit("/", 1)[-1])
            if served.asked[-1] == served.name and served.asked.count(served.name) <= served.stale:
                self.send_response(200)
                self.send_header("Content-Length", str(len(served.earlier)))
                self.end_headers()
                self.wfile.write(served.earlier)
            else:
                super().do_GET()

        def log_message(self, *words: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    served.url = f"http://127.0.0.1:{listening.server_port}"
    yield served
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def client(tmp_path: Path, server: Server) -> Client:
    (tmp_path / "client").mkdir()
    return Client(tmp_path / "client", server.url)


def publish(folder: Path, state: Path, signing: Signing, rpms: list[Path], now: int = 1) -> Path:
    """Sign the packages, write and sign the index, put the keys beside it; return the path of repomd.xml."""
    with signer_of(signing, state, "Tests") as key:
        key.sign_packages(rpms)
        listed = [index.describe(rpm, rpm.name) for rpm in sorted(folder.glob("*.rpm"))]
        repomd = write_index(folder, listed, now)
        key.sign_detached(repomd)
        (folder / "KEY").write_text(key.public_key)
    return repomd


def installed(client: Client) -> list[str]:
    query = [
        *namespace.as_root(),
        "rpm",
        "--root",
        str(client.folder / "root"),
        "--query",
        "--all",
        "--queryformat",
        "%{NAME}\n",
    ]
    return sorted(run(query, env={**os.environ, "HOME": str(client.folder)}).output.split())


def rpms_named(rpms: tuple[Path, ...], *names: str) -> tuple[Path, ...]:
    return tuple(rpm for rpm in rpms if rpm.name.rsplit("-", 2)[0] in names)


def test_a_package_signed_by_a_token_is_installed(
    ready: Signing, tmp_path: Path, make_rpms: RpmFactory, server: Server, client: Client
) -> None:
    rpms = copies(rpms_named(make_rpms("aarch64"), "tiny-libs"), server.folder)
    publish(server.folder, tmp_path, ready, rpms)
    done = client.dnf("install", "tiny-libs")
    assert done.status == 0, done.output
    assert "tiny-libs" in installed(client)


def test_after_a_rotation_packages_of_both_keys_are_installed(
    tmp_path: Path, make_rpms: RpmFactory, make_key: Callable[..., MadeKey], server: Server, client: Client
) -> None:
    old, new = make_key("old"), make_key("new")
    rpms = make_rpms("aarch64")
    before = Signing(secret=secret_file(tmp_path, old.secret, "old"))
    publish(server.folder, tmp_path, before, copies(rpms_named(rpms, "tiny-libs"), server.folder))
    done = client.dnf("install", "tiny-libs")  # a client that knows the old key alone
    assert done.status == 0, done.output
    rotated = Signing(
        key=new.fingerprint,
        earlier=(old.fingerprint,),
        secret=secret_file(tmp_path, new.secret, "new"),
        public_keys=(old.public,),
    )
    publish(server.folder, tmp_path, rotated, copies(rpms_named(rpms, "tiny-doc"), server.folder), 2)
    done = client.dnf("install", "tiny-doc")
    assert done.status == 0, done.output
    fresh = Client(tmp_path / "fresh", server.url)
    fresh.folder.mkdir()
    done = fresh.dnf("install", "tiny-doc")
    assert done.status == 0, done.output
    names = installed(fresh)
    assert {"tiny-doc", "tiny-libs"} <= set(names)
    assert names.count("gpg-pubkey") == 2


@pytest.mark.parametrize("stale", ["repomd.xml", "repomd.xml.asc"])
def test_dnf_recovers_from_a_publication_between_index_and_signature(
    tmp_path: Path, make_rpms: RpmFactory, make_key: Callable[..., MadeKey], server: Server, client: Client, stale: str
) -> None:
    """The reader may have the earlier version of either file."""
    signing = Signing(secret=secret_file(tmp_path, make_key("one").secret))
    rpms = copies(rpms_named(make_rpms("aarch64"), "tiny-libs"), server.folder)
    server.earlier = publish(server.folder, tmp_path, signing, rpms).with_name(stale).read_bytes()
    assert client.dnf("makecache").status == 0
    publish(server.folder, tmp_path, signing, [], 2)
    server.asked.clear()
    server.name, server.stale = stale, 1
    done = client.dnf("makecache")
    assert done.status == 0, done.output
    assert server.asked[:5] == ["repomd.xml", "repomd.xml.asc", "KEY", "repomd.xml", "repomd.xml.asc"]


def test_dnf_refuses_an_index_that_never_matches_its_signature(
    tmp_path: Path, make_rpms: RpmFactory, make_key: Callable[..., MadeKey], server: Server, client: Client
) -> None:
    signing = Signing(secret=secret_file(tmp_path, make_key("one").secret))
    rpms = copies(rpms_named(make_rpms("aarch64"), "tiny-libs"), server.folder)
    server.earlier = publish(server.folder, tmp_path, signing, rpms).read_bytes()
    publish(server.folder, tmp_path, signing, [], 2)
    server.stale = 100
    done = client.dnf("makecache")
    assert done.status != 0
    assert "repomd.xml GPG signature verification error: Bad GPG signature" in done.output
