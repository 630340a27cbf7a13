"""Pictures of a guest's screen: read from PPM, as QEMU and spicy-screenshot write it, and kept as PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Pillow warns above this number of pixels, and refuses twice as many before it allocates memory for them.
Image.MAX_IMAGE_PIXELS = 32 << 20


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
        """The picture as a PNG file with 8-bit RGB."""
        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG", optimize=True)
        return file.getvalue()


def read_ppm(data: bytes) -> Picture:
    """A picture from a binary PPM file (netpbm's ppm(5)).

    A guest draws the picture, and a client of a hostile server may write the file: no other format is tried.

    :raises NoPictureError: when the bytes are no such file, or not the whole of one, or have too many pixels.
    """
    if not data.startswith(b"P6"):  # Pillow's reader of PPM also knows its relatives
        raise NoPictureError(f"no binary PPM picture: it begins with {data[:16]!r}")
    try:
        with Image.open(io.BytesIO(data), formats=("PPM",)) as image:
            return Picture(np.array(image))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise NoPictureError(f"no PPM picture: {len(data)} bytes that begin with {data[:16]!r}: {error}") from None


def count_different_pixels(one: Picture, other: Picture, tolerance: int = 0) -> int:
    """How many pixels differ by more than the tolerance in any colour; all, when the sizes differ.

    :param tolerance: of 255.
    """
    if one.pixels.shape != other.pixels.shape:
        return max(one.width * one.height, other.width * other.height)
    apart = np.abs(one.pixels.astype(np.int16) - other.pixels.astype(np.int16))
    return int((apart > tolerance).any(axis=2).sum())
