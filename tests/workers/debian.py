"""A small Debian archive for tests: packages by dpkg-deb, indexes with by-hash, a Release signed with a test key."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.workers.mirror import Mirror, serving
from workers.base.run import run
from workers.sandbox.apt import wait_budget

ARCHITECTURE = "s390x"
_DATE = "%a, %d %b %Y %H:%M:%S UTC"


@dataclass(frozen=True)
class Key:
    """An OpenPGP key: its GnuPG home, and its public key in a file for apt."""

    home: Path
    public: Path


@contextlib.contextmanager
def key(name: str) -> Iterator[Key]:
    """Make a key for a ``with`` block."""
    home = Path(tempfile.mkdtemp(prefix="kitten-"))  # the sockets in it must have short names
    gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
    try:
        run([*gpg, "--quick-generate-key", name, "rsa2048", "sign", "never"])
        public = home / "public.gpg"
        run([*gpg, "--output", public, "--export"])
        yield Key(home, public)
    finally:
        run(["gpgconf", "--homedir", home, "--kill", "all"])
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Archive:
    """The folder of an archive, which a mirror serves."""

    folder: Path
    key: Key
    architecture: str = ARCHITECTURE
    sources: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Source package and version → its files, by name."""

    def package(
        self, name: str, version: str, depends: str = "", *, conflicts: str = "", postinst: str = "", program: str = ""
    ) -> Path:
        """Put a package into the pool; other versions stay there.

        :param postinst: shell commands that dpkg runs when it is installed.
        :param program: path of a program that prints name and version, in place of the file /usr/share/NAME/version.
        """
        tree = self.folder.parent / "trees" / f"{name}-{version}"
        shutil.rmtree(tree, ignore_errors=True)
        (tree / "DEBIAN").mkdir(parents=True)
        file = tree / (program or f"usr/share/{name}/version").lstrip("/")
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\necho {name} {version}\n" if program else version)
        file.chmod(0o755)
        if postinst:
            (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\nset -e\n{postinst}\n")
            (tree / "DEBIAN/postinst").chmod(0o755)
        fields = {
            "Package": name,
            "Version": version,
            "Architecture": self.architecture,
            "Maintainer": "kitten-ci <kitten@localhost>",
            **({"Depends": depends} if depends else {}),
            **({"Conflicts": conflicts} if conflicts else {}),
            "Description": name,
        }
        (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
        path = self.folder / "pool/main" / f"{name}_{version}_{self.architecture}.deb"
        path.parent.mkdir(parents=True, exist_ok=True)
        run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, path])
        return path

    def release(
        self,
        *names: str,
        codename: str = "trixie",
        packages: list[Path],
        valid_days: float | None = None,
        key: Key | None = None,
        signed: bool = True,
        date: datetime | None = None,
    ) -> None:
        """Write indexes of these packages, and a Release, under each name."""
        binary = "".join(f"{self._stanza(path)}\n" for path in packages).encode()
        indexes = {f"main/binary-{self.architecture}/Packages": binary, "main/source/Sources": self._sources().encode()}
        files = {f"{name}.xz": lzma.compress(data) for name, data in indexes.items()}
        now = date or datetime.now(UTC)
        fields = {
            "Origin": "Debian",
            "Label": "Debian",
            "Suite": "stable",
            "Codename": codename,
            "Date": f"{now:{_DATE}}",
            **({"Valid-Until": f"{now + timedelta(days=valid_days):{_DATE}}"} if valid_days is not None else {}),
            "Acquire-By-Hash": "yes",
            "Architectures": self.architecture,
            "Components": "main",
        }
        sums = "".join(
            f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in {**indexes, **files}.items()
        )
        text = "".join(f"{key}: {value}\n" for key, value in fields.items()) + f"SHA256:\n{sums}"
        for name in names:
            suite = self.folder / "dists" / name
            for file, data in files.items():
                by_hash = suite / Path(file).parent / "by-hash/SHA256" / hashlib.sha256(data).hexdigest()
                by_hash.parent.mkdir(parents=True, exist_ok=True)
                by_hash.write_bytes(data)
                (suite / file).write_bytes(data)
            (suite / "InRelease").unlink(missing_ok=True)
            (suite / "Release").write_text(text)
        if signed:
            self._sign([self.folder / "dists" / name for name in names], key or self.key)

    def _sign(self, suites: Sequence[Path], key: Key) -> None:
        """Sign the first Release and copy the signature to all: a signature of another second would be another file."""
        gpg = ["gpg", "--homedir", key.home, "--batch", "--quiet", "--passphrase", "", "--digest-algo", "SHA256"]
        run([*gpg, "--output", suites[0] / "InRelease", "--clearsign", suites[0] / "Release"])
        for suite in suites[1:]:
            shutil.copy(suites[0] / "InRelease", suite / "InRelease")

    def _stanza(self, path: Path) -> str:
        data = path.read_bytes()
        control = run(["dpkg-deb", "--field", path]).output
        where = path.relative_to(self.folder)
        return f"{control}Filename: {where}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"

    def source(self, name: str, version: str, files: Mapping[str, bytes]) -> None:
        """Put a source package into the pool and into the releases that are written later."""
        self.sources[f"{name} {version}"] = files
        for file, data in files.items():
            path = self.folder / "pool/main" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def _sources(self) -> str:
        text = ""
        for package, files in self.sources.items():
            name, version = package.split()
            sums = {
                "Files": "".join(
                    f"\n {hashlib.md5(d, usedforsecurity=False).hexdigest()} {len(d)} {f}" for f, d in files.items()
                ),
                "Checksums-Sha256": "".join(
                    f"\n {hashlib.sha256(d).hexdigest()} {len(d)} {f}" for f, d in files.items()
                ),
            }
            text += f"Package: {name}\nBinary: {name}\nVersion: {version}\nArchitecture: any\nFormat: 1.0\n"
            text += f"Directory: pool/main\nFiles:{sums['Files']}\nChecksums-Sha256:{sums['Checksums-Sha256']}\n\n"
        return text


