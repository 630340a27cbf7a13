"""Pictures of a guest's screen: read from PPM, as QEMU and spicy-screenshot write it, and kept as PNG."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HEADER = re.compile(rb"P6\s(?:#[^\n]*\n|\s)*(\d{1,5})\s+(?:#[^\n]*\n|\s)*(\d{1,5})\s+(?:#[^\n]*\n|\s)*255\s")
_MAX_PIXELS = 64 << 20


class NoPictureError(Exception):
    """The bytes are no picture that is understood here."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Red, green and blue, 8 bits each, of every pixel."""

    pixels: NDArray[np.uint8]
    """Shape: height, width, 3."""

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[0])

    def png(self) -> bytes:
        """The picture as a PNG file (ISO/IEC 15948): 8-bit RGB, each row predicted from the one above."""
        above = np.vstack([np.zeros_like(self.pixels[:1]), self.pixels[:-1]])
        rows = (self.pixels - above).reshape(self.height, -1)  # filter 2, "up", modulo 256
        lines = np.hstack([np.full((self.height, 1), 2, np.uint8), rows]).tobytes()
        size = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def read_ppm(data: bytes) -> Picture:
    """A picture from a binary PPM file with 8 bits for each colour (netpbm's ppm(5)).

    :raises NoPictureError: when it is none, or not whole.
    """
    header = _HEADER.match(data)
    if not header:
        raise NoPictureError(f"no PPM picture: it begins with {data[:16]!r}")
    width, height = int(header[1]), int(header[2])
    body = data[header.end() :]
    if not 0 < width * height <= _MAX_PIXELS or len(body) != width * height * 3:
        raise NoPictureError(f"{width} × {height} pixels do not fit {len(body)} bytes")
    return Picture(np.frombuffer(body, np.uint8).reshape(height, width, 3))


def different(one: Picture, other: Picture, tolerance: int = 0) -> int:
    """How many pixels differ by more than the tolerance in any colour; all, when the sizes differ.

    :param tolerance: of 255.
    """
    if one.pixels.shape != other.pixels.shape:
        return max(one.width * one.height, other.width * other.height)
    apart = np.abs(one.pixels.astype(np.int16) - other.pixels.astype(np.int16))
    return int((apart > tolerance).any(axis=2).sum())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
