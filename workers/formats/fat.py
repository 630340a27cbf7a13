"""A writer of EFI system partitions: a FAT32 file system of a few files, written once and in order.

Format: Microsoft, "FAT32 File System Specification" 1.03. Every file is in one piece: firmware reads it at once.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_SECTOR = 512
_CLUSTER = 8 * _SECTOR
_RESERVED = 32  # sectors in front of the tables: boot sector, FSInfo, and the copies of both
_LEAST_CLUSTERS = 65600  # a file system of fewer than 65525 is FAT16, even if its boot sector says FAT32
_ROOT = 2  # the first cluster
_LAST = 0x0FFFFFFF
_MEDIA = 0xF8
_FOLDER, _ARCHIVE, _VOLUME, _LONG_NAME = 0x10, 0x20, 0x08, 0x0F
_DATE = 1 << 5 | 1  # 1980-01-01: the same files give the same image
_SHORT = re.compile(r"[A-Z0-9_~-]{1,8}(?:\.[A-Z0-9_~-]{1,3})?")


@dataclass
class _Folder:
    folders: dict[str, _Folder] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def image(files: Mapping[str, bytes]) -> tuple[bytes, int]:
    """Return a file system with these files.

    :param files: path → content.
    :returns: its first bytes, which only zeros follow, and its size in bytes.
    :raises ValueError: a path that no UEFI firmware finds (empty, or with ``..``), or two that differ only in case.
    """
    root = _Folder()
    for path, data in files.items():
        *parents, name = _parts(path)
        folder = root
        for parent in parents:
            folder = folder.folders.setdefault(parent, _Folder())
        folder.files[name] = data
    writer = _Writer()
    writer.folder(root, _ROOT, _ROOT)
    return writer.finish()


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path.strip("/")).parts
    if not parts or ".." in parts or not all(part.isascii() and part.isprintable() for part in parts):
        raise ValueError(f"not a path of a system partition: {path!r}; use printable ASCII without ..")
    return parts


class _Writer:
    """A file system in the making: it allocates clusters in order."""

    def __init__(self) -> None:
        self._data: dict[int, bytes] = {}
        self._table = [0x0FFFFF00 | _MEDIA, _LAST]

    def folder(self, folder: _Folder, at: int, parent: int) -> None:
        """Write a folder and its content. The folder begins at a cluster that is already allocated."""
        names = [*folder.folders, *folder.files]
        if len({name.upper() for name in names}) != len(names):
            raise ValueError(f"names that differ only in case: {', '.join(sorted(names))}")
        size = sum(32 * (_long_entries(name) + 1) for name in names) + 32 * (1 if at == _ROOT else 2)
        if at == _ROOT:
            self._take(size)
        entries = [_entry(b"KITTEN     ", _VOLUME, 0, 0)]
        if at != _ROOT:  # as a parent, the root has the number 0
            up = 0 if parent == _ROOT else parent
            entries = [_entry(b".          ", _FOLDER, at, 0), _entry(b"..         ", _FOLDER, up, 0)]
        for number, name in enumerate(names):
            inner = folder.folders.get(name)
            data = folder.files.get(name, b"")
            start = self._take(_folder_size(inner) if inner else len(data))
            if inner:
                self.folder(inner, start, at)
            else:
                self._put(start, data)
            short = _short_name(name, number)
            entries += _long_name(name, short)
            entries.append(_entry(short, _FOLDER if inner else _ARCHIVE, start, len(data)))
        self._put(at, b"".join(entries))

    def _take(self, size: int) -> int:
        """Allocate clusters for ``size`` bytes and return the first; 0 for an empty file, which needs none."""
        count = -(-size // _CLUSTER)
        first = len(self._table)
        self._table += [*range(first + 1, first + count), _LAST][:count] if count else []
        return first if count else 0

    def _put(self, cluster: int, data: bytes) -> None:
        if data:
            self._data[cluster] = data

    def finish(self) -> tuple[bytes, int]:
        used = len(self._table)
        clusters = max(_LEAST_CLUSTERS, used + 1)
        table_sectors = -(-4 * (clusters + 2) // _SECTOR)
        sectors = _RESERVED + 2 * table_sectors + clusters * (_CLUSTER // _SECTOR)
        boot = _boot_sector(sectors, table_sectors)
        information = _information(clusters + 2 - used, used)
        head = bytearray(_RESERVED * _SECTOR)
        for start in (0, 6 * _SECTOR):
            head[start : start + 2 * _SECTOR] = boot + information
        table = struct.pack(f"<{used}I", *self._table).ljust(table_sectors * _SECTOR, b"\0")
        out = bytearray().join((head, table, table))
        for cluster in sorted(self._data):
            out += bytes((cluster - _ROOT) * _CLUSTER + len(head) + 2 * len(table) - len(out))
            out += self._data[cluster]
        return bytes(out), sectors * _SECTOR


def _folder_size(folder: _Folder) -> int:
    return sum(32 * (_long_entries(name) + 1) for name in (*folder.folders, *folder.files)) + 64


def _boot_sector(sectors: int, table_sectors: int) -> bytes:
    fields = struct.pack(
        "<3s8sHBHBHHBHHHIIIHHIHH12xBxBI11s8s",
        *(
            b"\xeb\x58\x90",
            b"KITTEN  ",
            _SECTOR,
            _CLUSTER // _SECTOR,
            _RESERVED,
            2,
            0,
            0,
            _MEDIA,
            0,
            63,
            255,
            0,
            sectors,
        ),
        *(table_sectors, 0, 0, _ROOT, 1, 6, 0x80, 0x29, 0x4B495454, b"KITTEN     ", b"FAT32   "),
    )
    return fields.ljust(510, b"\0") + b"\x55\xaa"


def _information(free: int, next_free: int) -> bytes:
    return struct.pack("<4s480x4sII12x4s", b"RRaA", b"rrAa", free, next_free, b"\0\0\x55\xaa")


def _entry(short: bytes, kind: int, cluster: int, size: int) -> bytes:
    return struct.pack(
        "<11sBBBHHHHHHHI", short, kind, 0, 0, 0, _DATE, _DATE, cluster >> 16, 0, _DATE, cluster & 0xFFFF, size
    )


def _short_name(name: str, number: int) -> bytes:
    """Return the 8.3 name: the name itself if it fits, else a generated one beside the long name."""
    if not _SHORT.fullmatch(name):
        suffix = re.sub(r"[^A-Z0-9]", "", PurePosixPath(name).suffix.upper())[:3]
        name = f"LONG~{number:03d}.{suffix}"
    base, _, extension = name.partition(".")
    return base.ljust(8).encode() + extension.ljust(3).encode()


def _long_entries(name: str) -> int:
    return 0 if _SHORT.fullmatch(name) else -(-len(name) // 13)


def _long_name(name: str, short: bytes) -> Iterator[bytes]:
    """Yield the directory entries of a long name, its last part first."""
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7) + (checksum >> 1) + byte & 0xFF
    count = _long_entries(name)
    for number in range(count, 0, -1):
        part = name[13 * (number - 1) : 13 * number]
        text = (part + "\0" * (len(part) < 13)).encode("utf-16-le").ljust(26, b"\xff")
        order = number | (0x40 if number == count else 0)
        yield struct.pack("<B10sBBB12sH4s", order, text[:10], _LONG_NAME, 0, checksum, text[10:22], 0, text[22:])
