"""Hostile packages: each is a one-line error, and no file is written outside the scratch folder."""

from __future__ import annotations

import contextlib
import gzip
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from workers.base.errors import MalformedError
from workers.formats import ar as archive
from workers.formats.dwarf import read_units
from workers.formats.elf import Elf
from workers.formats.rpm_header import RpmHeader, read_header
from workers.formats.rpm_payload import unpack

HEADER = RpmHeader("n", "1", "1", "x86_64")


def entry(name: str, data: bytes = b"", mode: int = 0o100644, inode: int = 1, links: int = 1) -> bytes:
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


END = entry("TRAILER!!!")


def opened(tmp_path: Path, archive: bytes, files: tuple[str, ...] = (), **options: int):
    package = tmp_path / "package"
    package.write_bytes(gzip.compress(archive))
    return unpack(package, replace(HEADER, files=files), tmp_path / "scratch", **options)


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (entry("/etc/passwd", b"x") + END, "absolute path in the payload: /etc/passwd"),
        (entry("./../../etc/passwd", b"x") + END, "path leaves the package"),
        (entry("./a/../../b", b"x") + END, "path leaves the package"),
        (entry("./a", b"/etc", 0o120777) + entry("./a/passwd", b"x") + END, "leads through the link /a"),
        (entry("./unlisted", b"x") + END, "which the header does not list"),
        (entry("./a", b"x"), "truncated payload"),
        (
            b"something else entirely, and long enough to hold a whole header of a cpio archive" * 2,
            "not a cpio archive",
        ),
        (entry("./a", b"x")[:-40], "truncated payload"),
        (entry("./a", b"y" * 5000, 0o120777) + END, "a link of 5000 bytes"),
        (END.replace(b"0000000B", b"7FFFFFFF"), "a file name of 2147483647 bytes"),
        (entry("./a", b"x").replace(b"000000010000000000000001", b"0000000100000000-0000001"), "not a cpio"),
    ],
)
def test_a_hostile_payload_is_refused(tmp_path, archive, words):
    files = ("/a", "/a/passwd", "/b", "/etc/passwd")
    with pytest.raises(MalformedError, match=words):
        opened(tmp_path, archive, files)
    assert {path.name for path in tmp_path.iterdir()} <= {"package", "scratch"}


def test_valid_payload_is_read(tmp_path):
    archive = (
        entry("./d", mode=0o040755) + entry("./d/f", b"data", 0o100755) + entry("./d/l", b"f", 0o120777)
        + entry("./one", b"", inode=9, links=2) + entry("./two", b"twin", inode=9, links=2) + END
    )  # fmt: skip
    entries = opened(tmp_path, archive, ("/d", "/d/f", "/d/l", "/one", "/two"))
    assert [(e.path, e.kind, oct(e.mode), e.target, e.content and e.content.read_bytes()) for e in entries] == [
        ("/d", "folder", "0o755", "", None),
        ("/d/f", "file", "0o755", "", b"data"),
        ("/d/l", "link", "0o777", "f", None),
        ("/one", "file", "0o644", "", b"twin"),
        ("/two", "file", "0o644", "", b"twin"),
    ]


def test_a_payload_that_unpacks_to_too_much_is_stopped(tmp_path):
    bomb = entry("./a", b"\0" * 50_000_000) + END
    with pytest.raises(MalformedError, match="more than 1000000 bytes"):
        opened(tmp_path, bomb, ("/a",), max_bytes=1_000_000)


def test_a_zstd_window_that_would_take_the_memory_is_refused(tmp_path):
    package = tmp_path / "package"
    # A frame header that asks for a window of 2 GiB (RFC 8878, 3.1.1.1.2).
    package.write_bytes(struct.pack("<I", zstandard.MAGIC_NUMBER) + b"\0" + bytes([(31 - 10) << 3]) + b"\1\0\0")
    with pytest.raises(MalformedError, match="damaged payload"):
        unpack(package, replace(HEADER, payload_compressor="zstd"), tmp_path / "scratch")


def test_an_unknown_compression_or_format_is_named(tmp_path):
    (tmp_path / "package").write_bytes(b"")
    for change in ({"payload_compressor": "rot13"}, {"payload_format": "drpm"}):
        with pytest.raises(MalformedError, match=next(iter(change.values()))):
            unpack(tmp_path / "package", replace(HEADER, **change), tmp_path / "scratch")


@given(position=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_header_with_any_byte_changed_is_read_or_refused(good_rpms, tmp_path_factory, position, value):
    data = bytearray(good_rpms[0].read_bytes())
    data[position % len(data)] = value
    damaged = tmp_path_factory.getbasetemp() / "damaged.rpm"
    damaged.write_bytes(data)
    with contextlib.suppress(MalformedError):
        assert read_header(damaged).name


@given(position=st.integers(0, 40_000), value=st.binary(min_size=1, max_size=8), cut=st.booleans())
def test_an_elf_file_with_any_bytes_changed_is_read_or_refused(good_program, position, value, cut):
    data = bytearray(good_program[1].read_bytes())
    position %= len(data)
    data[position : position + len(value)] = value
    changed = bytes(data[:position] if cut else data)
    with contextlib.suppress(MalformedError):
        elf = Elf(changed)
        assert elf.sections is not None
        assert elf.build_id is not None
        assert elf.symbols is not None
        read_units(elf)


@given(st.binary(max_size=300))
def test_any_bytes_as_a_static_library_are_read_or_refused(tmp_path_factory, data):
    library = tmp_path_factory.getbasetemp() / "any.a"
    library.write_bytes(b"!<arch>\n" + data)
    with contextlib.suppress(MalformedError):
        list(archive.members(library))
