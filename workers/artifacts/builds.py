"""Read a build that ``kitten build`` made: build.json, the proofs beside it, and its packages, by fsspec URL.

build.json is input from another machine. This module refuses a file name in it that is a path, and a file with another
checksum, before any other code reads them.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from config.nevra import Nevra
from workers.artifacts.artifact_store import read_result
from workers.base.errors import CannotRun
from workers.base.files import blocks_of, write_blocks
from workers.formats import rpm_file
from workers.results import Artifact, BuildResult, Result, TestResult, VerifyResult

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^-]*\.rpm")
_OWN_LINKS = 2
"""Links of a file that only the build's folder and our folder have."""
_CHECKSUM = re.compile(r"[0-9a-f]{64}")
_Result = TypeVar("_Result", bound=Result)


@dataclass(frozen=True)
class Build:
    """One build with its results."""

    url: str
    result: BuildResult
    verify: VerifyResult | None
    test: TestResult | None

    def fetch(self, artifact: Artifact, into: Path, *, link: bool = False) -> Path:
        """Bring a package into a folder and return its path.

        :param link: make a hard link if the build is on the same file system and no other link to the file exists. Then
            the caller must not change the file, and verifies the checksum itself. Otherwise the file is copied, and the
            checksum verified here.
        :raises CannotRun: if the file is missing, is not what build.json says, or is not a package that we read
            (:mod:`workers.formats.rpm_file`).
        """
        path = into / artifact.name
        if not (link and self._link(artifact, path)):
            self._copy(artifact, path)
        try:
            rpm_file.require_unsigned_package(path)
        except CannotRun:
            path.unlink()
            raise
        return path

    def _link(self, artifact: Artifact, path: Path) -> bool:
        """Make a hard link; return False if that is not possible or not safe."""
        try:
            os.link(_local(f"{self.url}/{artifact.name}"), path, follow_symlinks=False)
        except OSError:  # remote, or another file system
            return False
        status = path.lstat()
        # Through a third link, wherever it is, the content could change; a symbolic link points to another file.
        if stat.S_ISREG(status.st_mode) and status.st_nlink == _OWN_LINKS:
            return True
        path.unlink()
        return False

    def _copy(self, artifact: Artifact, path: Path) -> None:
        beside = f"{self.url}/{artifact.name}"
        with self._open(beside, artifact.url) as source:
            actual = write_blocks(blocks_of(source), path)
        if actual != artifact.sha256:
            path.unlink()
            raise CannotRun(
                f"{beside} is not what build.json says: SHA-256 {actual}, expected {artifact.sha256}",
                "the artifact was changed or cut short; build it again",
            )

    def _open(self, beside: str, named: str) -> IO[bytes]:
        """Open the file beside build.json or, for a source package, the one that build.json names in the same store."""
        import fsspec

        for url in dict.fromkeys((beside, named)):
            if not url or _store_of(url) != _store_of(self.url):
                continue
            try:
                if "://" not in url or url.startswith("file://"):
                    return _open_plain(_local(url))
                stream: IO[bytes] = fsspec.open(url, "rb").open()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise CannotRun(
                    f"cannot read {url}: {error.strerror or error}", "check it, or build it again"
                ) from None
            return stream
        raise CannotRun(f"{beside} is missing", "the build's folder is incomplete; build it again")


def open_build(url: str, state: Path) -> Build:
    """Read a build's results.

    :param url: fsspec URL or path of the folder; a relative path starts at the working folder or the state folder.
    :raises CannotRun: if the folder has no build, its result has another version, or a file name in it is a path.
    """
    if "://" not in url and not Path(url).is_absolute():
        url = str(Path(url).absolute()) if Path(url, "build.json").is_file() else str(state.absolute() / url)
    url = url.rstrip("/")
    result = read_result(f"{url}/build.json", BuildResult)
    if result is None:
        raise CannotRun(f"there is no build at {url}: no build.json", "give the folder that `kitten build` named")
    for artifact in (*result.rpms, *((result.srpm,) if result.srpm else ())):
        if not _PLAIN_NAME.fullmatch(artifact.name) or not _CHECKSUM.fullmatch(artifact.sha256):
            what = f"{artifact.name[:200]!r} with checksum {artifact.sha256[:80]!r} is no package file"
            raise CannotRun(f"{url}/build.json: {what}", "build the package again")
    _require_name(url, result)
    return Build(
        url, result, read_result(f"{url}/verify.json", VerifyResult), read_result(f"{url}/test.json", TestResult)
    )


def _require_name(url: str, result: BuildResult) -> None:
    """Check that the build's NEVR, which all pages and messages show, is that of its source package.

    :raises CannotRun: if it is not.
    """
    if result.srpm is None:
        return
    try:
        same = Nevra.parse(f"{result.nevr}.src").file == result.srpm.name
    except ValueError:
        same = False
    if not same:
        what = f"{url}/build.json: {result.nevr[:200]!a} is not the name of {result.srpm.name}"
        raise CannotRun(what, "build the package again")


def _local(url: str) -> Path:
    if "://" in url and not url.startswith("file://"):
        raise OSError(f"{url} is not a local file")
    return Path(url.removeprefix("file://"))


def _store_of(url: str) -> str:
    """Return protocol and host of a URL; ``""`` for a path."""
    protocol, separator, rest = url.removeprefix("file://").partition("://")
    return f"{protocol}://{rest.partition('/')[0]}" if separator else ""


def _open_plain(path: Path) -> IO[bytes]:
    """Open a plain file to read.

    :raises CannotRun: if it is a symbolic link, a pipe or a device.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        if path.is_symlink():
            raise CannotRun(f"{path} is a symbolic link, not a package", "build it again") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise CannotRun(f"{path} is no plain file", "build it again")
    return os.fdopen(handle, "rb")


def remove_tree(folder: Path) -> None:
    """Remove a folder with all its content; a missing folder is no error."""
    shutil.rmtree(folder, ignore_errors=True)
