"""Tarballs of a package: named with their checksums by its ``sources`` file, looked for in one place after the other.

The checksum decides, wherever a file comes from; what was found once stays in the cache under its checksum, which is
compared again whenever it is taken from there.
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
"""Bytes of one file from the network; a server that sends more is not sending a tarball."""
ATTEMPTS = 3
TIMEOUT = (10.0, 60.0)
"""s to connect, and between two reads."""

HEADERS = {"User-Agent": "kitten-ci"}
"""AlmaLinux's lookaside refuses the name that requests gives itself."""

_LINE = re.compile(r"(?P<algorithm>[A-Z0-9-]+)\s+\((?P<file>.*)\)\s+=\s+(?P<checksum>\S+)")
_OLD_LINE = re.compile(r"[0-9a-f]{32}\s+\S.*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^-]*")


@dataclass(frozen=True)
class Tarball:
    """One line of a ``sources`` file."""

    file: str
    sha512: str


class _NotThere(Exception):
    """A place has no such file, or cannot be asked; the text says which."""


class _Wrong(Exception):
    """A place has a file of that name with another checksum."""


def parse(text: str) -> tuple[Tarball, ...]:
    """The lines of a ``sources`` file: ``SHA512 (FILE) = CHECKSUM``, as ``sha512sum --tag FILE`` writes them.

    :raises CheckFailed: naming the line, for anything else.
    """
    found: dict[str, Tarball] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        where = f"sources:{number}: "
        hint = "; write SHA512 (FILE) = CHECKSUM, as sha512sum --tag FILE does"
        if _OLD_LINE.fullmatch(words):
            raise CheckFailed(f"{where}an MD5 checksum, which proves nothing: such a file can be forged{hint}")
        if not (match := _LINE.fullmatch(words)):
            raise CheckFailed(f"{where}{words[:80]!r} is no checksum line{hint}")
        if match["algorithm"] != "SHA512":
            raise CheckFailed(f"{where}{match['algorithm']} is not taken, SHA512 is{hint}")
        if not _FILE.fullmatch(match["file"]):
            raise CheckFailed(
                f"{where}{match['file']!r} is not the plain name of a file: letters, digits and ._+~^- only"
            )
        if not re.fullmatch(r"[0-9a-f]{128}", match["checksum"]):
            raise CheckFailed(
                f"{where}{match['checksum'][:20]!r}… is not a SHA-512: 128 hexadecimal digits in lower case"
            )
        if match["file"] in found:
            raise CheckFailed(f"{where}{match['file']} is named twice")
        found[match["file"]] = Tarball(match["file"], match["checksum"])
    return tuple(found.values())


def fetch(site: Site, package: str, tarball: Tarball, state: Path, to: Path) -> None:
    """Put a tarball at ``to``, from the cache or from the first of the site's lookasides that has it.

    :raises CheckFailed: when a place has the file with another checksum, and none has the right one.
    :raises CannotRun: when no place has it or can be reached; one line for each says why.
    """
    for attempt in (1, 2):
        kept = (
            cache.entry("lookaside", tarball.sha512, lambda folder: _find(site, package, tarball, state, folder))
            / "file"
        )
        if _copy(kept, to) == tarball.sha512:
            return
        print(f"  {tarball.file}: the cached copy is damaged, fetched anew")  # noqa: T201
        if attempt == 1:
            shutil.rmtree(kept.parent)
    raise CannotRun(f"the cache {kept.parent.parent} changes what is written to it", "check the disk")


def _copy(source: Path, to: Path) -> str:
    """Copy a file and return the SHA-512 of what was copied."""
    with source.open("rb") as stream:
        return write_blocks(blocks_of(stream), to, "sha512")


def _find(site: Site, package: str, tarball: Tarball, state: Path, folder: Path) -> None:
    tried: list[str] = []
    wrong = ""
    for place in site.sources.lookaside:
        try:
            where = _from_place(place, site, package, tarball, state, folder / "file")
        except _NotThere as reason:
            tried.append(str(reason))
        except _Wrong as reason:
            wrong = wrong or str(reason)
            tried.append(str(reason))
        else:
            print(f"  {tarball.file}: from {where}")  # noqa: T201 - progress for people
            return
    list_of_tried = "".join(f"\n    {line}" for line in tried) or "\n    sources.yaml names no lookaside"
    if wrong:
        others = f"; asked:{list_of_tried}" if len(tried) > 1 else ""
        raise CheckFailed(f"wrong checksum: {wrong}{others}")
    raise CannotRun(
        f"{tarball.file} of {package} is in none of the lookasides:{list_of_tried}",
        "put it into one of them, or mend lookaside in sources.yaml",
    )


def _from_place(place: Lookaside, site: Site, package: str, tarball: Tarball, state: Path, to: Path) -> str:
    """Get the file from one place; return what to call that place."""
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
    """Stream a URL to a file and return the SHA-512. Asked again where a second try can help."""
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
    """The innermost reason of a chain of network errors, in one line."""
    while inner := getattr(error, "reason", None) or next(
        (a for a in error.args if isinstance(a, BaseException)), None
    ):
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = re.sub(r"^<[^>]*>: |^[A-Za-z]+\(.*?\): ", "", str(error).splitlines()[0] if str(error) else "")
    return text or type(error).__name__


def _from_apt(site: Site, package: str, tarball: Tarball, to: Path) -> str:
    """Take a file of the package's Debian source package: the one with the checksum, whatever its name there."""
    upstream = site.package(package).upstream
    if upstream is None:
        raise _NotThere(f"apt-source: packages/{package}.yaml names no upstream, a Debian source package")
    import tempfile

    from workers.sandbox.apt import AptRoot, with_lists

    with tempfile.TemporaryDirectory() as scratch:

        def get(root: AptRoot) -> None:
            # The tarball alone: a mirror that lost Debian's own packaging of it is no reason to fail.
            words = ("--download-only", "--tar-only", "--only-source", upstream)
            for left in Path(scratch).iterdir():  # of another version, by lists that did not serve
                left.unlink()
            root.apt("apt-get", "source", *words, cwd=Path(scratch))

        try:
            with_lists(site.build.suite, "amd64", get, sources=True)
        except CannotRun as error:
            raise _NotThere(f"apt-source: {error.what}") from None
        # Whatever its name there; one of the name comes last, so that its checksum is the one to report.
        files = sorted(Path(scratch).glob("*.orig*"), key=lambda path: path.name == tarball.file)
        found = ""
        for path in files:
            found = _copy(path, to)
            if found == tarball.sha512:
                return f"Debian {site.build.suite} source package {upstream} ({path.name})"
    names = [path.name for path in files]
    if tarball.file in names:
        _check(tarball, found, f"Debian source package {upstream}")
    raise _NotThere(
        f"apt-source: source package {upstream} of {site.build.suite} has no file with that checksum ({', '.join(names)})"
    )
