"""Static libraries (System V format): the places of their ELF members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.base.errors import MalformedError
from workers.formats.elf import MAGIC as ELF_MAGIC

MAGIC = b"!<arch>\n"
_MAX_MEMBERS = 200_000


@dataclass(frozen=True)
class Member:
    """One ELF file in a static library."""

    name: str
    offset: int
    """Bytes from the start of the library."""
    size: int


def members(path: Path) -> Iterator[Member]:
    """Yield the ELF members of a static library.

    :raises MalformedError: for a damaged archive.
    """
    total = path.stat().st_size
    long_names = b""
    with path.open("rb") as file:
        start = len(MAGIC)
        for _ in range(_MAX_MEMBERS):
            file.seek(start)
            head = file.read(60)
            if not head:
                return
            digits = head[48:58].strip()
            start += len(head)
            if len(head) != 60 or head[58:] != b"`\n" or not digits.isdigit() or int(digits) > total - start:
                raise MalformedError("damaged static library")
            size = int(digits)
            name = head[:16].rstrip()
            if name == b"//":
                long_names = file.read(size)
            elif file.read(len(ELF_MAGIC)) == ELF_MAGIC:
                yield Member(_name(name, long_names), start, size)
            start += size + size % 2
    raise MalformedError(f"a static library of more than {_MAX_MEMBERS} members")


def _name(name: bytes, long_names: bytes) -> str:
    if name[:1] == b"/" and name[1:].isdigit():
        name = long_names[int(name[1:]) :].split(b"\n", 1)[0]
    return name.rstrip(b"/").decode(errors="replace")
