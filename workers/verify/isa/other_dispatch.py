"""Run-time dispatch in code that binutils decode, for :mod:`workers.verify.isa.dispatch`.

The choice of a resolver is read from the few instructions with which compilers make an address. Guards and callers are
not followed, so names and clone suffixes must explain the rest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from workers.formats.elf import Elf
from workers.formats.facts import Function, Hit
from workers.verify.functions import FunctionTable
from workers.verify.isa.pointers import Pointers

_LARGEST = 1 << 16  # bytes of a resolver that are read
_TOC_BIAS = 0x8000  # bytes from the start of .got to the TOC pointer (64-bit ELF V2 ABI, section 3.3)

Reader = Callable[[bytes, int, Callable[[int], int], int], Iterator[int]]
"""Yields the addresses that a function makes or loads from the GOT. Its arguments are the bytes of the function, its
address, a function that returns the address in a word of data, and the TOC pointer of POWER."""
SelfTest = Callable[[Function, Sequence[Hit]], str]


class OtherDispatch:
    """See :class:`workers.verify.isa.dispatch.Dispatch`."""

    def __init__(
        self,
        elf: Elf,
        functions: FunctionTable,
        pointers: Pointers,
        addresses: Reader,
        self_test: SelfTest | None = None,
    ) -> None:
        self._addresses, self._self_test = addresses, self_test
        self._elf, self._starts, self._pointers = elf, functions.starts, pointers

    def points_to(self, function: Function) -> Sequence[int]:
        """Return the addresses that a function makes, or loads from the GOT."""
        index = bisect_right(self._starts, function.address)
        following = self._starts[index] if index < len(self._starts) else function.address + _LARGEST
        size = min(function.size or following - function.address, _LARGEST)
        got = self._elf.section(".got")
        data = bytes(self._elf.at(function.address, size))
        return list(self._addresses(data, function.address, self._pointers.at, got.address + _TOC_BIAS if got else 0))

    def exemption(self, function: Function, hits: Sequence[Hit]) -> str:  # noqa: ARG002 - of every architecture
        """Explain alternatives, which the kernel patches in by processor feature (``__ftr_alt_*`` on powerpc)."""
        if function.section == ".altinstr_replacement" or function.section.startswith("__ftr_alt_"):
            return f"kernel: {function.section} is patched in by processor feature"
        return ""

    def self_test(self, function: Function, hits: Sequence[Hit]) -> str:
        """Explain functions that test the processor themselves, if the architecture has such functions."""
        return self._self_test(function, hits) if self._self_test else ""

    def guard(self, function: Function, hits: Sequence[Hit]) -> str:  # noqa: ARG002 - not followed here
        """Return no guard: guards are not followed here."""
        return ""

    def reachable(
        self,
        rest: Sequence[Function],  # noqa: ARG002 - not followed here
        allowed: Set[Function],  # noqa: ARG002
        never: Set[int],  # noqa: ARG002
    ) -> Mapping[Function, str]:
        """Return no function: callers are not followed here."""
        return {}


def signed(value: int, bits: int) -> int:
    """Return the value of a number of some bits in two's complement."""
    return value - (1 << bits) if value >> bits - 1 & 1 else value
