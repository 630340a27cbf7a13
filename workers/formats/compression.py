"""Compressed files, unpacked piece by piece and never beyond a bound: a small file can hold a very large one."""

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
"""Bytes a compressed section may unpack to. Distributions that use dwz, as Enterprise Linux does, compress none."""

_CHUNK = 1 << 20
_MAX_WINDOW = 1 << 27  # bytes of zstd window: what its command line accepts without being told
_SUFFIXES = {".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".bz2": "bzip2"}


def unpacked_pieces(stream: IO[bytes], name: str, most: int) -> Iterator[bytes]:
    """The content of a file, unpacked as the end of its name says: .gz, .xz, .zst, .bz2; of any other as it is.

    :param most: bytes it may unpack to.
    :raises MalformedError: when it is damaged, or unpacks to more.
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
    """The unpacked side of a stream. What it stumbles over is for :func:`damage_as_malformed`.

    :param compressor: as RPM headers name it: gzip, xz, lzma, zstd, bzip2.
    :raises MalformedError: for any other.
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
    """What the decompressors raise for damaged data becomes a :class:`MalformedError` that begins with ``what``."""
    try:
        yield
    except (EOFError, ValueError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise MalformedError(f"{what}: {error or 'it is cut short'}") from None
    except OSError as error:
        if error.errno is None:  # bz2 reports damage this way
            raise MalformedError(f"{what}: {error}") from None
        raise
    except Exception as error:
        if type(error).__name__ == "ZstdError":  # told by its name, so that it need not be imported for every file
            raise MalformedError(f"{what}: {error}") from None
        raise


def decompressed_section(data: memoryview, kind: int, size: int, name: str) -> bytes:
    """A compressed section: ELFCOMPRESS_ZLIB (1) or ELFCOMPRESS_ZSTD (2)."""
    if size > MAX_UNPACKED:
        raise MalformedError(f"{name} says it unpacks to {size} bytes; at most {MAX_UNPACKED} are read")
    try:
        if kind == 1:  # grows with what it finds; zstd is given no more room than the frame may take
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(data, size or 1)
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
