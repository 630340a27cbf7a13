"""Files on the disk: their checksums, and writes that survive a power failure."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

_BLOCK = 1 << 20
"""Bytes that are read into memory at a time."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content: lower-case hexadecimal, as in all result files."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def blocks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a stream in blocks of at most 1 MiB."""
    while block := stream.read(_BLOCK):
        yield block


def write_blocks(blocks: Iterable[bytes], to: Path, algorithm: str = "sha256") -> str:
    """Write blocks to a file and return the checksum of what was written.

    The content is read only once, so the checksum is right even if the source changes at the same time.

    :param algorithm: its name in :mod:`hashlib`.
    """
    digest = hashlib.new(algorithm)
    with to.open("wb") as copy:
        for block in blocks:
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()


def flush(path: Path) -> None:
    """Write a file, or the entries of a folder, to the disk (fsync), so that they survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
