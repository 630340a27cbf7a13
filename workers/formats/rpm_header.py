"""RPM headers, read directly: package files may be hostile, so every count and offset is bounded before it is used.

Format: lead of 96 bytes, signature header padded to 8, header, payload (rpm.org, "RPM V4 Package format").
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

from config.nevra import is_debug
from workers.base.errors import MalformedError

LEAD_MAGIC = b"\xed\xab\xee\xdb"
_HEADER_MAGIC = b"\x8e\xad\xe8\x01"
_LEAD_SIZE = 96
_MAX_ENTRIES = 0xFFFF  # rpm's own limit, rpmio/header.c
_MAX_SIZE = 64 * 1024 * 1024  # bytes; rpm allows 256 MiB, the largest headers in use have a tenth of this
_MAX_ITEMS = 2_000_000

# rpmtag.h
_NAME, _VERSION, _RELEASE, _ARCH, _PLATFORM, _OPTFLAGS = 1000, 1001, 1002, 1022, 1132, 1122
_SOURCERPM, _PROVIDENAME, _REQUIRENAME = 1044, 1047, 1049
_DIRINDEXES, _BASENAMES, _DIRNAMES, _OLDFILENAMES = 1116, 1117, 1118, 1027
_PAYLOADFORMAT, _PAYLOADCOMPRESSOR = 1124, 1125
_CONTENT = {
    "files": (_DIRINDEXES, _BASENAMES, _DIRNAMES, _OLDFILENAMES),
    "digests, modes, links, flags, owners, groups, capabilities": (1035, 1030, 1036, 1037, 1039, 1040, 5010),
    "provides": (_PROVIDENAME, 1112, 1113),
    "requires": (_REQUIRENAME, 1048, 1050),
    "conflicts": (1054, 1053, 1055),
    "obsoletes": (1090, 1114, 1115),
    "recommends, suggests, supplements, enhances": tuple(range(5046, 5058)),
    "scripts and what runs them": (1023, 1024, 1025, 1026, 1085, 1086, 1087, 1088, 1151, 1152, 1153, 1154),
    "triggers": (1065, 1066, 1067, 1068, 1069, 1092),
}
_CHAR, _INT8, _INT16, _INT32, _INT64, _STRING, _BIN, _STRING_ARRAY, _I18N = range(1, 10)
_INTEGERS = {_INT16: "H", _INT32: "I", _INT64: "Q"}

Value = tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True)
class RpmHeader:
    """What a package says of itself."""

    name: str
    version: str
    release: str
    arch: str
    """``src`` for a source package."""
    platform: str
    optflags: str
    provides: tuple[str, ...]
    requires: tuple[str, ...]
    files: tuple[str, ...]
    payload_format: str
    payload_compressor: str
    payload_offset: int
    """Bytes from the start of the file."""
    source: str = ""
    """Name of the source package it was built from; empty of a source package."""

    @property
    def is_debug(self) -> bool:
        """Whether it has debug data or sources alone."""
        return is_debug(self.name)


def read_header(path: Path) -> RpmHeader:
    """Read a package's header.

    :raises MalformedError: when the file is no whole RPM.
    """
    tags, offset = _tags(path)
    return _header(tags, offset)


def content_digest(path: Path) -> str:
    """SHA-256 over what a package installs, asks for and runs, as its header has it.

    Files count with the digest of their content, mode, owner and link; time stamps, the build's host and options, and how
    the payload is compressed do not. That the payload is what the header says, rpm checks when it installs it.

    :raises MalformedError: when the file is no whole RPM.
    """
    tags, _ = _tags(path)
    return sha256(repr([[tags.get(tag) for tag in group] for group in _CONTENT.values()]).encode()).hexdigest()


def _tags(path: Path) -> tuple[Mapping[int, Value], int]:
    """The header's tags, and where it ends."""
    try:
        with path.open("rb") as file:
            lead = file.read(_LEAD_SIZE)
            if lead[:4] != LEAD_MAGIC:
                raise MalformedError("not an RPM package: no lead")
            _, size = _section(file, "signature header")
            file.seek(-size % 8, 1)
            tags, _ = _section(file, "header")
            return tags, file.tell()
    except (struct.error, UnicodeError, IndexError) as error:
        raise MalformedError(f"damaged RPM header: {error}") from None


def _section(file: IO[bytes], what: str) -> tuple[Mapping[int, Value], int]:
    """One header structure, and the size of its data."""
    intro = _exactly(file, 16, what)
    if intro[:4] != _HEADER_MAGIC:
        raise MalformedError(f"damaged RPM: no {what}")
    count, size = struct.unpack(">II", intro[8:])
    if count > _MAX_ENTRIES or size > _MAX_SIZE:
        raise MalformedError(f"damaged RPM: a {what} of {count} entries and {size} bytes")
    index = _exactly(file, count * 16, what)
    store = _exactly(file, size, what)
    tags: dict[int, Value] = {}
    for tag, kind, offset, items in struct.iter_unpack(">IIII", index):
        if offset > size or items > _MAX_ITEMS:
            raise MalformedError(f"damaged RPM: tag {tag} lies outside its {what}")
        tags[tag] = _value(store, kind, offset, items)
    return tags, size


def _exactly(file: IO[bytes], size: int, what: str) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise MalformedError(f"truncated RPM: it ends in its {what}")
    return data


def _value(store: bytes, kind: int, offset: int, items: int) -> Value:
    if kind in _INTEGERS:
        return tuple(struct.unpack_from(f">{items}{_INTEGERS[kind]}", store, offset))
    if kind in (_STRING, _STRING_ARRAY, _I18N):
        strings = []
        for _ in range(1 if kind == _STRING else items):
            end = store.find(b"\0", offset)
            if end < 0:
                raise MalformedError("damaged RPM: a string without end")
            strings.append(store[offset:end].decode("utf-8", "surrogateescape"))
            offset = end + 1
        return tuple(strings)
    return ()  # binary: signatures and digests, which the publishing room reads with rpm itself


def _header(tags: Mapping[int, Value], offset: int) -> RpmHeader:
    def text(tag: int, default: str = "") -> str:
        return str((tags.get(tag) or (default,))[0])

    def texts(tag: int) -> tuple[str, ...]:
        return tuple(str(item) for item in tags.get(tag, ()))

    if not text(_NAME) or not text(_ARCH):
        raise MalformedError("damaged RPM: its header names no package")
    folders = texts(_DIRNAMES)
    indexes = [int(item) for item in tags.get(_DIRINDEXES, ())]
    names = texts(_BASENAMES)
    if len(indexes) != len(names) or any(index >= len(folders) for index in indexes):
        raise MalformedError("damaged RPM: its file list does not add up")
    listed = tuple(folders[i] + name for i, name in zip(indexes, names, strict=True))
    return RpmHeader(
        name=text(_NAME),
        version=text(_VERSION),
        release=text(_RELEASE),
        arch=text(_ARCH) if _SOURCERPM in tags else "src",
        platform=text(_PLATFORM),
        optflags=text(_OPTFLAGS),
        provides=texts(_PROVIDENAME),
        requires=texts(_REQUIRENAME),
        files=tuple(map(_absolute, listed or texts(_OLDFILENAMES))),
        source=text(_SOURCERPM).rsplit("-", 2)[0],
        payload_format=text(_PAYLOADFORMAT, "cpio"),
        payload_compressor=text(_PAYLOADCOMPRESSOR, "gzip"),
        payload_offset=offset,
    )


def _absolute(path: str) -> str:
    """The files of a source package lie in no folder: as if at the top, like their payload."""
    return path if path.startswith("/") else f"/{path}"
