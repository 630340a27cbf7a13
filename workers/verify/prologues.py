"""What the architectures share that judge a function: whether it makes a frame, and keeps the frame pointer or the back chain.

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
from collections.abc import Callable, Iterator
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


def bytes_where(accepted: Callable[[int], bool]) -> bytes:
    """A class of a regular expression: the bytes that are accepted."""
    return b"[" + b"".join(b"\\x%02x" % byte for byte in range(256) if accepted(byte)) + b"]"


def aligned(
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


def stores_copy(
    pattern: re.Pattern[bytes], code: memoryview, start: int, end: int, alignment: int, copies: set[int],
    register_of: Callable[[bytes, bool], int],
) -> bool:  # fmt: skip
    """Whether what a pattern finds stores a register that holds a copy of the old stack pointer.

    :param copies: registers that hold it at the start.
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
    """(offset, instruction) of each word."""
    return ((4 * index, word) for index, (word,) in enumerate(struct.iter_unpack(order + "I", code[: len(code) & ~3])))


def no_back_chain(why: str) -> Verdict:
    """Of a function that is judged by its code and stores none."""
    return Verdict(Kind.UNFRAMED, f"{why}, and no back chain is stored (code)")
