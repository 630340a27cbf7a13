"""Read the artifact store: results and files by fsspec URL; the checksum of each file is verified."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from config.models import Site
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.results import Artifact, Result, SourceResult

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^-]*")
MAX_RESULT = 256 << 20
"""Most bytes of a result file. The proof of a package with ten thousand files has a tenth of this."""
_Result = TypeVar("_Result", bound=Result)


def store(site: Site, state: Path, *, trial: bool = False) -> str:
    """Return the URL of the site's artifacts.

    :param trial: the URL for try builds. Their workers run code that anyone can send, so a try build never replaces a
        normal build, even with equal inputs.
    """
    url = site.distribution.artifacts.replace("{state}", str(state))
    url = url.rstrip("/") if "://" in url else str(state / url)
    return f"{url}/try" if trial else url


def is_local(url: str) -> bool:
    """Return whether the URL is a path of this host."""
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """Return the path of a local URL."""
    return Path(url.removeprefix("file://")).absolute()


def read_result(url: str, kind: type[_Result]) -> _Result | None:
    """Read a result file of the store; return None if it does not exist.

    :raises CannotRun: if the store cannot be read, or the file is no result of this kind.
    """
    try:
        if is_local(url):
            if (path := local_path(url)).exists() and not path.is_file():
                raise CannotRun(f"{url} is no plain file", "it is no result file of this kitten")
            stream = path.open("rb")
        else:
            import fsspec

            stream = fsspec.open(url, "rb").open()
        with stream:
            content = stream.read(MAX_RESULT + 1)
        if len(content) > MAX_RESULT:
            raise CannotRun(f"{url} has more than {MAX_RESULT >> 20} MiB", "it is no result file of this kitten")
        text = content.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, ImportError, OSError) as error:
        raise CannotRun(f"cannot read {url}: {error}", "check the address and its credentials") from None
    try:
        return kind.read(text)
    except ValueError as error:
        raise CannotRun(f"{url}: {error}", "run the command that made it again, with this version of kitten") from None


@dataclass(frozen=True)
class StoredSource:
    """A source in the store that has a source package."""

    url: str
    """Absolute URL of its folder."""
    result: SourceResult
    srpm: Artifact


def source_at(url: str, state: Path) -> StoredSource:
    """Return the source in a folder.

    :param url: fsspec URL or path of the folder; a relative path starts at the working folder or the state folder.
    :raises CannotRun: if the folder has no source, or the source has no SRPM.
    """
    if "://" not in url and not Path(url).is_absolute():
        url = str(Path(url).absolute()) if Path(url, "source.json").is_file() else str(state / url)
    url = url.rstrip("/")
    result = read_result(f"{url}/source.json", SourceResult)
    if result is None:
        raise CannotRun(f"there is no source at {url}: no source.json", "give the folder that `kitten source` named")
    if result.outcome != "passed" or result.srpm is None:
        raise CannotRun(f"the source at {url} has no SRPM: {result.summary}", "fix it and run kitten source again")
    return StoredSource(url, result, result.srpm)


def fetch(folder: str, artifact: Artifact) -> Path:
    """Return the local path of an artifact with a verified checksum; a remote artifact is downloaded to the cache.

    :raises CannotRun: if the file is missing, or its checksum differs from its result file.
    """
    if not _PLAIN_NAME.fullmatch(artifact.name):
        raise CannotRun(f"{folder}: {artifact.name!r} in its result is not a file name", "make it again")
    url = f"{folder}/{artifact.name}"
    if is_local(url):
        path = local_path(url)
        if not path.is_file():
            raise CannotRun(f"{path} is missing", "make the source again: kitten source")
    else:
        path = cache.entry("fetched", artifact.sha256, lambda at: _download(url, at / artifact.name)) / artifact.name
    if (actual := sha256_of(path)) != artifact.sha256:
        raise CannotRun(
            f"{url} is not what its result says: SHA-256 {actual}, expected {artifact.sha256}", "make it again"
        )
    return path


def fetch_url(url: str) -> Path:
    """Return the local path of an SRPM that a user named by path or URL; a remote one is downloaded to the cache.

    :raises CannotRun: if it does not exist or cannot be downloaded.
    """
    if is_local(url):
        if not local_path(url).is_file():
            raise CannotRun(f"there is no file {url}", "give the path or URL of an SRPM")
        return local_path(url)
    name = url.rsplit("/", 1)[-1]
    if not _PLAIN_NAME.fullmatch(name):
        raise CannotRun(f"{url} names no file", "give the URL of an SRPM")
    into = cache.root() / "fetched" / hashlib.sha256(url.encode()).hexdigest()
    with cache.hold_lock(into.with_name(f".{into.name}.lock")):
        into.mkdir(parents=True, exist_ok=True)
        _download(url, into / name)
    return into / name


def _download(url: str, path: Path) -> None:
    import fsspec

    partial = path.with_name(f".{path.name}.partial")
    try:
        with fsspec.open(url, "rb") as source, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(f"cannot fetch {url}: {error}", "check the address, the network and its credentials") from None
    partial.replace(path)


def artifact_of(path: Path, folder: str, sha256: str = "") -> Artifact:
    """Return the record of a local file as an artifact in ``folder``.

    :param sha256: its checksum, if it is known.
    """
    return Artifact(
        name=path.name, url=f"{folder}/{path.name}", sha256=sha256 or sha256_of(path), size=path.stat().st_size
    )
