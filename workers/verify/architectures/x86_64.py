"""64-bit x86: a frame is walkable if the CFA is computed from rbp. Instructions: Intel 64 SDM volume 2."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from workers.formats.elf import Elf
from workers.formats.unwinding import Unwinding
from workers.verify.architectures import MachineCode
from workers.verify.functions import FunctionTable
from workers.verify.prologues import FRAMED, LEAF, Kind, Verdict

if TYPE_CHECKING:
    from workers.verify.isa.dispatch import Dispatch
    from workers.verify.isa.pointers import Pointers

_RBP = 6  # DWARF's number: AMD64 psABI, figure 3.36
_NO_RBP = Verdict(Kind.UNFRAMED, "moves the stack pointer, and no CFA is computed from rbp")


def _judge_unwound(unwinding: Unwinding, _code: memoryview, _start: int, _end: int) -> Verdict:
    if not unwinding.moves:
        return LEAF
    return FRAMED if unwinding.computes_cfa_from(_RBP) else _NO_RBP


def _judge_unknown(code: bytes, address: int, tracing: Container[int]) -> Verdict:
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


def _dispatch(elf: Elf, functions: FunctionTable, pointers: Pointers) -> Dispatch:
    from workers.verify.isa.x86_dispatch import X86Dispatch

    return X86Dispatch(elf, functions, pointers)


CODE = MachineCode(judge_unwound=_judge_unwound, judge_unknown=_judge_unknown, dispatch=_dispatch, kinds=None)
