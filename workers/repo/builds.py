"""A build as ``kitten build`` left it: build.json and the proofs beside it, and its packages, by fsspec URL.

build.json is input from another machine. A file name in it that is a path, or a file that is not what its checksum
says, is refused here, before anything else looks at it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from workers.artifacts import read_result
from workers.errors import CannotRun
from workers.results import Artifact, BuildResult, Result, TestResult, VerifyResult

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^-]*\.rpm")
_CHECKSUM = re.compile(r"[0-9a-f]{64}")
_Result = TypeVar("_Result", bound=Result)


@dataclass(frozen=True)
class Build:
    """One build and what is known of it."""

    url: str
    result: BuildResult
    verify: VerifyResult | None
    test: TestResult | None

    def fetch(self, artifact: Artifact, into: Path, *, link: bool = False) -> Path:
        """Bring a package into a folder and return its path.

        :param link: a hard link will do, where the build lies on the same file system: the caller never changes the
            file
            and checks its checksum itself. Without it the checksum is checked while the file is copied.
        :raises CannotRun: when the file is missing, or not what build.json says.
        """
        path = into / artifact.name
        beside = f"{self.url}/{artifact.name}"
        if link:
            try:
                os.link(_local(beside), path)
            except OSError:  # remote, or another file system
                pass
            else:
                return path
        digest = hashlib.sha256()
        with _open(beside, artifact.url) as source, path.open("wb") as copy:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                copy.write(chunk)
        if digest.hexdigest() != artifact.sha256:
            path.unlink()
            raise CannotRun(
                f"{beside} is not what build.json says: SHA-256 {digest.hexdigest()}, expected {artifact.sha256}",
                "the artifact was changed or cut short; build it again",
            )
        return path


def open_build(url: str, state: Path) -> Build:
    """Read a build's results.

    :param url: fsspec URL or path of the folder; a relative one lies below the state folder, or the working folder.
    :raises CannotRun: when there is no build, a result of another version, or a file name in it that is a path.
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
    return Build(
        url, result, read_result(f"{url}/verify.json", VerifyResult), read_result(f"{url}/test.json", TestResult)
    )


def _local(url: str) -> Path:
    if "://" in url and not url.startswith("file://"):
        raise OSError(f"{url} is not a local file")
    return Path(url.removeprefix("file://"))


def _open(*urls: str) -> IO[bytes]:
    import fsspec

    for url in dict.fromkeys(filter(None, urls)):
        try:
            stream: IO[bytes] = fsspec.open(url, "rb").open()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return stream
    raise CannotRun(f"{urls[0]} is missing", "the build's folder is incomplete; build it again")


def remove_tree(folder: Path) -> None:
    """Remove a folder that may not be there."""
    shutil.rmtree(folder, ignore_errors=True)
