"""A small site with one package, its dist-git repository, its tarball, and a cache that only the test uses."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from config.loading import FOLDER, load_site
from config.models import Site
from workers.base import cache

SPEC = """\
Name:           hello
Version:        1
Release:        1%{?dist}
Summary:        A greeting
License:        0BSD
Source0:        hello-1.tar
BuildRequires:  make
BuildArch:      noarch

%description
A greeting.

%prep
%autosetup

%install
install -D hello %{buildroot}%{_bindir}/hello

%files
%{_bindir}/hello

%changelog
* Mon Jun 02 2025 kitten-ci demo <demo@localhost> - 1-1
- First
"""


def tarball() -> bytes:
    """Return hello-1.tar, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        content = b"#!/bin/sh\necho hello\n"
        entry = tarfile.TarInfo("hello-1/hello")
        entry.size, entry.mode = len(content), 0o755
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test its own cache; only the sandbox trees are the user's."""
    trees = cache.root() / "trees"
    trees.mkdir(parents=True, exist_ok=True)
    own = tmp_path / "cache"
    own.mkdir()
    (own / "trees").symlink_to(trees)
    monkeypatch.setenv("KITTEN_CACHE", str(own))
    return own


@dataclass
class Repository:
    """A package's dist-git repository, and the folder that its commits are made from."""

    path: Path
    folder: Path

    def git(self, *words: str) -> str:
        command = ["git", f"--git-dir={self.path}", f"--work-tree={self.folder}", *words]
        names = {f"GIT_{role}_{key}": "test" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **names}
        ).stdout.strip()

    def commit(self, message: str = "change", branch: str = "c10s") -> str:
        self.git("add", "--all", "--force")
        self.git("commit", "--allow-empty", "-m", message)
        self.git("update-ref", f"refs/heads/{branch}", "HEAD")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make hello's repository with one commit on c10s."""
    path, folder = tmp_path / "dist-git" / "hello.git", tmp_path / "work"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", "-b", "c10s", path], check=True)
    (folder / "hello.spec").write_text(SPEC)
    (folder / "sources").write_text(f"SHA512 (hello-1.tar) = {hashlib.sha512(tarball()).hexdigest()}\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "smoke.sh").write_text("#!/bin/sh\necho 1..1\necho ok 1 - hello\n")
    result = Repository(path, folder)
    result.commit("first")
    return result


@dataclass
class Place:
    """A site's folder on disk, whose sources.yaml a test may rewrite."""

    folder: Path
    state: Path
    lookaside: list[dict[str, str]] = field(default_factory=list)

    def load(self) -> Site:
        distgit = self.state.parent / "dist-git"
        sources = {"dist_git": f"{distgit}/{{package}}.git", "branches": ["a10s", "c10s"], "lookaside": self.lookaside}
        (self.folder / "sources.yaml").write_text(yaml.safe_dump(sources))
        return load_site(str(self.folder))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Make a site like the demo with one package, hello, and a folder as its lookaside."""
    folder = tmp_path / "config" / "small"
    folder.mkdir(parents=True)
    (tmp_path / "config" / "kitten-10").symlink_to(FOLDER / "kitten-10")
    for file in (FOLDER / "demo").glob("*.yaml"):
        if file.name != "groups.yaml":  # they name the demo's packages
            shutil.copy(file, folder)
    (folder / "packages").mkdir()
    (folder / "packages" / "hello.yaml").write_text("name: hello\nbinaries: [hello]\n")
    (tmp_path / "lookaside").mkdir()
    (tmp_path / "lookaside" / "hello-1.tar").write_bytes(tarball())
    result = Place(folder, tmp_path / "state", [{"kind": "folder", "location": str(tmp_path / "lookaside")}])
    result.load()
    return result


@dataclass
class Server:
    """A lookaside on the loopback interface; ``answer`` handles each request."""

    url: str
    asked: list[str] = field(default_factory=list)
    answer: Callable[[http.server.BaseHTTPRequestHandler], None] = lambda handler: handler.send_error(404)


def whole(content: bytes) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Return an answer that sends the content."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a local HTTP server. It has no file until a test sets its answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            result.asked.append(self.path)
            result.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    result = Server(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield result
    listening.shutdown()
    listening.server_close()
