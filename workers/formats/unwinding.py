"""Call frame instructions: what the unwind program of a function says about its frame.

An unwind table describes the canonical frame address (CFA), the stack pointer's value before the call, for each
instruction of a function. Whether the function keeps a frame pointer does not depend on the place at which a rule
applies. So the program runs once, from its first to its last instruction, and the result is what it says anywhere.

Format: DWARF 5, section 6.4.2 (call frame instructions) and 7.24 (their codes); Linux Standard Base Core 5.0, section
10.6 (the GNU instructions); DWARF for the Arm 64-bit Architecture, "Call frame instructions".
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from operator import length_hint
from typing import NamedTuple

from config.architectures import machines
from workers.base.errors import MalformedError

EXPRESSION = -1
"""In place of a CFA's register: a DWARF expression computes the CFA."""

_LEB128_BITS = 63  # ten bytes are enough for any number of 64 bits
_LAST_REGISTER = 127  # general registers have lower numbers on every machine; a hostile file cannot make a mask grow

# Operands of the instructions that are only skipped: a digit is a number of bytes, "a" an address, "u" a LEB128 number,
# "b" a block.
_SKIPPED = {
    0x01: "a", 0x02: "1", 0x03: "2", 0x04: "4", 0x1D: "8",  # set_loc, advance_loc1, 2, 4; MIPS_advance_loc8
    0x07: "u", 0x08: "u",  # undefined, same_value
    0x06: "u",  # restore_extended
    0x14: "uu", 0x15: "uu", 0x16: "ub",  # val_offset, val_offset_sf, val_expression: a value, nothing saved
    0x09: "uu",  # register: kept in another register
    0x2C: "", 0x2D: "",  # AARCH64_negate_ra_state_with_pc, AARCH64_negate_ra_state
    0x2E: "u",  # GNU_args_size
}  # fmt: skip
_ADVANCES = (0x01, 0x02, 0x03, 0x04, 0x1D)
# def_cfa, def_cfa_register, def_cfa_expression, def_cfa_sf, def_cfa_offset_sf
_DEFINES_CFA = (0x0C, 0x0D, 0x0F, 0x12, 0x13)
_SAVES = {0x05: "u", 0x10: "b", 0x11: "u", 0x2F: "u"}  # offset_extended, expression, offset_extended_sf, GNU_negative_…

# Operands of the operations of a DWARF expression. Operations that are not listed have none.
_OPERATIONS = {
    0x03: "a",  # addr
    0x08: "1", 0x09: "1", 0x0A: "2", 0x0B: "2", 0x0C: "4", 0x0D: "4", 0x0E: "8", 0x0F: "8",  # const1u … const8s
    0x10: "u", 0x11: "u", 0x15: "1", 0x23: "u", 0x28: "2", 0x2F: "2",  # constu, consts, pick, plus_uconst, bra, skip
    0x94: "1",  # deref_size
}  # fmt: skip

# What undoes a frame, skipped in one match: advance_loc, restore, nop, remember_state, restore_state, def_cfa_offset.
# At most one alternative begins with a given byte, and nothing that may fail follows the repeat: it never backtracks,
# and takes linear time. A repeat records each round, so it has a limit. It is not possessive: Python up to 3.11.4 loses
# matches of possessive repeats
# (https://github.com/python/cpython/issues/106052).
_UNDOING = re.compile(
    rb"(?s:[\x40-\x7f\xc0-\xff\x00\x0a\x0b]|\x0e[\x80-\xff]{0,8}[\x00-\x7f]|\x02.|\x03..|\x04....){0,1000}"
)


