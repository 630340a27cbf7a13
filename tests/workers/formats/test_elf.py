"""The ELF reader on small files made by hand."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import pytest

from workers.base.errors import MalformedError
from workers.formats.elf import Elf

TEXT = b"some debug data, and some more of it"
SHF_EXECINSTR, SHF_COMPRESSED = 4, 0x800
ZLIB = 1


@dataclass(frozen=True)
class Made:
    """A section of a file made by hand."""

    name: str
    content: bytes
    flags: int = 0


def elf_file(*sections: Made) -> bytes:
    """A 64-bit little-endian x86-64 file with these sections and the table of their names."""
    names = b"\0" + b"".join(section.name.encode() + b"\0" for section in sections) + b".shstrtab\0"
    listed = [*sections, Made(".shstrtab", names)]
    body, rows = b"", [bytes(64)]
    for number, section in enumerate(listed):
        name = names.index(section.name.encode() + b"\0")
        kind = 3 if number == len(sections) else 1
        rows.append(
            struct.pack("<IIQQQQIIQQ", name, kind, section.flags, 0, 64 + len(body), len(section.content), 0, 0, 1, 0)
        )
        body += section.content
    table = 64 + len(body)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\2\1\1", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, len(rows), len(rows) - 1),
    )
    return head + body + b"".join(rows)


def compressed(size: int, packed: bytes = zlib.compress(TEXT)) -> bytes:
    return struct.pack("<IIQQ", ZLIB, 0, size, 1) + packed


def content(data: bytes) -> bytes:
    elf = Elf(data)
    section = elf.section(".debug_x")
    assert section is not None
    return bytes(elf.content(section))


def test_a_compressed_section_is_unpacked():
    assert content(elf_file(Made(".debug_x", compressed(len(TEXT)), SHF_COMPRESSED))) == TEXT


@pytest.mark.parametrize("size", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 1 << 20])
def test_a_section_that_unpacks_to_another_size_than_it_says_is_refused(size):
    with pytest.raises(MalformedError, match=rf"\.debug_x unpacks to \d+ bytes, not {size}"):
        content(elf_file(Made(".debug_x", compressed(size), SHF_COMPRESSED)))


def test_a_section_that_says_it_unpacks_to_terabytes_is_refused_before_it_is_unpacked():
    with pytest.raises(MalformedError, match="says it unpacks to"):
        content(elf_file(Made(".debug_x", compressed(1 << 42), SHF_COMPRESSED)))


def test_a_section_cut_within_its_compressed_data_is_refused():
    with pytest.raises(MalformedError, match=r"\.debug_x"):
        content(elf_file(Made(".debug_x", compressed(len(TEXT))[:30], SHF_COMPRESSED)))


def test_code_sections_that_overlap_are_refused():
    """Each of many sections could be the whole file: reading them all would take quadratic time."""
    data = bytearray(elf_file(*(Made(f".text{number}", b"\x90" * 64, SHF_EXECINSTR) for number in range(40))))
    assert len(Elf(bytes(data)).code) == 40
    table = struct.unpack_from("<Q", data, 40)[0]
    for number in range(1, 41):
        struct.pack_into("<QQ", data, table + 64 * number + 24, 64, 64 * 40)
    with pytest.raises(MalformedError, match="its code sections overlap"):
        _ = Elf(bytes(data)).code
