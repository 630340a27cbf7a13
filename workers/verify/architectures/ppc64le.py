"""64-bit POWER: a frame is walkable if stdu or stdux makes it, which stores the back chain.

Instructions: Power ISA 3.1, 3.3.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Container, Iterator

from workers.formats.unwinding import Unwinding
from workers.verify.architectures import MachineCode
from workers.verify.isa import ppc64
from workers.verify.isa.other_dispatch import OtherDispatch, signed
from workers.verify.prologues import FRAMED, LEAF, Kind, Verdict, bytes_where, no_back_chain, stores_copy, words

_BASE_R1 = bytes_where(lambda byte: byte & 31 == 1)
# mr rX,r1; then stdu rX,-N(r1) or stdux rX,r1,rY, which make the frame and store the back chain. rX is r1, or a copy of
# it if a large frame is probed page by page (-fstack-clash-protection). Go stores its return address with the same
# instruction, but from a register that is no copy of r1.
_POWER = re.compile(
    rb"(?P<copy>\x78\x0b[\x20-\x3f]\x7c)|"
    + bytes_where(lambda byte: byte & 3 == 1) + rb"[\x80-\xff]" + _BASE_R1 + rb"[\xf8-\xfb]|\x6a"
    + bytes_where(lambda byte: byte & 7 == 1) + _BASE_R1 + rb"[\x7c-\x7f]"
)  # fmt: skip

_NOT_STORED = Verdict(Kind.UNFRAMED, "moves the stack pointer without storing a back chain (stdu, stdux)")


def _judge_unwound(unwinding: Unwinding, code: memoryview, start: int, end: int) -> Verdict:
    # A partition (.cold) continues a function, which made the frame and is judged for it.
    if not unwinding.moves or unwinding.continues:
        return LEAF
    return FRAMED if _stores_back_chain(code, start, end) else _NOT_STORED


def _stores_back_chain(code: memoryview, start: int, end: int) -> bool:
    return stores_copy(_POWER, code, start, end, 4, {1}, _register)


def _register(instruction: bytes, is_copy: bool) -> int:
    """Return the target of a copy, or the source of a store."""
    word = int.from_bytes(instruction, "little")
    return word >> (16 if is_copy else 21) & 31


def _judge_unknown(code: bytes, address: int, tracing: Container[int]) -> Verdict:
    if _stores_back_chain(memoryview(code), 0, len(code)):
        return FRAMED
    for offset, word in words(code, "<"):
        if word & 0xFFFF8000 == 0x38218000:  # addi r1,r1,-N
            return no_back_chain("lowers r1")
        # bl; bctrl, blrl. Not bcl 20,31,.+4, which only reads the address of the next instruction.
        is_call = word & 0xFC000003 == 0x48000001 or word in (0x4E800421, 0x4E800021)
        if is_call and address + offset not in tracing:
            return no_back_chain("calls")
    return LEAF


def _addresses(data: bytes, address: int, at: Callable[[int], int], toc: int) -> Iterator[int]:  # noqa: ARG001
    """Yield what ADDI and LD make from ADDIS and the TOC pointer (Power ISA 3.0B, 3.3.9; ELF V2 ABI, 3.6.1)."""
    high = {2: toc}
    for (word,) in struct.iter_unpack("<I", data[: len(data) & ~3]):
        operation, register, base, low = word >> 26, word >> 21 & 31, word >> 16 & 31, signed(word & 0xFFFF, 16)
        if operation == 15 and base == 2 and register != 2:  # ADDIS
            high[register] = toc + (low << 16)
        elif operation == 14 and base in high:  # ADDI
            yield high[base] + low
        elif operation == 58 and not word & 3 and base in high:  # LD
            yield at(high[base] + low)


CODE = MachineCode(
    judge_unwound=_judge_unwound,
    judge_unknown=_judge_unknown,
    dispatch=functools.partial(OtherDispatch, addresses=_addresses),
    kinds=ppc64,
)