@dataclass(frozen=True, slots=True)
class Cfa:
    """A rule for the CFA: register plus offset."""

    register: int = EXPRESSION
    """DWARF's number of it, or ``EXPRESSION``."""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Unwinding:
    """What an unwind program says about its function, at any place in it."""

    moves: bool = False
    """Whether the CFA's rule ever differs from the one at a function's entry."""
    lowers: bool = False
    """Whether its offset ever differs: the function lowers the register. If not, it only copies a register."""
    continues: bool = False
    """Whether it differs at the first instruction: a partition (``.cold``), whose frame another part makes."""
    bases: int = 0
    """Registers that the CFA is ever computed from, also by expressions: bit N is DWARF's register N."""
    saved: int = 0
    """Registers that are ever saved in memory, a mask like ``bases``."""
    is_signal_frame: bool = False
    """Whether a signal handler returns to this code, whose frame the kernel made."""

    def computes_cfa_from(self, register: int) -> bool:
        """Return whether the CFA is ever computed from that register."""
        return bool(self.bases >> register & 1)

    def saves(self, register: int) -> bool:
        """Return whether that register is ever saved in memory."""
        return bool(self.saved >> register & 1)


class _State(NamedTuple):
    """The state of a running program: the CFA's rule, and the fields of the Unwinding so far."""

    register: int
    offset: int
    moves: bool = False
    lowers: bool = False
    continues: bool = False
    bases: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class Common:
    """What the functions of one CIE have in common."""

    entry: Cfa
    """The CFA at a function's entry."""
    state: _State
    """The state after the CIE's own instructions. GNU as moves common first instructions there: the whole program of a
    partition whose frame was made elsewhere may be in the CIE."""
    data_alignment: int
    """The factor of ``DW_CFA_def_cfa_sf`` and similar instructions."""
    address_size: int
    """Bytes."""
    is_signal_frame: bool


def common(
    program: bytes, machine: str, data_alignment: int = 1, address_size: int = 8, *, is_signal_frame: bool = False
) -> Common:
    """Run the instructions of a CIE.

    :param machine: its ABI gives the CFA at a function's entry; for an unknown machine, the CIE gives it.
    :raises MalformedError: as in :func:`run`.
    """
    known = machines().get(machine)
    entry = Cfa(*known.entry_cfa) if known else Cfa()
    start = Common(entry, _State(entry.register, entry.offset), data_alignment, address_size, is_signal_frame)
    state = _run(program, start)
    if known is None:
        entry, state = Cfa(*state[:2]), _State(*state[:2], saved=state.saved)
    return Common(entry, state, data_alignment, address_size, is_signal_frame)


def run(program: bytes, common: Common) -> Unwinding:
    """Run the call frame instructions of a function.

    :raises MalformedError: an instruction is cut or not defined.
    """
    return _shared(*_run(program, common, skip_epilogue=True)[2:], common.is_signal_frame)


def run_exactly(program: bytes, common: Common) -> Unwinding:
    """Run every instruction, without the shortcut of :func:`run`: the reference that its results are compared with."""
    return _shared(*_run(program, common)[2:], common.is_signal_frame)


# Thousands of programs have only some dozens of different results.
_shared = functools.lru_cache(maxsize=1 << 12)(Unwinding)


