"""Dispatch in code of aarch64, ppc64le and s390x: what :mod:`workers.verify.isa.dispatch` asks of it.

What a resolver chooses is read from the few instructions with which these compilers make an address; guards and callers are
not followed: names and clone suffixes have to say the rest.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from workers.formats.elf import Elf
from workers.formats.facts import Function, Hit
from workers.verify.functions import FunctionTable
from workers.verify.isa.pointers import Pointers

_LARGEST = 1 << 16  # bytes of a resolver that are read
_TOC_BIAS = 0x8000  # 64-bit ELF V2 ABI, section 3.3: the TOC pointer stands this far behind the start of .got
_OUTLINE_ATOMIC = re.compile(r"__aarch64_(cas|swp|ldadd|ldclr|ldeor|ldset)\d+_(relax|acq|rel|acq_rel|sync)")

Reader = Callable[[bytes, int, Callable[[int], int], int], Iterator[int]]


class OtherDispatch:
    """See :class:`workers.verify.isa.dispatch.Architecture`."""

    def __init__(self, elf: Elf, functions: FunctionTable, pointers: Pointers) -> None:
        self._elf, self._starts, self._pointers = elf, functions.starts, pointers

    def points_to(self, function: Function) -> Sequence[int]:
        """Addresses that a function makes, or loads from the GOT."""
        reader = _READERS.get(self._elf.machine)
        if reader is None:
            return []
        index = bisect_right(self._starts, function.address)
        following = self._starts[index] if index < len(self._starts) else function.address + _LARGEST
        size = min(function.size or following - function.address, _LARGEST)
        got = self._elf.section(".got")
        data = bytes(self._elf.at(function.address, size))
        return list(reader(data, function.address, self._pointers.at, got.address + _TOC_BIAS if got else 0))

    def apart(self, function: Function, hits: Sequence[Hit]) -> str:  # noqa: ARG002 - of every architecture
        """Alternatives, which the kernel patches in by processor feature (powerpc keeps them in sections of their own)."""
        if function.section == ".altinstr_replacement" or function.section.startswith("__ftr_alt_"):
            return f"kernel: {function.section} is patched in by processor feature"
        return ""

    def asks(self, function: Function, hits: Sequence[Hit]) -> str:
        """Atomics out of line: libgcc's functions test ``__aarch64_have_lse_atomics`` themselves (GCC's manual)."""
        if _OUTLINE_ATOMIC.fullmatch(function.name) and all(hit.features == ("lse",) for hit in hits):
            return "guard: libgcc's outline atomics test for LSE before they use it"
        return ""

    def guarded(self, function: Function, hits: Sequence[Hit]) -> str:  # noqa: ARG002 - not followed here
        """Nothing: not followed."""
        return ""

    def reached(self, rest: Sequence[Function], lawful: Set[Function], never: Set[int]) -> Mapping[Function, str]:  # noqa: ARG002
        """Nothing: not followed."""
        return {}


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value


def _aarch64(data: bytes, address: int, at: Callable[[int], int], toc: int) -> Iterator[int]:  # noqa: ARG001
    """ADRP, ADR, and what ADD and LDR make of their page (Arm Architecture Reference Manual, C6.2)."""
    pages: dict[int, int] = {}
    for place, (word,) in enumerate(struct.iter_unpack("<I", data[: len(data) & ~3])):
        register, base = word & 31, word >> 5 & 31
        if word & 0x1F000000 == 0x10000000:  # ADR, ADRP
            distance = _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
            here = address + 4 * place
            if word >> 31:
                pages[register] = (here & ~0xFFF) + (distance << 12)
            else:
                yield here + distance
        elif word & 0xFF800000 == 0x91000000 and base in pages:  # ADD, 64 bits, immediate
            yield pages[base] + ((word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0))
        elif word & 0xFFC00000 == 0xF9400000 and base in pages:  # LDR, 64 bits, unsigned offset
            yield at(pages[base] + (word >> 10 & 0xFFF) * 8)


def _ppc64le(data: bytes, address: int, at: Callable[[int], int], toc: int) -> Iterator[int]:  # noqa: ARG001
    """ADDIS from the TOC pointer, and what ADDI and LD make of it (Power ISA 3.0B, 3.3.9; ELF V2 ABI, 3.6.1)."""
    high = {2: toc}
    for (word,) in struct.iter_unpack("<I", data[: len(data) & ~3]):
        operation, register, base, low = word >> 26, word >> 21 & 31, word >> 16 & 31, _signed(word & 0xFFFF, 16)
        if operation == 15 and base == 2 and register != 2:  # ADDIS
            high[register] = toc + (low << 16)
        elif operation == 14 and base in high:  # ADDI
            yield high[base] + low
        elif operation == 58 and not word & 3 and base in high:  # LD
            yield at(high[base] + low)


def _s390x(data: bytes, address: int, at: Callable[[int], int], toc: int) -> Iterator[int]:  # noqa: ARG001
    """LARL and LGRL (z/Architecture Principles of Operation, chapter 7): instructions have two, four or six bytes."""
    place = 0
    while place + 6 <= len(data):
        first, second = data[place], data[place + 1]
        distance = 2 * int.from_bytes(data[place + 2 : place + 6], "big", signed=True)
        if first == 0xC0 and second & 15 == 0:
            yield address + place + distance
        elif first == 0xC4 and second & 15 == 8:
            yield at(address + place + distance)
        place += (2, 4, 4, 6)[first >> 6]


_READERS: Mapping[str, Reader] = {"EM_AARCH64": _aarch64, "EM_PPC64": _ppc64le, "EM_S390": _s390x}
