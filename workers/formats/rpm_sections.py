"""The two headers in front of an RPM's payload, as tags. Every count and offset is checked before it is used.

Format: lead of 96 bytes, signature header padded to 8, header, payload (rpm.org, "RPM V4 Package format").
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from workers.base.errors import MalformedError

LEAD_MAGIC = b"\xed\xab\xee\xdb"
MAX_DATA = 64 << 20
"""Limit of one header in bytes. rpm's limit was 32 MiB for twenty years and is 256 MiB since 4.14. The largest headers
of distributions (a hundred thousand files) have a quarter of this. To read one takes several times its size of memory.
"""
MAX_ENTRIES = 0xFFFF
"""Limit of a header's entries: the same as rpm's (rpmio/header.c)."""

_HEADER_MAGIC = b"\x8e\xad\xe8\x01"
_LEAD_SIZE = 96
_INTRO, _ENTRY = 16, 16  # bytes: the intro of a header, and one entry of its index
_MAX_ITEMS = 2_000_000
_CHAR, _INT8, _INT16, _INT32, _INT64, _STRING, _BIN, _STRING_ARRAY, _I18N = range(1, 10)
_INTEGERS = {_INT16: "H", _INT32: "I", _INT64: "Q"}

Value = tuple[str, ...] | tuple[int, ...]
Tags = Mapping[int, Value]


@dataclass(frozen=True)
class Section:
    """One of a package's two headers, as its intro describes it."""

    what: str
    start: int
    entries: int
    data: int
    """Bytes of its values."""

    @property
    def end(self) -> int:
        """Bytes from the start of the file."""
        return self.start + _INTRO + _ENTRY * self.entries + self.data


def sections(file: IO[bytes], size: int) -> tuple[Section, Section]:
    """Return the signature header and the header of a package; reads only their first bytes.

    :param size: bytes of the file.
    :raises MalformedError: the file is not a package, is cut, or a header is larger than the limits above.
    """
    file.seek(0)
    if file.read(_LEAD_SIZE)[:4] != LEAD_MAGIC:
        raise MalformedError("it does not begin with an RPM lead")
    signature = _section(file, "signature header", _LEAD_SIZE, size)
    return signature, _section(file, "header", signature.end + -signature.end % 8, size)


def _section(file: IO[bytes], what: str, start: int, size: int) -> Section:
    file.seek(start)
    intro = file.read(_INTRO)
    if len(intro) < _INTRO or intro[:4] != _HEADER_MAGIC:
        raise MalformedError(f"it has no {what} at byte {start}")
    section = Section(what, start, *struct.unpack(">II", intro[8:]))
    if section.entries > MAX_ENTRIES or section.data > MAX_DATA:
        claims = f"{section.entries} entries and {section.data >> 20} MiB"
        raise MalformedError(f"its {what} claims {claims}; the limits are {MAX_ENTRIES} and {MAX_DATA >> 20} MiB")
    if section.end > size:
        raise MalformedError(f"it is cut: its {what} ends after {section.end} bytes, the file after {size}")
    return section


def numbers_of(file: IO[bytes], section: Section) -> frozenset[int]:
    """Return the numbers of the tags in a header; reads only its index."""
    return frozenset(tag for tag, _, _, _ in struct.iter_unpack(">IIII", _index(file, section)))


def tags_of(file: IO[bytes], section: Section) -> Tags:
    """Return the tags of a header; binary values are empty.

    Values may not overlap, as in rpm (lib/header.c, hdrblobVerifyInfo): else thousands of tags could each be the whole
    header, and to read them would take hours.

    :raises MalformedError: a value is outside the header, a text does not end, or values overlap.
    """
    index = _index(file, section)
    store = file.read(section.data)
    tags: dict[int, Value] = {}
    room = section.data
    for tag, kind, offset, items in struct.iter_unpack(">IIII", index):
        if offset > section.data or items > _MAX_ITEMS:
            raise MalformedError(f"its tag {tag} is outside its {section.what}")
        try:
            tags[tag], size = _value(store, kind, offset, items)
        except struct.error:
            raise MalformedError(f"its tag {tag} ends outside its {section.what}") from None
        room -= size
        if room < 0:
            raise MalformedError(f"the values of its {section.what} overlap")
    return tags


def _index(file: IO[bytes], section: Section) -> bytes:
    file.seek(section.start + _INTRO)
    return file.read(_ENTRY * section.entries)


def _value(store: bytes, kind: int, offset: int, items: int) -> tuple[Value, int]:
    """Return a value, and its size in bytes."""
    if kind in _INTEGERS:
        form = f">{items}{_INTEGERS[kind]}"
        return tuple(struct.unpack_from(form, store, offset)), struct.calcsize(form)
    if kind in (_STRING, _STRING_ARRAY, _I18N):
        strings, at = [], offset
        for _ in range(1 if kind == _STRING else items):
            end = store.find(b"\0", at)
            if end < 0:
                raise MalformedError("its header has a text that does not end")
            strings.append(store[at:end].decode("utf-8", "surrogateescape"))
            at = end + 1
        return tuple(strings), at - offset
    return (), 0  # binary: signatures and digests, which rpm itself checks
