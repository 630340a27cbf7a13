"""Dispatch in code that binutils decode: what :mod:`workers.verify.isa.dispatch` asks of it.

What a resolver chooses is read from the few instructions with which these compilers make an address; guards and callers are
not followed: names and clone suffixes have to say the rest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from workers.formats.elf import Elf
from workers.formats.facts import Function, Hit
from workers.verify.functions import FunctionTable
from workers.verify.isa.pointers import Pointers

_LARGEST = 1 << 16  # bytes of a resolver that are read
_TOC_BIAS = 0x8000  # 64-bit ELF V2 ABI, section 3.3: the TOC pointer stands this far behind the start of .got

Reader = Callable[[bytes, int, Callable[[int], int], int], Iterator[int]]
"""From the bytes of a function, its address, the address that a word of data holds, and the TOC pointer of POWER: the addresses
that the function makes, or loads from the GOT."""
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
        """Addresses that a function makes, or loads from the GOT."""
        index = bisect_right(self._starts, function.address)
        following = self._starts[index] if index < len(self._starts) else function.address + _LARGEST
        size = min(function.size or following - function.address, _LARGEST)
        got = self._elf.section(".got")
        data = bytes(self._elf.at(function.address, size))
        return list(self._addresses(data, function.address, self._pointers.at, got.address + _TOC_BIAS if got else 0))

    def exemption(self, function: Function, hits: Sequence[Hit]) -> str:  # noqa: ARG002 - of every architecture
        """Alternatives, which the kernel patches in by processor feature (powerpc keeps them in sections of their own)."""
        if function.section == ".altinstr_replacement" or function.section.startswith("__ftr_alt_"):
            return f"kernel: {function.section} is patched in by processor feature"
        return ""

    def self_test(self, function: Function, hits: Sequence[Hit]) -> str:
        """What the architecture knows of functions that ask the processor themselves."""
        return self._self_test(function, hits) if self._self_test else ""

    def guard(self, function: Function, hits: Sequence[Hit]) -> str:  # noqa: ARG002 - not followed here
        """Nothing: not followed."""
        return ""

    def reachable(self, rest: Sequence[Function], allowed: Set[Function], never: Set[int]) -> Mapping[Function, str]:  # noqa: ARG002
        """Nothing: not followed."""
        return {}


def signed(value: int, bits: int) -> int:
    """A number of so many bits in two's complement."""
    return value - (1 << bits) if value >> bits - 1 & 1 else value
