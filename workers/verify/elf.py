"""What the proof asks of an ELF file: its machine, its build-id, whether it holds code, and where its debug data is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from workers.verify.header import MalformedError

ELF_MAGIC = b"\x7fELF"
ARCHIVE_MAGIC = b"!<arch>\n"
_MAX_MEMBERS = 200_000
_SHF_EXECINSTR = 0x4


@dataclass(frozen=True)
class ElfFile:
    """One ELF file, or one member of a static archive."""

    machine: str
    """As pyelftools names it: EM_X86_64 …"""
    type: str
    """ET_EXEC, ET_DYN (also of programs), ET_REL (objects, kernel modules)."""
    build_id: str
    has_code: bool
    has_debug_info: bool


@contextmanager
def opened(stream: IO[bytes]) -> Iterator[Any]:
    """An ``ELFFile`` of pyelftools; whatever it stumbles over in a damaged file becomes one line.

    :raises MalformedError: for a file that is damaged.
    """
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        yield ELFFile(stream)
    except (
        ELFError, DWARFError, ConstructError, struct.error, UnicodeError,
        ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError, OverflowError, EOFError, MemoryError,
    ) as error:  # fmt: skip
        raise MalformedError(f"damaged ELF file: {type(error).__name__}: {str(error)[:200]}") from None


def read_elf(stream: IO[bytes]) -> ElfFile:
    """Read what the proof needs of an ELF file.

    :raises MalformedError: for a damaged file.
    """
    with opened(stream) as elf:
        build_id = ""
        has_code = has_debug_info = False
        for section in elf.iter_sections():
            if section["sh_type"] == "SHT_NOTE" and section.name == ".note.gnu.build-id":
                build_id = next(
                    (str(note["n_desc"]) for note in section.iter_notes() if note["n_type"] == "NT_GNU_BUILD_ID"), ""
                )
            has_code |= bool(section["sh_flags"] & _SHF_EXECINSTR and section["sh_size"])
            has_debug_info |= section.name in (".debug_info", ".zdebug_info") and section["sh_type"] != "SHT_NOBITS"
        has_code |= elf.num_sections() == 0  # no section table: nothing can be said, so nothing is excused
        return ElfFile(str(elf["e_machine"]), str(elf["e_type"]), build_id, has_code, has_debug_info)


def is_elf(path: Path) -> bool:
    """Whether the file begins like an ELF file."""
    return _begins(path, ELF_MAGIC)


def is_archive(path: Path) -> bool:
    """Whether the file begins like a static library."""
    return _begins(path, ARCHIVE_MAGIC)


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def archive_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each ELF member of a static library (System V format).

    :raises MalformedError: for a damaged archive.
    """
    size = path.stat().st_size
    long_names = b""
    with path.open("rb") as file:
        file.seek(len(ARCHIVE_MAGIC))
        for _ in range(_MAX_MEMBERS):
            head = file.read(60)
            if not head:
                return
            digits = head[48:58].strip()
            if len(head) != 60 or head[58:] != b"`\n" or not digits.isdigit() or int(digits) > size - file.tell():
                raise MalformedError("damaged static library")
            content = file.read(int(digits))
            file.seek(file.tell() % 2, 1)
            name = head[:16].rstrip()
            if name == b"//":
                long_names = content
            elif content.startswith(ELF_MAGIC):
                yield _member_name(name, long_names), content
    raise MalformedError(f"a static library of more than {_MAX_MEMBERS} members")


def _member_name(name: bytes, long_names: bytes) -> str:
    if name[:1] == b"/" and name[1:].isdigit():
        name = long_names[int(name[1:]) :].split(b"\n", 1)[0]
    return name.rstrip(b"/").decode(errors="replace")