@dataclass
class Debian:
    """An archive, the mirror that serves it, and a host that uses the mirror."""

    archive: Archive
    mirror: Mirror
    cache: Path
    other_key: Key
    """A key that the host does not know."""
    host: Path

    def configure(self, text: str) -> None:
        """Replace the host's own apt.conf."""
        self.host.write_text(f'Dir::Etc::parts "/dev/null";\nDir::Etc::main "/dev/null";\n{text}')

    def age(self, days: float) -> None:
        """Change the times of this host's lists as if they were downloaded some days ago."""
        for path in (*self.cache.glob("apt/*/*/name-*"), *self.cache.glob("apt/*/*/lists-*/*ed")):
            then = path.stat().st_mtime - days * 24 * 3600
            os.utime(path, (then, then))
        for path in self.cache.glob("apt/*/*/preferred"):
            path.unlink()


@pytest.fixture(scope="session")
def archive_keys() -> Iterator[tuple[Key, Key]]:
    """The key of the archive, and another key."""
    with key("kitten-ci test archive") as ours, key("another archive") as other:
        yield ours, other


@pytest.fixture
def debian(archive_keys: tuple[Key, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Debian]:
    """A mirror of a small archive, which this host uses in place of Debian's, without waits."""
    archive = Archive(tmp_path / "debian", archive_keys[0])
    archive.folder.mkdir()
    with serving(archive.folder) as mirror:
        debian = Debian(archive, mirror, tmp_path / "kitten-cache", archive_keys[1], tmp_path / "host.conf")
        debian.configure("")
        for name, value in {
            "APT_CONFIG": debian.host,
            "KITTEN_CACHE": debian.cache,
            "KITTEN_DEBIAN_MIRROR": mirror.url,
            "KITTEN_DEBIAN_KEYRING": archive.key.public,
            "KITTEN_MIRROR_TIMEOUT": 1,
            "KITTEN_MIRROR_WAIT": 0,
        }.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(wait_budget, "waited", 0.0)
        yield debian
