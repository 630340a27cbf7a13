"""Compressed files, unpacked piece by piece and never beyond a bound: a small file can hold a very large one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, cast

from workers.verify.header import MalformedError

_CHUNK = 1 << 20
_MAX_WINDOW = 1 << 27  # bytes of zstd window: what its command line accepts without being told


def unpacked(stream: IO[bytes], name: str, most: int) -> Iterator[bytes]:
    """The content of a file, unpacked as the end of its name says: .gz, .xz, .zst, .bz2; of any other as it is.

    :param most: bytes it may unpack to.
    :raises MalformedError: when it is damaged, or unpacks to more.
    """
    size = 0
    try:
        reader = _reader(stream, name)
        while piece := reader.read(_CHUNK):
            size += len(piece)
            if size > most:
                raise MalformedError(f"it unpacks to more than {most} bytes")
            yield piece
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise MalformedError(f"damaged: {error or 'it is cut short'}") from None
    except OSError as error:
        if error.errno is None:  # bz2 reports damage this way
            raise MalformedError(f"damaged: {error}") from None
        raise
    except Exception as error:
        if type(error).__name__ == "ZstdError":
            raise MalformedError(f"damaged: {error}") from None
        raise


def _reader(stream: IO[bytes], name: str) -> IO[bytes]:
    if name.endswith(".xz"):
        return cast("IO[bytes]", lzma.LZMAFile(stream))
    if name.endswith(".gz"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    if name.endswith(".bz2"):
        return cast("IO[bytes]", bz2.BZ2File(stream))
    if name.endswith(".zst"):
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(stream, read_across_frames=True)
        return cast("IO[bytes]", reader)
    return stream
