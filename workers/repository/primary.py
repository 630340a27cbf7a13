"""Read a repository's primary metadata as XML elements, one for each package, and load them into libsolv.

Two publications are compared element by element, as bytes, so no package that both have is parsed twice. If two
elements of one package differ in their spelling, one package goes and one comes: this costs time, but the answer is the
same.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.sax.saxutils import unescape

from workers.base.errors import CannotRun
from workers.repository.protocols import Pool, PoolRepository

MOST = 4 << 30
"""Bytes of one uncompressed file: ten times the file lists of a whole Enterprise Linux."""

_START = re.compile(rb"<package[\s>]")
_HIDING = (b"<![CDATA[", b"<!--")
_HEAD = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common"'
    b' xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="%d">\n'
)
_SOURCE = re.compile(rb"<rpm:sourcerpm>([^<]*)</rpm:sourcerpm>")
_NAME = re.compile(rb"<name>([^<]*)</name>")


@dataclass(frozen=True)
class Repositories:
    """The packages of all repositories of a target, as dnf sees them."""

    packages: tuple[bytes, ...]
    """``<package>`` elements of primary.xml."""
    filelists: tuple[bytes | Path, ...] = ()
    """filelists.xml of the repositories; read only if a package needs a file that primary.xml does not name."""


def plain(source: bytes | Path) -> bytes:
    """The uncompressed content of metadata: XML as bytes, or a file ``.xml``, ``.xml.gz`` or ``.xml.zst``.

    If a file has several zstd frames, all of them are read.

    :raises CannotRun: if the file cannot be read, or its content is larger than :data:`MOST`.
    """
    if isinstance(source, bytes):
        return source
    import gzip
    import zlib

    import zstandard

    try:
        with contextlib.ExitStack() as open_files:
            file = open_files.enter_context(source.open("rb"))
            stream: io.BufferedIOBase | IO[bytes] = file
            if source.suffix == ".gz":
                stream = open_files.enter_context(gzip.open(file))
            elif source.suffix == ".zst":
                stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            content: bytes = stream.read(MOST + 1)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise CannotRun(f"{source} is no readable metadata: {error}", "write the repository's index again") from None
    if len(content) > MOST:
        raise CannotRun(
            f"{source} has more than {MOST:,} bytes, which no metadata has", "write the repository's index again"
        )
    return content


def elements(source: bytes | Path) -> tuple[bytes, ...]:
    """The ``<package>`` elements of a primary.xml.

    :raises CannotRun: if it cannot be read, or does not have the form that createrepo_c writes.
    """
    content = plain(source)
    if any(word in content for word in _HIDING):
        raise CannotRun(
            "the metadata has comments or CDATA sections, which createrepo_c never writes",
            "write the repository's index again with createrepo_c",
        )
    *parts, rest = content.split(b"</package>")  # a regular expression takes three times as long
    starts = [_START.search(part) for part in parts]
    found = tuple(
        part[start.start() :] + b"</package>" for part, start in zip(parts, starts, strict=True) if start is not None
    )
    if len(found) != len(parts) or _START.search(rest) or not rest.rstrip().endswith(b"</metadata>"):
        raise CannotRun("the metadata is cut short", "write the repository's index again")
    return found


def repositories_below(folders: Iterable[Path]) -> Repositories:
    """The packages of repository folders, as their indexes list them; a folder without an index has none.

    :raises CannotRun: if a folder's index cannot be read.
    """
    import createrepo_c

    packages: list[bytes] = []
    filelists: list[bytes | Path] = []
    for folder in folders:
        repomd = folder / "repodata" / "repomd.xml"
        if not repomd.is_file():
            continue
        try:
            records = {record.type: record.location_href for record in createrepo_c.Repomd(str(repomd)).records}
        except createrepo_c.CreaterepoCError as error:
            raise CannotRun(f"{repomd} is no index: {error}", "publish again, or roll back") from None
        if "primary" in records:
            packages += elements(folder / records["primary"])
        if "filelists" in records:
            filelists.append(folder / records["filelists"])
    return Repositories(tuple(packages), tuple(filelists))


def source_of(element: bytes) -> str:
    """Name of the source package that an element's package was made from; if the element has none, its own name."""
    found = _SOURCE.search(element)
    file = unescape(found[1].decode()) if found else ""
    if file:
        return file.rsplit("-", 2)[0]
    named = _NAME.search(element)
    return unescape(named[1].decode()) if named else ""


def replace_packages(before: Repositories, fresh: Mapping[str, Iterable[bytes]]) -> Repositories:
    """The repositories after new binary packages replace all those of their source packages.

    :param fresh: source package → ``<package>`` elements of its new binary packages.
    """
    staying = (element for element in before.packages if source_of(element) not in fresh)
    return Repositories((*staying, *(element for each in fresh.values() for element in each)), before.filelists)


def load(pool: Pool, name: str, packages: Iterable[bytes]) -> PoolRepository:
    """Add a repository with these packages to libsolv's pool.

    :raises CannotRun: if an element is not XML.
    """
    listed = tuple(packages)
    repository = pool.add_repo(name)
    if listed:
        content = _HEAD % len(listed) + b"\n".join(listed) + b"\n</metadata>\n"
        if not _feed(content, lambda stream: repository.add_rpmmd(stream, None)) or repository.nsolvables < len(listed):
            raise CannotRun(
                f"the metadata of the packages {name} is no XML that libsolv reads",
                "write the repository's index again",
            )
    return repository


def add_filelists(repository: PoolRepository, files: Iterable[bytes | Path]) -> None:
    """Add all files of the packages to a repository; primary.xml names only some."""
    import solv

    for source in files:
        content = plain(source)
        _feed(content, lambda stream: repository.add_rpmmd(stream, None, solv.Repo.REPO_EXTEND_SOLVABLES))


def _feed(content: bytes, read: Callable[[object], bool]) -> bool:
    """Give bytes to a reader of libsolv, which accepts only file handles, and no zstd."""
    import solv

    handle = os.memfd_create("metadata")
    try:
        with io.FileIO(handle, "wb", closefd=False) as memory:
            rest = memoryview(content)
            while rest:
                rest = rest[memory.write(rest) or 0 :]
        os.lseek(handle, 0, os.SEEK_SET)
        stream = solv.xfopen_fd("metadata.xml", handle)
        try:
            return bool(read(stream))
        finally:
            stream.close()
    finally:
        os.close(handle)


def names(packages: Iterable[bytes]) -> Iterator[str]:
    """The names of packages."""
    for element in packages:
        if named := _NAME.search(element):
            yield unescape(named[1].decode())
