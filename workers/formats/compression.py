"""Compressed files and sections, unpacked within a limit: a small file can unpack to a very large one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, cast

from workers.base.errors import MalformedError

MAX_UNPACKED = 1 << 30
"""Bytes that a compressed ELF section may unpack to. Distributions that use dwz (Enterprise Linux) compress none."""
MAX_MODULE = 256 << 20
"""Bytes that a kernel module may unpack to. The largest real ones, with their debug data, have a tenth of this."""

_CHUNK = 1 << 20
_MAX_WINDOW = 1 << 27  # bytes of zstd window: the limit of the zstd command line without options
_SUFFIXES = {".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".bz2": "bzip2"}


def unpacked_pieces(stream: IO[bytes], name: str, most: int) -> Iterator[bytes]:
    """Yield the unpacked content of a file. Its suffix names the compression: .gz, .xz, .zst, .bz2, or none of these.

    :param most: bytes that it may unpack to.
    :raises MalformedError: the file is damaged, or unpacks to more.
    """
    compressor = _SUFFIXES.get(PurePosixPath(name).suffix)
    size = 0
    with damage_as_malformed("damaged"):
        source = reader(stream, compressor) if compressor else stream
        while piece := source.read(_CHUNK):
            size += len(piece)
            if size > most:
                raise MalformedError(f"it unpacks to more than {most} bytes")
            yield piece


def reader(stream: IO[bytes], compressor: str) -> IO[bytes]:
    """Return the unpacked side of a stream. Read it inside :func:`damage_as_malformed`.

    :param compressor: as RPM headers name it: gzip, xz, lzma, zstd, bzip2.
    :raises MalformedError: another compressor.
    """
    if compressor == "zstd":
        import zstandard

        unpacking = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(
            stream, read_across_frames=True
        )
        return cast("IO[bytes]", unpacking)
    if compressor == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    if compressor in ("xz", "lzma"):
        return cast("IO[bytes]", lzma.LZMAFile(stream))
    if compressor == "bzip2":
        return cast("IO[bytes]", bz2.BZ2File(stream))
    raise MalformedError(f"unknown compression {compressor!r}")


@contextmanager
def damage_as_malformed(what: str) -> Iterator[None]:
    """Turn what a decompressor raises for damaged data into a :class:`MalformedError` that begins with ``what``."""
    try:
        yield
    except (EOFError, ValueError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise MalformedError(f"{what}: {error or 'it is cut short'}") from None
    except OSError as error:
        if error.errno is None:  # bz2 reports damage this way
            raise MalformedError(f"{what}: {error}") from None
        raise
    except Exception as error:
        if type(error).__name__ == "ZstdError":  # compared by name: zstandard is imported only for zstd files
            raise MalformedError(f"{what}: {error}") from None
        raise


def decompressed_section(data: memoryview, kind: int, size: int, name: str) -> bytes:
    """Unpack a compressed ELF section: ELFCOMPRESS_ZLIB (1) or ELFCOMPRESS_ZSTD (2).

    :raises MalformedError: the section is damaged, or larger than :data:`MAX_UNPACKED`.
    """
    if size > MAX_UNPACKED:
        raise MalformedError(f"{name} says it unpacks to {size} bytes; at most {MAX_UNPACKED} are read")
    try:
        if kind == 1:  # its buffer grows with the output; zstd gets a buffer of the size that its frame states
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(data, size + 1)  # one byte more shows that it is longer
        elif kind == 2:
            import zstandard

            if zstandard.frame_content_size(data) not in (-1, size):
                raise MalformedError(f"damaged ELF file: {name} contradicts itself about its size")
            content = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
        else:
            raise MalformedError(f"damaged ELF file: {name} is compressed in unknown way {kind}")
    except (zlib.error, ValueError) as error:
        raise MalformedError(f"damaged ELF file: {name}: {error}") from None
    except MemoryError:
        raise MalformedError(f"damaged ELF file: {name} does not fit into memory") from None
    except Exception as error:
        if type(error).__name__ == "ZstdError":
            raise MalformedError(f"damaged ELF file: {name}: {error}") from None
        raise
    if len(content) != size:
        raise MalformedError(f"damaged ELF file: {name} unpacks to {len(content)} bytes, not {size}")
    return content
