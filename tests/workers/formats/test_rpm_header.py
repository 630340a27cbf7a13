"""The RPM header reader on headers made by hand. Real packages are read in the tests of repositories and promotion."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from workers.base.errors import MalformedError
from workers.formats.rpm_header import read_header
from workers.formats.rpm_sections import LEAD_MAGIC

INT32, STRING, STRING_ARRAY = 4, 6, 8
NAME, VERSION, RELEASE, ARCH, SOURCERPM = 1000, 1001, 1002, 1022, 1044
FILESIZES, BASENAMES, OLDFILENAMES = 1028, 1117, 1027

Entry = tuple[int, int, int, int]
"""Tag, type, offset, number of items."""


def header(entries: list[Entry], data: bytes) -> bytes:
    index = b"".join(struct.pack(">IIII", *entry) for entry in entries)
    return b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">II", len(entries), len(data)) + index + data


def package(folder: Path, entries: list[Entry], data: bytes) -> Path:
    """A package file without a payload; its signature header is empty."""
    path = folder / "a.rpm"
    path.write_bytes(LEAD_MAGIC.ljust(96, b"\0") + header([], b"") + header(entries, data))
    return path


def named(more: bytes = b"") -> tuple[list[Entry], bytes]:
    """The tags of a package's name, and the data with further bytes behind."""
    entries, data = [], b""
    for tag, text in ((NAME, "a"), (VERSION, "1"), (RELEASE, "2"), (ARCH, "noarch"), (SOURCERPM, "a-1-2.src.rpm")):
        entries.append((tag, STRING, len(data), 1))
        data += text.encode() + b"\0"
    return entries, data + bytes(-len(data) % 4) + more


def test_a_header_is_read(tmp_path: Path) -> None:
    entries, data = named(b"/x\0/y\0")
    read = read_header(package(tmp_path, [*entries, (OLDFILENAMES, STRING_ARRAY, len(data) - 6, 2)], data))
    assert (str(read.nevra), read.source, read.files) == ("a-1-2.noarch", "a", ("/x", "/y"))


@pytest.mark.parametrize("kind", [INT32, STRING_ARRAY])
def test_values_that_overlap_are_refused_before_they_cost_hours(kind: int, tmp_path: Path) -> None:
    """Each of 60,000 tags is nearly the whole header: 15 billion numbers, or texts, in a file of 2 MB."""
    entries, data = named(b"\0" * (1 << 20))
    items = (1 << 20) // (4 if kind == INT32 else 1)
    many = [(10_000 + number, kind, len(data) - (1 << 20), items) for number in range(60_000)]
    with pytest.raises(MalformedError, match="the values of its header overlap"):
        read_header(package(tmp_path, [*entries, *many], data))


def test_one_tag_given_twice_is_refused_if_its_values_overlap(tmp_path: Path) -> None:
    entries, data = named()
    with pytest.raises(MalformedError, match="overlap"):
        read_header(package(tmp_path, entries * 2, data))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ((BASENAMES, STRING_ARRAY, 0, 2_000_001), "outside"),
        ((BASENAMES, STRING_ARRAY, 1 << 31, 1), "outside"),
        ((BASENAMES, STRING_ARRAY, 0, 1000), "a text that does not end"),
        ((FILESIZES, INT32, 8, 1_000_000), "ends outside"),
        ((FILESIZES, INT32, 24, 2), "ends outside"),
    ],
)
def test_a_value_outside_the_header_is_refused(entry: Entry, says: str, tmp_path: Path) -> None:
    entries, data = named()
    with pytest.raises(MalformedError, match=says):
        read_header(package(tmp_path, [entry, *entries], data))
