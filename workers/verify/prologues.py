"""Machine code of a function: whether it makes a frame, and keeps the frame pointer or the back chain in it.

Unwind tables answer the first question for most functions and, on x86_64, the second one too. Everywhere else the second
is answered by the instruction that sets the frame pointer or stores the back chain; and functions without any unwind table
(kernel modules, assembler sources) are read altogether.

Instructions: Intel 64 SDM volume 2; Arm ARM (DDI 0487) C6.2; Power ISA 3.1, 3.3; z/Architecture Principles of Operation
(SA22-7832), chapter 7. Stack frames: the four psABIs (AMD64, AAPCS64, 64-bit ELF V2 for Power, s390x).
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass


class Kind(enum.Enum):
    """What became of a function's frame pointer."""

    FRAMED = enum.auto()
    """It makes a frame and keeps the frame pointer (ppc64le, s390x: the back chain)."""
    LEAF = enum.auto()
    """It makes no frame."""
    UNFRAMED = enum.auto()
    """It makes a frame, or calls, and keeps none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A kind, and of UNFRAMED what was seen."""

    kind: Kind
    why: str = ""


FRAMED, LEAF = Verdict(Kind.FRAMED), Verdict(Kind.LEAF)

# ------------------------------------------------------------------- the instruction that keeps the pointer, as bytes


def _where(accepted: Callable[[int], bool]) -> bytes:
    """A class of a regular expression: the bytes that are accepted."""
    return b"[" + b"".join(b"\\x%02x" % byte for byte in range(256) if accepted(byte)) + b"]"


# add x29, sp, #imm, of which mov x29, sp is one; sub x29, sp, #imm: Go keeps x29 below its frame.
_SETS_X29 = re.compile(rb"\xfd" + _where(lambda byte: byte & 3 == 3) + rb"[\x00-\x7f][\x91\xd1]")

# mr rX,r1; then stdu rX,-N(r1) or stdux rX,r1,rY: the frame is made by storing the back chain. rX is r1 itself, or a copy
# of it where a large frame is probed page by page (-fstack-clash-protection). Go stores its return address so: no copy.
_POWER = re.compile(
    rb"(?P<copy>\x78\x0b[\x20-\x3f]\x7c)|"
    + _where(lambda byte: byte & 3 == 1) + rb"[\x80-\xff]" + _where(lambda byte: byte & 31 == 1) + rb"[\xf8-\xfb]|\x6a"
    + _where(lambda byte: byte & 7 == 1) + _where(lambda byte: byte & 31 == 1) + rb"[\x7c-\x7f]"
)  # fmt: skip

# lgr %rX,%r15; ldgr %fX,%r15; la or lay %rX,N(%r15); aghik %rX,%r15,N: the old r15, the latter from the lowered one after
# a large frame was probed. Then stg %rX,0(%r15) or std %fX,0(%r15): GCC lets a function that calls nothing keep the old
# r15 in a floating-point register, and stores the back chain from there. Go stores its return address so: no copy.
_Z_REGISTER_AND_0 = _where(lambda byte: byte & 15 == 0)
_Z_COPIES = (
    rb"(?:\xb9\x04|\xb3\xc1)\x00" + _where(lambda byte: byte & 15 == 15),
    rb"\x41" + _Z_REGISTER_AND_0 + rb"[\xf0-\xff][\x00-\xff]",
    rb"\xe3" + _Z_REGISTER_AND_0 + rb"[\xf0-\xff][\x00-\xff][\x00-\x7f]\x71",
    rb"\xec" + _where(lambda byte: byte & 15 == 15) + rb"[\x00-\x7f][\x00-\xff]\x00\xd9",
)
# At 0(%r15); with -mpacked-stack, as in the kernel, at 152(%r15): the topmost place of the save area (GCC's manual, S/390).
_Z_STORES = (
    rb"\xe3" + _Z_REGISTER_AND_0 + rb"\xf0[\x00\x98]\x00\x24",
    rb"\x60" + _Z_REGISTER_AND_0 + rb"\xf0[\x00\x98]",
)
_Z_STORE = re.compile(rb"|".join(_Z_STORES))
_Z = re.compile(rb"(?P<copy>" + rb"|".join(_Z_COPIES) + rb")|" + rb"|".join(_Z_STORES))


def keeps_pointer(machine: str, code: memoryview, start: int, end: int) -> bool:
    """Whether these bytes of a function set x29 from sp (EM_AARCH64) or store a back chain (EM_PPC64, EM_S390).

    :param start: offset of the function in ``code``; its instructions are aligned from there.
    """
    if machine == "EM_AARCH64":
        return any(True for _ in _aligned(_SETS_X29, code, start, end, 4))
    if machine == "EM_PPC64":
        return _stores_copy(_POWER, code, start, end, 4, {1}, _power_register)
    if _Z_STORE.search(code, start, end) is None:  # where nothing is stored, no copy has to be followed
        return False
    return _stores_copy(_Z, code, start, end, 2, set(), _z_register)


def _aligned(
    pattern: re.Pattern[bytes], code: memoryview, start: int, end: int, alignment: int
) -> Iterator[re.Match[bytes]]:
    """What a pattern finds where instructions begin; what looks like one across two instructions is stepped over."""
    position = start
    while (found := pattern.search(code, position, end)) is not None:
        if (found.start() - start) % alignment:
            position = found.start() + 1
        else:
            yield found
            position = found.end()


