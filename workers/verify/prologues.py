"""Shared code that judges whether a function makes a frame, and keeps its frame pointer or back chain.

For most functions, the unwind table answers the first question and, on x86_64, the second one too. On the other
architectures, the second answer is in the instruction that sets the frame pointer or stores the back chain. Functions
without an unwind table (kernel modules, assembler sources) are judged by their code alone.

Instructions: Intel 64 SDM volume 2; Arm ARM (DDI 0487) C6.2; Power ISA 3.1, 3.3; z/Architecture Principles of Operation
(SA22-7832), chapter 7. Stack frames: the four psABIs (AMD64, AAPCS64, 64-bit ELF V2 for Power, s390x).
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class Kind(enum.Enum):
    """What a function does with its frame pointer."""

    FRAMED = enum.auto()
    """It makes a frame and keeps the frame pointer (ppc64le, s390x: the back chain)."""
    LEAF = enum.auto()
    """It makes no frame."""
    UNFRAMED = enum.auto()
    """It makes a frame, or calls a function, and keeps no frame pointer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A kind and, for UNFRAMED, the reason."""

    kind: Kind
    why: str = ""


FRAMED, LEAF = Verdict(Kind.FRAMED), Verdict(Kind.LEAF)


def bytes_where(accepted: Callable[[int], bool]) -> bytes:
    """Return a character class of a regular expression: the accepted bytes."""
    return b"[" + b"".join(b"\\x%02x" % byte for byte in range(256) if accepted(byte)) + b"]"


def aligned(
    pattern: re.Pattern[bytes], code: memoryview, start: int, end: int, alignment: int
) -> Iterator[re.Match[bytes]]:
    """Yield the matches of a pattern at aligned places. A match across two instructions is not one."""
    position = start
    while (found := pattern.search(code, position, end)) is not None:
        if (found.start() - start) % alignment:
            position = found.start() + 1
        else:
            yield found
            position = found.end()


def stores_copy(
    pattern: re.Pattern[bytes], code: memoryview, start: int, end: int, alignment: int, copies: set[int],
    register_of: Callable[[bytes, bool], int],
) -> bool:  # fmt: skip
    """Return whether code stores a register with a copy of the old stack pointer.

    :param pattern: finds instructions that copy the stack pointer (group ``copy``) and instructions that store a
        register.
    :param copies: the registers with a copy at the start.
    :param register_of: the register of a found instruction; its second argument says whether that is a copy.
    """
    for found in aligned(pattern, code, start, end, alignment):
        is_copy = found["copy"] is not None
        register = register_of(found[0], is_copy)
        if is_copy:
            copies.add(register)
        elif register in copies:
            return True
    return False


def words(code: bytes, order: str) -> Iterator[tuple[int, int]]:
    """Yield (offset, instruction) for each word.

    :param order: ``<`` or ``>``, as in :mod:`struct`.
    """
    return ((4 * index, word) for index, (word,) in enumerate(struct.iter_unpack(order + "I", code[: len(code) & ~3])))


def no_back_chain(why: str) -> Verdict:
    """Return the verdict on a function without an unwind table that stores no back chain."""
    return Verdict(Kind.UNFRAMED, f"{why}, and no back chain is stored (code)")
