"""Static libraries (System V format): the members that hold code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workers.verify.elf import MAGIC
from workers.verify.header import MalformedError

ARCHIVE_MAGIC = b"!<arch>\n"
_MAX_MEMBERS = 200_000


def is_elf(path: Path) -> bool:
    """Whether the file begins like an ELF file."""
    return _begins(path, MAGIC)


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
            elif content.startswith(MAGIC):
                yield _member_name(name, long_names), content
    raise MalformedError(f"a static library of more than {_MAX_MEMBERS} members")


def _member_name(name: bytes, long_names: bytes) -> str:
    if name[:1] == b"/" and name[1:].isdigit():
        name = long_names[int(name[1:]) :].split(b"\n", 1)[0]
    return name.rstrip(b"/").decode(errors="replace")
