"""Reduce code to its distinct instructions, so that a decoder sees some thousands of them instead of millions.

Bits that cannot change which instruction a word is (registers, offsets, immediates) are masked, if the architecture's
manual proves it. All other bits are kept. Nothing is lost: the decoder sees one instruction of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from workers.formats.elf_records import Code

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]
    Places = NDArray[np.intp]


_CHUNK = 1 << 18  # words in one step: intermediate arrays fit into the processor's caches


class Reduction(Protocol):
    """Code that is reduced to its kinds of instruction."""

    @property
    def sizes(self) -> Mapping[bytes, int]:
        """Kind of instruction, as one encoding of it → bytes of the code that are of this kind."""
        ...

    @property
    def rest(self) -> int:
        """Bytes at the ends of stretches that are no complete instruction."""
        ...

    def places(self, kinds: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield (address, full encoding) for each instruction of these kinds."""
        ...


@dataclass(frozen=True, slots=True)
class Masks:
    """The bits that make the kind of a 32-bit instruction: a table, indexed by some bits of the instruction."""

    index: Callable[[Words], NDArray[Any]]
    """Returns the index in the table for each word."""
    kept: Words
    """The table: the bits that are kept."""

    def masked(self, words: Words) -> Iterator[tuple[int, Words]]:
        """Yield the kinds of words, in chunks: (index of the chunk's first word, kinds)."""
        for first in range(0, len(words), _CHUNK):
            chunk = words[first : first + _CHUNK]
            yield first, chunk & self.kept[self.index(chunk)]


def words_of(code: Code) -> Words:
    """Return a stretch of code as little-endian words, without an incomplete word at its end."""
    import numpy as np

    return np.frombuffer(code.data, "<u4", count=len(code.data) // 4)


class WordReduction:
    """Code whose instructions are 32-bit words."""

    def __init__(self, codes: Sequence[Code], masks: Masks, left_out: Sequence[Places] | None = None) -> None:
        """Find the distinct instructions.

        :param left_out: for each stretch, the indexes of words that are no separate instructions.
        """
        import numpy as np

        self._codes = codes
        self._masks = masks
        self._left_out = left_out
        self.rest = sum(len(code.data) % 4 for code in codes)
        self.sizes: dict[bytes, int] = {}
        for number, code in enumerate(codes):
            words = words_of(code)
            if left_out is not None:
                words = np.delete(words, left_out[number])
            for _, kinds in masks.masked(words):
                for kind, count in zip(*(part.tolist() for part in np.unique(kinds, return_counts=True)), strict=True):
                    key = kind.to_bytes(4, "little")
                    self.sizes[key] = self.sizes.get(key, 0) + 4 * count

    def places(self, kinds: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield (address, full encoding) for each instruction of these kinds."""
        import numpy as np

        wanted = np.array([int.from_bytes(kind, "little") for kind in kinds], np.uint32)
        for number, code in enumerate(self._codes):
            for first, masked in self._masks.masked(words_of(code)):
                found = np.flatnonzero(np.isin(masked, wanted)) + first
                if self._left_out is not None:
                    found = found[~np.isin(found, self._left_out[number])]
                for place in (4 * found).tolist():
                    yield code.address + place, bytes(code.data[place : place + 4])
