"""Tarballs of a package: its ``sources`` file names them with their checksums, and lookasides have them.

The lookasides are searched in order. A file is accepted only with the right checksum. The cache keeps it under its
checksum, which is checked again at every use.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from config.models import Lookaside, Site
from workers.base import cache
from workers.base.errors import CannotRun, CheckFailed
from workers.base.files import blocks_of, write_blocks

LARGEST = 4 * 1024**3
"""Limit of one downloaded file in bytes; no tarball is larger."""
ATTEMPTS = 3
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two reads."""

HEADERS = {"User-Agent": "kitten-ci"}
"""AlmaLinux's lookaside refuses the default User-Agent of requests."""

_LINE = re.compile(r"(?P<algorithm>[A-Z0-9-]+)\s+\((?P<file>.*)\)\s+=\s+(?P<checksum>\S+)")
_OLD_LINE = re.compile(r"[0-9a-f]{32}\s+\S.*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^-]*")


@dataclass(frozen=True)
class Tarball:
    """One line of a ``sources`` file."""

    file: str
    sha512: str


class _NotThere(Exception):
    """A lookaside does not have the file, or cannot be reached; the text says which."""


class _Wrong(Exception):
    """A lookaside has a file of that name with another checksum."""


def parse(text: str) -> tuple[Tarball, ...]:
    """Parse a ``sources`` file: lines ``SHA512 (FILE) = CHECKSUM``, as ``sha512sum --tag FILE`` writes them.

    :raises CheckFailed: a line has another form; names the line.
    """
    found: dict[str, Tarball] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        where = f"sources:{number}: "
        hint = "; write SHA512 (FILE) = CHECKSUM, as sha512sum --tag FILE does"
        if _OLD_LINE.fullmatch(line):
            raise CheckFailed(f"{where}an MD5 checksum is not secure: such a file can be forged{hint}")
        if not (match := _LINE.fullmatch(line)):
            raise CheckFailed(f"{where}{line[:80]!r} is not a checksum line{hint}")
        if match["algorithm"] != "SHA512":
            raise CheckFailed(f"{where}{match['algorithm']} is not allowed, only SHA512{hint}")
        if not _FILE.fullmatch(match["file"]):
            raise CheckFailed(f"{where}{match['file']!r} is not a plain file name: use letters, digits and ._+~^-")
        if not re.fullmatch(r"[0-9a-f]{128}", match["checksum"]):
            raise CheckFailed(
                f"{where}{match['checksum'][:20]!r}… is not a SHA-512: write 128 hexadecimal digits in lower case"
            )
        if match["file"] in found:
            raise CheckFailed(f"{where}{match['file']} is named twice: remove one line")
        found[match["file"]] = Tarball(match["file"], match["checksum"])
    return tuple(found.values())


def fetch(site: Site, package: str, tarball: Tarball, state: Path, to: Path) -> None:
    """Copy a tarball to ``to``, from the cache or from the first lookaside of the site that has it.

    :raises CheckFailed: a lookaside has the file with another checksum, and none has the right one.
    :raises CannotRun: no lookaside has it or can be reached; with one line for each.
    """
    for attempt in (1, 2):
        kept = (
            cache.entry("lookaside", tarball.sha512, lambda folder: _find(site, package, tarball, state, folder))
            / "file"
        )
        if _copy(kept, to) == tarball.sha512:
            return
        print(f"  {tarball.file}: the cached copy is damaged; fetching it again")  # noqa: T201
        if attempt == 1:
            shutil.rmtree(kept.parent)
    raise CannotRun(f"files in the cache {kept.parent.parent} change after they are written", "check the disk")


def _copy(source: Path, to: Path) -> str:
    """Copy a file and return the SHA-512 of the copied bytes."""
    with source.open("rb") as stream:
        return write_blocks(blocks_of(stream), to, "sha512")


def _find(site: Site, package: str, tarball: Tarball, state: Path, folder: Path) -> None:
    errors: list[str] = []
    wrong = ""
    for place in site.sources.lookaside:
        try:
            where = _from_place(place, site, package, tarball, state, folder / "file")
        except _NotThere as reason:
            errors.append(str(reason))
        except _Wrong as reason:
            wrong = wrong or str(reason)
            errors.append(str(reason))
        else:
            print(f"  {tarball.file}: from {where}")  # noqa: T201 - progress for people
            return
    lines = "".join(f"\n    {line}" for line in errors) or "\n    sources.yaml names no lookaside"
    if wrong:
        others = f"; all lookasides:{lines}" if len(errors) > 1 else ""
        raise CheckFailed(f"wrong checksum: {wrong}{others}")
    raise CannotRun(
        f"no lookaside has {tarball.file} of {package}:{lines}",
        "put it into one of them, or fix lookaside in sources.yaml",
    )


