"""Code reduced to its distinct instructions: millions of instructions become some thousands that a decoder need see.

What cannot change which instruction it is (registers, offsets, immediates) is masked where that is provable from the
architecture's manual; everything else is kept bit by bit. Nothing is dropped: the decoder sees one of each kind.
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


_CHUNK = 1 << 18  # words looked at in one go: what is made of them stays in the processor's caches


class Reduction(Protocol):
    """Some code, reduced."""

    @property
    def sizes(self) -> Mapping[bytes, int]:
        """Each kind of instruction, as one encoding of it, and how many bytes of the code are of this kind."""
        ...

    @property
    def rest(self) -> int:
        """Bytes at the ends of stretches that are no whole instruction."""
        ...

    def places(self, kinds: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Where instructions of these kinds lie: (address, whole encoding)."""
        ...


@dataclass(frozen=True, slots=True)
class Masks:
    """Which bits of a 32-bit instruction make its kind: a table by some of its bits."""

    index: Callable[[Words], NDArray[Any]]
    """The place in the table, of each word."""
    kept: Words

    def masked(self, words: Words) -> Iterator[tuple[int, Words]]:
        """The kinds of words, in chunks: (index of the chunk's first word, kinds)."""
        for first in range(0, len(words), _CHUNK):
            chunk = words[first : first + _CHUNK]
            yield first, chunk & self.kept[self.index(chunk)]


def words_of(code: Code) -> Words:
    """A stretch as little-endian words; what is left at its end is no instruction."""
    import numpy as np

    return np.frombuffer(code.data, "<u4", count=len(code.data) // 4)


class WordReduction:
    """Code whose instructions are 32-bit words."""

    def __init__(self, codes: Sequence[Code], masks: Masks, left_out: Sequence[Places] | None = None) -> None:
        """Find the distinct ones.

        :param left_out: for each stretch the words, by index, that are no instructions of their own.
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
        """Where instructions of these kinds lie."""
        import numpy as np

        wanted = np.array([int.from_bytes(kind, "little") for kind in kinds], np.uint32)
        for number, code in enumerate(self._codes):
            for first, masked in self._masks.masked(words_of(code)):
                found = np.flatnonzero(np.isin(masked, wanted)) + first
                if self._left_out is not None:
                    found = found[~np.isin(found, self._left_out[number])]
                for place in (4 * found).tolist():
                    yield code.address + place, bytes(code.data[place : place + 4])
