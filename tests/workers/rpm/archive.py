"""A Debian archive of the tests' own: real packages, a signed index, served over HTTP."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from workers.rpm.tree import native_arch
from workers.run import run


class Archive:
    """A folder that a mirror would have; nothing added is visible before ``publish``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "debian"
        self.key = folder / "key.gpg"
        (self.root / "pool").mkdir(parents=True)
        # Not below the test's folder: a socket's path has 107 bytes at most (unix(7)).
        self._home = tempfile.mkdtemp(prefix="archive-")
        self._gpg("--quick-gen-key", "--passphrase", "", "archive@localhost", "ed25519", "sign", "never")
        self._gpg("--export", "--output", str(self.key))
        self._stanzas: dict[str, str] = {}

    def close(self) -> None:
        """End gpg's agent and forget the key."""
        run(["gpgconf", "--homedir", self._home, "--kill", "gpg-agent"])
        shutil.rmtree(self._home, ignore_errors=True)

    def _gpg(self, *arguments: str) -> None:
        run(["gpg", "--batch", "--yes", "--quiet", "--homedir", self._home, *arguments])

    def add(self, name: str, version: str = "100", *, control: str = "", postinst: str = "", file: str = "") -> None:
        """Make a package, or another version of it.

        :param control: further lines of its control file.
        :param postinst: shell commands that dpkg runs when it is installed.
        :param file: path of the one file it brings, a program that prints name and version; none: /usr/share/NAME.
        """
        at = self.folder / "packing" / f"{name}_{version}"
        path = at / (file or f"usr/share/{name}").lstrip("/")
        (at / "DEBIAN").mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {name} {version}\n")
        path.chmod(0o755)
        fields = f"Package: {name}\nVersion: {version}\nArchitecture: {native_arch()}\nMaintainer: Test <t@localhost>\n"
        fields += f"{control}\n" if control else ""
        (at / "DEBIAN/control").write_text(fields + "Description: of the tests\n")
        if postinst:
            (at / "DEBIAN/postinst").write_text(f"#!/bin/sh\nset -e\n{postinst}\n")
            (at / "DEBIAN/postinst").chmod(0o755)
        deb = self.deb(name, version)
        run(["dpkg-deb", "--build", "--root-owner-group", at, deb])
        data = deb.read_bytes()
        fields += f"Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        self._stanzas[name] = fields + "Description: of the tests\n"

    def deb(self, name: str, version: str = "100") -> Path:
        """The file of a package in the pool."""
        return self.root / "pool" / f"{name}_{version}_{native_arch()}.deb"

    def publish(self, suite: str, codename: str) -> None:
        """Write and sign the index of a suite: all packages that were added so far."""
        at = self.root / "dists" / suite
        index = at / f"main/binary-{native_arch()}/Packages"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text("\n".join(self._stanzas.values()))
        data = index.read_bytes()
        (at / "Release").write_text(
            f"Origin: Debian\nLabel: Debian\nSuite: {suite}\nCodename: {codename}\nArchitectures: {native_arch()}\n"
            f"Components: main\nDate: Mon, 02 Jun 2025 00:00:00 UTC\nSHA256:\n"
            f" {hashlib.sha256(data).hexdigest()} {len(data)} {index.relative_to(at)}\n"
        )
        self._gpg("--clearsign", "--output", str(at / "InRelease"), str(at / "Release"))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        """Print nothing."""


@contextmanager
def served(archive: Archive) -> Iterator[str]:
    """Address of the archive for the length of a block, with which it closes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(archive.folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/debian"
    finally:
        server.shutdown()
        server.server_close()
        archive.close()