def _from_place(place: Lookaside, site: Site, package: str, tarball: Tarball, state: Path, to: Path) -> str:
    """Get the file from one lookaside; return the name of its place for messages."""
    if place.kind == "folder":
        path = Path(place.location.format(state=state)) / tarball.file
        if not path.is_file():
            raise _NotThere(f"folder {path.parent}: no such file")
        _check(tarball, _copy(path, to), str(path))
        return str(path)
    if place.kind == "http":
        url = place.location.format(
            package=quote(package), file=quote(tarball.file), algorithm="sha512", hash=tarball.sha512
        )
        _check(tarball, _download(url, to), url)
        return url
    return _from_apt(site, package, tarball, to)


def _check(tarball: Tarball, found: str, where: str) -> None:
    if found != tarball.sha512:
        raise _Wrong(f"{tarball.file} from {where}: expected SHA512 {tarball.sha512}, got {found}")


def _download(url: str, to: Path) -> str:
    """Download a URL to a file and return the SHA-512; retry after errors that may pass."""
    import requests
    import urllib3

    if not url.startswith(("https://", "http://")):
        raise _NotThere(f"{url}: not an http or https address")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with requests.get(url, headers=HEADERS, stream=True, timeout=TIMEOUT) as answer:
                if answer.status_code == 200:
                    return _receive(answer.raw.stream(1 << 20, decode_content=False), url, to)
                reason = f"HTTP {answer.status_code} {answer.reason}"
                if answer.status_code < 500 and answer.status_code != 429:
                    raise _NotThere(f"{url}: {reason}")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = _root_cause(error)
        if attempt < ATTEMPTS:
            time.sleep(0.5 * attempt)
    raise _NotThere(f"{url}: {reason} ({ATTEMPTS} attempts)")


def _receive(blocks: Iterator[bytes], url: str, to: Path) -> str:
    def limited() -> Iterator[bytes]:
        size = 0
        for block in blocks:
            size += len(block)
            if size > LARGEST:
                raise _NotThere(f"{url}: more than {LARGEST} bytes")
            yield block

    return write_blocks(limited(), to, "sha512")


def _root_cause(error: BaseException) -> str:
    """Return the innermost reason of a chain of network errors, in one line."""
    while inner := getattr(error, "reason", None) or next(
        (a for a in error.args if isinstance(a, BaseException)), None
    ):
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = re.sub(r"^<[^>]*>: |^[A-Za-z]+\(.*?\): ", "", str(error).splitlines()[0] if str(error) else "")
    return text or type(error).__name__


def _from_apt(site: Site, package: str, tarball: Tarball, to: Path) -> str:
    """Get the file with the checksum from the package's Debian source package, under any name."""
    upstream = site.package(package).upstream
    if upstream is None:
        raise _NotThere(f"apt-source: packages/{package}.yaml has no upstream, the name of a Debian source package")
    import tempfile

    from workers.sandbox.apt import AptRoot, with_lists

    with tempfile.TemporaryDirectory() as scratch:

        def get(root: AptRoot) -> None:
            # Only the tarball: the mirror may have lost Debian's packaging of it.
            options = ("--download-only", "--tar-only", "--only-source", upstream)
            for left in Path(scratch).iterdir():  # another version, from package lists that did not work
                left.unlink()
            root.apt("apt-get", "source", *options, cwd=Path(scratch))

        try:
            with_lists(site.build.suite, "amd64", get, sources=True)
        except CannotRun as error:
            raise _NotThere(f"apt-source: {error.what}") from None
        # A file of the same name comes last, so that an error reports its checksum.
        files = sorted(Path(scratch).glob("*.orig*"), key=lambda path: path.name == tarball.file)
        found = ""
        for path in files:
            found = _copy(path, to)
            if found == tarball.sha512:
                return f"Debian {site.build.suite} source package {upstream} ({path.name})"
    names = [path.name for path in files]
    if tarball.file in names:
        _check(tarball, found, f"Debian source package {upstream}")
    raise _NotThere(f"apt-source: {upstream} of {site.build.suite} has no file with that checksum ({', '.join(names)})")