def _stores_copy(
    pattern: re.Pattern[bytes], code: memoryview, start: int, end: int, alignment: int, copies: set[int],
    register_of: Callable[[bytes, bool], int],
) -> bool:  # fmt: skip
    """Whether what a pattern finds stores a register that holds a copy of the old stack pointer.

    :param copies: registers that hold it at the start.
    """
    for found in _aligned(pattern, code, start, end, alignment):
        is_copy = found["copy"] is not None
        register = register_of(found[0], is_copy)
        if is_copy:
            copies.add(register)
        elif register in copies:
            return True
    return False


def _power_register(instruction: bytes, is_copy: bool) -> int:
    """Of a copy its target, of a store its source."""
    word = int.from_bytes(instruction, "little")
    return word >> (16 if is_copy else 21) & 31


def _z_register(instruction: bytes, _is_copy: bool) -> int:
    """The same; floating-point registers count from 16."""
    floating = 16 if instruction[0] in (0xB3, 0x60) else 0
    return floating + instruction[3 if instruction[0] in (0xB9, 0xB3) else 1] // 16


# --------------------------------------------------------------------------------- functions without an unwind table


def read_function(machine: str, code: bytes, address: int, tracing: Container[int] = ()) -> Verdict:
    """Judge a function by its instructions alone.

    :param code: the function, of one of the four machines.
    :param tracing: addresses of calls that the compiler inserts for a tracer (``__fentry__``, ``_mcount``): no call of the
        function's own.
    """
    return _READERS[machine](code, address, tracing)


def _x86_64(code: bytes, address: int, tracing: Container[int]) -> Verdict:
    from iced_x86 import Decoder, FlowControl, Mnemonic, OpKind, Register

    why = ""
    is_saved = False
    for instruction in Decoder(64, code, ip=address):
        mnemonic, target = instruction.mnemonic, instruction.op0_register
        if mnemonic == Mnemonic.PUSH:
            is_saved = is_saved or target == Register.RBP
        elif mnemonic == Mnemonic.MOV and instruction.op1_register == Register.RBP:
            is_saved = is_saved or instruction.op0_kind == OpKind.MEMORY
        elif target == Register.RBP and is_saved:
            if mnemonic == Mnemonic.MOV and instruction.op1_register == Register.RSP:
                return FRAMED
            if mnemonic == Mnemonic.LEA and instruction.memory_base == Register.RSP:
                return FRAMED
        elif mnemonic == Mnemonic.ENTER:
            return FRAMED
        if why:
            continue
        if instruction.flow_control in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
            if instruction.ip not in tracing:
                why = "calls"
        elif instruction.is_stack_instruction and instruction.stack_pointer_increment < 0:
            why = "pushes onto the stack"
        elif target == Register.RSP and mnemonic in (Mnemonic.SUB, Mnemonic.AND, Mnemonic.LEA):
            why = "lowers rsp"
    return Verdict(Kind.UNFRAMED, f"{why}, and rbp is never saved and set from rsp (code)") if why else LEAF


def _words(code: bytes, order: str) -> Iterator[tuple[int, int]]:
    """(offset, instruction) of each word."""
    return ((4 * index, word) for index, (word,) in enumerate(struct.iter_unpack(order + "I", code[: len(code) & ~3])))


def _aarch64(code: bytes, address: int, tracing: Container[int]) -> Verdict:
    if keeps_pointer("EM_AARCH64", memoryview(code), 0, len(code)):
        return FRAMED
    for offset, word in _words(code, "<"):
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


def _ppc64le(code: bytes, address: int, tracing: Container[int]) -> Verdict:
    if keeps_pointer("EM_PPC64", memoryview(code), 0, len(code)):
        return FRAMED
    for offset, word in _words(code, "<"):
        if word & 0xFFFF8000 == 0x38218000:  # addi r1,r1,-N
            return _without_back_chain("lowers r1")
        # bl; bctrl, blrl. bcl 20,31,.+4, which only asks where it is, is none.
        is_call = word & 0xFC000003 == 0x48000001 or word in (0x4E800421, 0x4E800021)
        if is_call and address + offset not in tracing:
            return _without_back_chain("calls")
    return LEAF


def _s390x(code: bytes, address: int, tracing: Container[int]) -> Verdict:
    if keeps_pointer("EM_S390", memoryview(code), 0, len(code)):
        return FRAMED
    offset = 0
    while offset < len(code):
        size = (2, 4, 4, 6)[code[offset] >> 6]  # the first two bits of an instruction say its length
        word = code[offset : offset + size]
        if len(word) < size:
            break
        # aghi, agfi, slgfi %r15,…; lay %r15,-N(%r15), with base or index
        if (
            (word[:2] in (b"\xa7\xfb", b"\xc2\xf8") and word[2] >= 0x80)
            or word[:2] == b"\xc2\xf4"
            or (word[0] == 0xE3 and word[1] >> 4 == 15 and word[5] == 0x71 and word[4] >= 0x80)
        ):
            return _without_back_chain("lowers r15")
        # brasl, bras, basr with the return address in %r14: what a tracer's call (brasl %r0,…) has not
        is_call = word[:2] in (b"\xc0\xe5", b"\xa7\xe5") or (word[0] == 0x0D and word[1] >> 4 == 14 and word[1] & 15)
        if is_call and address + offset not in tracing:
            return _without_back_chain("calls")
        offset += size
    return LEAF


def _without_back_chain(why: str) -> Verdict:
    return Verdict(Kind.UNFRAMED, f"{why}, and no back chain is stored (code)")


_READERS = {"EM_X86_64": _x86_64, "EM_AARCH64": _aarch64, "EM_PPC64": _ppc64le, "EM_S390": _s390x}
MACHINES = frozenset(_READERS)
"""Those whose functions can be judged."""
