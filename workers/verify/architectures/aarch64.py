"""64-bit Arm: a frame is walkable if x29 is saved, and set from sp. Instructions: Arm ARM (DDI 0487), C6.2."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Container, Iterator, Sequence

from workers.formats.facts import Function, Hit
from workers.formats.unwinding import Unwinding
from workers.verify.architectures import MachineCode
from workers.verify.isa import aarch64
from workers.verify.isa.other_dispatch import OtherDispatch, signed
from workers.verify.prologues import FRAMED, LEAF, Kind, Verdict, aligned, bytes_where, words

_X29 = 29  # DWARF's number: DWARF for the Arm 64-bit Architecture, table 1
# add x29, sp, #imm (mov x29, sp is one of these); sub x29, sp, #imm: Go keeps x29 below its frame.
_SETS_X29 = re.compile(rb"\xfd" + bytes_where(lambda byte: byte & 3 == 3) + rb"[\x00-\x7f][\x91\xd1]")
_UNSAVED = Verdict(Kind.UNFRAMED, "moves the stack pointer and does not save x29")
_NOT_SET = Verdict(Kind.UNFRAMED, "saves x29 and never sets it from sp")
_OUTLINE_ATOMIC = re.compile(r"__aarch64_(cas|swp|ldadd|ldclr|ldeor|ldset)\d+_(relax|acq|rel|acq_rel|sync)")


def _sets_x29(code: memoryview, start: int, end: int) -> bool:
    return any(True for _ in aligned(_SETS_X29, code, start, end, 4))


def _judge_unwound(unwinding: Unwinding, code: memoryview, start: int, end: int) -> Verdict:
    if not unwinding.moves:
        return LEAF
    if unwinding.computes_cfa_from(_X29):
        return FRAMED
    if not unwinding.saves(_X29):
        return _UNSAVED
    if unwinding.continues:  # a partition (.cold): its function made the frame, and is judged for it
        return LEAF
    return FRAMED if _sets_x29(code, start, end) else _NOT_SET


def _judge_unknown(code: bytes, address: int, tracing: Container[int]) -> Verdict:
    if _sets_x29(memoryview(code), 0, len(code)):
        return FRAMED
    for offset, word in words(code, "<"):
        if word & 0xFF8003FF == 0xD10003FF or word & 0xFFE003FF == 0xCB2003FF:  # sub sp, sp, #imm or xN
            return _without_x29("lowers sp")
        # Stores with pre-index to [sp, #imm]!: STP of any registers, STR.
        if word & 0x3BC003E0 == 0x298003E0 or word & 0x3B600FE0 == 0x38000FE0:
            return _without_x29("pushes onto the stack")
        # bl; blr and its signed forms blraa, blrab
        is_call = word & 0xFC000000 == 0x94000000 or word & 0xFEFFF800 == 0xD63F0800 or word & 0xFFFFFC1F == 0xD63F0000
        if is_call and address + offset not in tracing:
            return _without_x29("calls")
    return LEAF


def _without_x29(why: str) -> Verdict:
    return Verdict(Kind.UNFRAMED, f"{why}, and x29 is never set from sp (code)")


def _addresses(data: bytes, address: int, at: Callable[[int], int], toc: int) -> Iterator[int]:  # noqa: ARG001
    """Yield the addresses that ADR makes, and those that ADD and LDR make from the page of an ADRP (Arm ARM, C6.2)."""
    pages: dict[int, int] = {}
    for place, (word,) in enumerate(struct.iter_unpack("<I", data[: len(data) & ~3])):
        register, base = word & 31, word >> 5 & 31
        if word & 0x1F000000 == 0x10000000:  # ADR, ADRP
            distance = signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
            here = address + 4 * place
            if word >> 31:
                pages[register] = (here & ~0xFFF) + (distance << 12)
            else:
                yield here + distance
        elif word & 0xFF800000 == 0x91000000 and base in pages:  # ADD, 64 bits, immediate
            yield pages[base] + ((word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0))
        elif word & 0xFFC00000 == 0xF9400000 and base in pages:  # LDR, 64 bits, unsigned offset
            yield at(pages[base] + (word >> 10 & 0xFFF) * 8)


def _self_test(function: Function, hits: Sequence[Hit]) -> str:
    """Explain out-of-line atomics: libgcc's functions test ``__aarch64_have_lse_atomics`` (GCC's manual)."""
    if _OUTLINE_ATOMIC.fullmatch(function.name) and all(hit.features == ("lse",) for hit in hits):
        return "guard: libgcc's outline atomics test for LSE before they use it"
    return ""


CODE = MachineCode(
    judge_unwound=_judge_unwound,
    judge_unknown=_judge_unknown,
    dispatch=functools.partial(OtherDispatch, addresses=_addresses, self_test=_self_test),
    kinds=aarch64,
)
