"""Pictures of a guest's screen. QEMU and spicy-screenshot write them as PPM; the lab stores them as PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Pillow warns above this number of pixels. It refuses twice as many before it allocates memory for them.
Image.MAX_IMAGE_PIXELS = 32 << 20


class NoPictureError(Exception):
    """The bytes are no picture in a supported format."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture: red, green and blue of every pixel, 8 bits each."""

    pixels: NDArray[np.uint8]
    """Shape: height, width, 3."""

    @property
    def width(self) -> int:
        """The number of pixels in this direction."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """The number of pixels in this direction."""
        return int(self.pixels.shape[0])

    def png(self) -> bytes:
        """Return the picture as a PNG file with 8-bit RGB."""
        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG", optimize=True)
        return file.getvalue()


def read_ppm(data: bytes) -> Picture:
    """Read a picture from the bytes of a binary PPM file (netpbm's ppm(5)).

    The guest or the SPICE server may be hostile, so the function tries no other format.

    :raises NoPictureError: if the bytes are no complete PPM file, or have too many pixels.
    """
    if not data.startswith(b"P6"):  # Pillow's PPM reader also accepts PGM, PBM and others
        raise NoPictureError(f"no binary PPM picture: it begins with {data[:16]!r}")
    try:
        with Image.open(io.BytesIO(data), formats=("PPM",)) as image:
            return Picture(np.array(image))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise NoPictureError(f"no PPM picture: {len(data)} bytes that begin with {data[:16]!r}: {error}") from None


def count_different_pixels(one: Picture, other: Picture, tolerance: int = 0) -> int:
    """Count the pixels that differ by more than the tolerance in any colour; all pixels if the sizes differ.

    :param tolerance: 0 to 255.
    """
    if one.pixels.shape != other.pixels.shape:
        return max(one.width * one.height, other.width * other.height)
    apart = np.abs(one.pixels.astype(np.int16) - other.pixels.astype(np.int16))
    return int((apart > tolerance).any(axis=2).sum())