def _run(program: bytes, common: Common, *, skip_epilogue: bool = False) -> _State:
    """Run a program to its end.

    :param skip_epilogue: when the program begins to undo the frame, skip the rest if it does nothing else: it cannot
        change the result. The rule in the returned state is then not the last one.
    """
    entry, data_alignment, address_size = common.entry, common.data_alignment, common.address_size
    at_entry = (entry.register, entry.offset)
    register, offset, moves, lowers, continues, bases, saved = common.state
    advanced = False
    remembered: list[tuple[int, int]] = []
    stream = iter(program)
    try:
        for code in stream:  # most frequent first: this loop takes most of the time
            if 0x40 <= code < 0x80:  # advance_loc
                advanced = True
            elif code == 0x0E:  # def_cfa_offset
                before, offset = offset, next(stream)
                if offset >= 0x80:
                    offset = _rest_of_leb128(offset, stream)
                if (register, offset) != at_entry:
                    moves = True
                    lowers = lowers or offset != entry.offset
                    continues = continues or not advanced
                if offset < before and skip_epilogue and lowers:
                    if only_undoes(program, len(program) - length_hint(stream)):
                        break
                    skip_epilogue = False  # look ahead only once: more could take quadratic time
            elif code >= 0xC0 or not code:  # restore, nop
                pass
            elif code >= 0x80:  # offset
                saved |= 1 << (code & 0x3F)
                if next(stream) >= 0x80:
                    _leb128(stream)
            elif code == 0x0A:  # remember_state
                remembered.append((register, offset))
                if skip_epilogue and lowers:
                    if only_undoes(program, len(program) - length_hint(stream)):
                        break
                    skip_epilogue = False
            elif code == 0x0B:  # restore_state
                register, offset = remembered.pop()
            elif code in _DEFINES_CFA:
                if code == 0x0F:  # def_cfa_expression
                    block = _take(stream, _leb128(stream))
                    bases |= registers_of(block, address_size)
                    register, offset = EXPRESSION, 0
                else:
                    if code != 0x13:
                        register = _leb128(stream)
                        bases |= _bit(register)
                    if code == 0x0C:
                        offset = _leb128(stream)
                    elif code != 0x0D:
                        offset = _leb128(stream, signed=True) * data_alignment
                if (register, offset) != at_entry or register == EXPRESSION:
                    moves = True
                    lowers = lowers or offset != entry.offset or register == EXPRESSION
                    continues = continues or not advanced
            elif code in _SAVES:
                saved |= _bit(_leb128(stream))
                _skip(stream, _SAVES[code], address_size)
            elif code in _SKIPPED:
                advanced = advanced or code in _ADVANCES
                _skip(stream, _SKIPPED[code], address_size)
            else:
                raise MalformedError(f"damaged unwind table: unknown call frame instruction {code:#x}")
    except (StopIteration, IndexError):
        raise MalformedError(
            "damaged unwind table: a call frame instruction is cut or restores a state that none saved"
        ) from None
    return _State(register, offset, moves, lowers, continues, bases, saved)


def only_undoes(program: bytes, position: int = 0) -> bool:
    """Return whether a program only undoes its frame from ``position`` on."""
    while position < len(program):
        found = _UNDOING.match(program, position)
        if found is None or found.end() == position:
            return False
        position = found.end()
    return True


def registers_of(expression: bytes, address_size: int = 8) -> int:
    """Return the registers that a DWARF expression reads, as a mask.

    GCC describes a realigned stack by one: it loads the CFA from where the function stored it,
    ``DW_OP_breg6 -8; DW_OP_deref``.

    :raises MalformedError: the expression is cut.
    """
    mask = 0
    stream = iter(expression)
    try:
        for code in stream:
            if 0x70 <= code <= 0x8F:  # breg0 … breg31
                mask |= 1 << code - 0x70
                _skip(stream, "u", address_size)
            elif code == 0x92:  # bregx
                mask |= _bit(_leb128(stream))
                _skip(stream, "u", address_size)
            else:
                _skip(stream, _OPERATIONS.get(code, ""), address_size)
    except StopIteration:
        raise MalformedError("damaged unwind table: an expression is cut") from None
    return mask


def _bit(register: int) -> int:
    return 1 << register if register <= _LAST_REGISTER else 0


def _leb128(stream: Iterator[int], *, signed: bool = False) -> int:
    """Return the next number of the stream."""
    value = shift = 0
    for byte in stream:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value - (1 << shift) if signed and byte & 0x40 else value
        if shift > _LEB128_BITS:
            raise MalformedError("damaged unwind table: a LEB128 number that does not end")
    raise StopIteration


def _rest_of_leb128(first: int, stream: Iterator[int]) -> int:
    """Return the number whose first byte is already read."""
    return first & 0x7F | _leb128(stream) << 7


def _skip(stream: Iterator[int], operands: str, address_size: int) -> None:
    """Skip these operands."""
    for operand in operands:
        if operand == "u":
            _leb128(stream)
        elif operand == "b":
            _take(stream, _leb128(stream))
        else:
            _take(stream, address_size if operand == "a" else int(operand))


def _take(stream: Iterator[int], size: int) -> bytes:
    """Return the next ``size`` bytes.

    :raises StopIteration: the stream has fewer.
    """
    block = bytes(islice(stream, min(size, sys.maxsize)))
    if len(block) < size:
        raise StopIteration
    return block
