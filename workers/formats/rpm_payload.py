"""Unpack the files of an RPM into a scratch folder. Files there have numbers: no name of a package becomes a file name.

Refused are paths that are absolute, that contain ``..`` or that lead through a symbolic link of the same package, and a
payload that unpacks to more than its limit.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from workers.base.errors import MalformedError
from workers.formats.compression import damage_as_malformed, reader
from workers.formats.rpm_header import RpmHeader

MAX_BYTES = 8 * 1024**3
"""Default limit of an unpacked payload in bytes: above the largest debuginfo package in use."""

_MAX_FILES = 1_000_000
_MAX_NAME = 4096
_HEADER = re.compile(rb"07070[12][0-9A-Fa-f]{104}")  # of a newc cpio entry; int() also reads signs and spaces
_HEADER_SIZE = 110
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a package."""

    path: str
    """Absolute, as installed."""
    kind: Literal["file", "folder", "link", "other"]
    mode: int
    """Permission bits."""
    target: str = ""
    """The target of a symbolic link."""
    content: Path | None = None
    """For a file: the path of its bytes in the scratch folder."""
    size: int = 0


def unpack(package: Path, header: RpmHeader, scratch: Path, max_bytes: int = MAX_BYTES) -> tuple[Entry, ...]:
    """Unpack a package's payload into ``scratch``, which is made if it is missing.

    :raises MalformedError: the payload is cut, hostile, or larger than ``max_bytes``.
    """
    if header.payload_format != "cpio":
        raise MalformedError(f"unknown payload format {header.payload_format!r}")
    scratch.mkdir(parents=True, exist_ok=True)
    with damage_as_malformed("damaged payload"), package.open("rb") as file:
        file.seek(header.payload_offset)
        with reader(file, header.payload_compressor) as stream:
            entries = tuple(_read(_Bounded(stream, max_bytes), scratch))
    _refuse_paths_through_links(entries)
    unlisted = {entry.path for entry in entries} - set(header.files)
    if unlisted:
        raise MalformedError(f"the payload has {min(unlisted)}, which the header does not list")
    return entries


class _Bounded:
    """A stream that raises an error if it ends too early or goes beyond its limit."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._taken = 0

    def take(self, size: int) -> bytes:
        """Return exactly ``size`` bytes."""
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield exactly ``size`` bytes, a piece at a time."""
        self._taken += size
        if self._taken > self._limit:
            raise MalformedError(f"the payload unpacks to more than {self._limit} bytes")
        while size:
            data = self._stream.read(min(size, _CHUNK))
            if not data:
                raise MalformedError("truncated payload")
            size -= len(data)
            yield data


def _read(stream: _Bounded, scratch: Path) -> Iterator[Entry]:
    """Yield the entries of a newc archive. Only the last of several hard links has the data; all get it here."""
    waiting: dict[int, list[Entry]] = {}
    for number in range(_MAX_FILES):
        fields = stream.take(_HEADER_SIZE)
        if not _HEADER.fullmatch(fields):
            raise MalformedError("the payload is not a cpio archive")
        inode, mode, _, _, links, _, size, _, _, _, _, name_size, _ = (
            int(fields[i : i + 8], 16) for i in range(6, _HEADER_SIZE, 8)
        )
        if not 1 < name_size <= _MAX_NAME:
            raise MalformedError(f"a file name of {name_size} bytes")
        name = stream.take(name_size)[:-1].decode("utf-8", "surrogateescape")
        stream.take(-(_HEADER_SIZE + name_size) % 4)
        if name == "TRAILER!!!":
            break
        entry = _entry(name, mode, size, stream, scratch / str(number))
        stream.take(-size % 4)
        if entry.kind == "file" and links > 1 and not size:
            waiting.setdefault(inode, []).append(entry)
            continue
        for twin in waiting.pop(inode, ()) if entry.kind == "file" else ():
            yield Entry(twin.path, "file", entry.mode, content=entry.content, size=entry.size)
        yield entry
    else:
        raise MalformedError(f"the payload has more than {_MAX_FILES} files")
    for twins in waiting.values():  # hard links to an empty file
        yield from twins


def _entry(name: str, mode: int, size: int, stream: _Bounded, content: Path) -> Entry:
    path = _installed_path(name)
    permissions = stat.S_IMODE(mode)
    if stat.S_ISREG(mode):
        with content.open("wb") as file:
            for piece in stream.pieces(size):
                file.write(piece)
        return Entry(path, "file", permissions, content=content, size=size)
    if stat.S_ISLNK(mode):
        if size > _MAX_NAME:
            raise MalformedError(f"{path}: a link of {size} bytes")
        return Entry(path, "link", permissions, target=stream.take(size).decode("utf-8", "surrogateescape"))
    stream.take(size)
    return Entry(path, "folder" if stat.S_ISDIR(mode) else "other", permissions)


def _installed_path(name: str) -> str:
    """Return the absolute path of a payload name, which may begin with ``./`` (as rpm writes it) or a plain name."""
    if name.startswith("/"):
        raise MalformedError(f"absolute path in the payload: {name}")
    if ".." in PurePosixPath(name).parts:
        raise MalformedError(f"path leaves the package: {name}")
    return "/" + str(PurePosixPath(name))


def _refuse_paths_through_links(entries: tuple[Entry, ...]) -> None:
    links = {entry.path for entry in entries if entry.kind == "link"}
    for entry in entries:
        for parent in PurePosixPath(entry.path).parents:
            if str(parent) in links:
                raise MalformedError(f"{entry.path} leads through the link {parent}")
