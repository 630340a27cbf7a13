"""IBM Z: a frame is walkable if the old r15 is stored at 0(%r15): the back chain.

Instructions: z/Architecture Principles of Operation (SA22-7832), chapter 7.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Container, Iterator

from workers.formats.unwinding import Unwinding
from workers.verify.architectures import MachineCode
from workers.verify.isa import s390x
from workers.verify.isa.other_dispatch import OtherDispatch
from workers.verify.prologues import FRAMED, LEAF, Kind, Verdict, bytes_where, no_back_chain, stores_copy

# lgr %rX,%r15; ldgr %fX,%r15; la or lay %rX,N(%r15); aghik %rX,%r15,N: copies of the old r15. The last one computes it
# from the lowered r15, after a large frame was probed. Then stg %rX,0(%r15) or std %fX,0(%r15): in a function without
# calls, GCC may keep the old r15 in a floating-point register, and store the back chain from there. Go stores its
# return address with the same instruction, but from a register that is no copy.
_Z_REGISTER_AND_0 = bytes_where(lambda byte: byte & 15 == 0)
_Z_COPIES = (
    rb"(?:\xb9\x04|\xb3\xc1)\x00" + bytes_where(lambda byte: byte & 15 == 15),
    rb"\x41" + _Z_REGISTER_AND_0 + rb"[\xf0-\xff][\x00-\xff]",
    rb"\xe3" + _Z_REGISTER_AND_0 + rb"[\xf0-\xff][\x00-\xff][\x00-\x7f]\x71",
    rb"\xec" + bytes_where(lambda byte: byte & 15 == 15) + rb"[\x00-\x7f][\x00-\xff]\x00\xd9",
)
# At 0(%r15); with -mpacked-stack, as in the kernel, at 152(%r15), the top of the save area (GCC's manual, S/390).
_Z_STORES = (
    rb"\xe3" + _Z_REGISTER_AND_0 + rb"\xf0[\x00\x98]\x00\x24",
    rb"\x60" + _Z_REGISTER_AND_0 + rb"\xf0[\x00\x98]",
)
_Z_STORE = re.compile(rb"|".join(_Z_STORES))
_Z = re.compile(rb"(?P<copy>" + rb"|".join(_Z_COPIES) + rb")|" + rb"|".join(_Z_STORES))

_NOT_STORED = Verdict(Kind.UNFRAMED, "lowers r15 and stores no back chain at 0(%r15)")


def _judge_unwound(unwinding: Unwinding, code: memoryview, start: int, end: int) -> Verdict:
    # A function can save registers in the caller's save area without a frame; only a lowered r15 makes one. A partition
    # (.cold) continues a function, which made the frame and is judged for it.
    if not unwinding.lowers or unwinding.continues:
        return LEAF
    return FRAMED if _stores_back_chain(code, start, end) else _NOT_STORED


def _stores_back_chain(code: memoryview, start: int, end: int) -> bool:
    if _Z_STORE.search(code, start, end) is None:  # if nothing is stored, no copy has to be followed
        return False
    return stores_copy(_Z, code, start, end, 2, set(), _register)


def _register(instruction: bytes, _is_copy: bool) -> int:
    """Return the target of a copy, or the source of a store; floating-point registers count from 16."""
    floating = 16 if instruction[0] in (0xB3, 0x60) else 0
    return floating + instruction[3 if instruction[0] in (0xB9, 0xB3) else 1] // 16


def _judge_unknown(code: bytes, address: int, tracing: Container[int]) -> Verdict:
    if _stores_back_chain(memoryview(code), 0, len(code)):
        return FRAMED
    offset = 0
    while offset < len(code):
        size = (2, 4, 4, 6)[code[offset] >> 6]  # the first two bits of an instruction give its length
        word = code[offset : offset + size]
        if len(word) < size:
            break
        # aghi, agfi, slgfi %r15,…; lay %r15,-N(%r15), with base or index
        if (
            (word[:2] in (b"\xa7\xfb", b"\xc2\xf8") and word[2] >= 0x80)
            or word[:2] == b"\xc2\xf4"
            or (word[0] == 0xE3 and word[1] >> 4 == 15 and word[5] == 0x71 and word[4] >= 0x80)
        ):
            return no_back_chain("lowers r15")
        # brasl, bras, basr with the return address in %r14; a call of a tracer (brasl %r0,…) uses another register
        is_call = word[:2] in (b"\xc0\xe5", b"\xa7\xe5") or (word[0] == 0x0D and word[1] >> 4 == 14 and word[1] & 15)
        if is_call and address + offset not in tracing:
            return no_back_chain("calls")
        offset += size
    return LEAF


def _addresses(data: bytes, address: int, at: Callable[[int], int], toc: int) -> Iterator[int]:  # noqa: ARG001
    """Yield the addresses that LARL makes and LGRL loads (z/Architecture Principles of Operation, chapter 7)."""
    place = 0
    while place + 6 <= len(data):
        first, second = data[place], data[place + 1]
        distance = 2 * int.from_bytes(data[place + 2 : place + 6], "big", signed=True)
        if first == 0xC0 and second & 15 == 0:
            yield address + place + distance
        elif first == 0xC4 and second & 15 == 8:
            yield at(address + place + distance)
        place += (2, 4, 4, 6)[first >> 6]


CODE = MachineCode(
    judge_unwound=_judge_unwound,
    judge_unknown=_judge_unknown,
    dispatch=functools.partial(OtherDispatch, addresses=_addresses),
    kinds=s390x,
)
