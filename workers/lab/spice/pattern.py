"""The pattern that a guest draws on its screen: colour bars, and a random number that only this run draws.

The bars fill the upper quarter. The number fills the sixteenth below: 32 squares, white for a one, the highest bit at
the left. Widths are whole pixels, rounded down. ``draw.sh`` draws the pattern by the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workers.lab.pictures import Picture

BARS = ("ffffff", "ffff00", "00ffff", "00ff00", "ff00ff", "ff0000", "0000ff", "000000")
"""From the left, as RRGGBB."""
BITS = 32
TOLERANCE = 8
"""Allowed difference of a colour value, of 255. A screen with 16 bits a pixel rounds by up to this; another picture
differs more."""


@dataclass(frozen=True)
class Pattern:
    """The pattern of one run."""

    number: int
    """A random number of at most ``BITS`` bits."""

    @property
    def squares(self) -> tuple[str, ...]:
        """The colours of the number's squares, as RRGGBB."""
        return tuple("ffffff" if self.number >> (BITS - 1 - bit) & 1 else "000000" for bit in range(BITS))

    def problem(self, picture: Picture) -> str:
        """The first part of the pattern that the picture does not show; empty if it shows all."""
        quarter, sixteenth = picture.height // 4, picture.height // 16
        for what, colours, top, bottom in (
            ("bar", BARS, 0, quarter),
            ("square", self.squares, quarter, quarter + sixteenth),
        ):
            width = picture.width // len(colours)
            for at, colour in enumerate(colours):
                area = picture.pixels[top:bottom, at * width : (at + 1) * width].astype(np.int16)
                wrong = int((np.abs(area - list(bytes.fromhex(colour))) > TOLERANCE).any(axis=2).sum())
                if wrong or not area.size:
                    size = area.shape[0] * area.shape[1]
                    return f"{what} {at + 1} of {len(colours)} is not {colour}: {wrong} of its {size} pixels differ"
        return ""
