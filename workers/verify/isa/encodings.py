"""Which bytes the x86 instructions above a level have in common: a search that spares the decoder most of a file.

Nearly all of them announce themselves by an escape byte (0F, or the prefixes VEX C4 and C5, EVEX 62, XOP 8F), and what
follows narrows it down to some op codes; of the others the op code itself stands for the escape byte. The pattern made here
matches at the escape byte of **every** encoding of the given instructions, and of some others: where it does not match,
there is none of them, whatever the alignment; where it matches, the decoder has to look. Nothing in it is written by hand:
it follows from the decoder's own table of op codes.

Encodings: Intel's manual, volume 2, sections 2.3 (VEX), 2.7 (EVEX) and appendix A; AMD's manual, volume 3, section 1.8 (XOP).
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Set
from typing import TYPE_CHECKING

from iced_x86 import EncodingKind, MandatoryPrefix, OpCodeInfo, OpCodeTableKind

if TYPE_CHECKING:
    from iced_x86 import Code_

# Number of an op code map in the prefixes that name it so.
_MAP_NUMBERS = {
    OpCodeTableKind.T0F: 1, OpCodeTableKind.T0F38: 2, OpCodeTableKind.T0F3A: 3, OpCodeTableKind.MAP5: 5,
    OpCodeTableKind.MAP6: 6, OpCodeTableKind.MAP8: 8, OpCodeTableKind.MAP9: 9, OpCodeTableKind.MAP10: 10,
}  # fmt: skip
_LEGACY_MAPS = {
    OpCodeTableKind.NORMAL: b"",
    OpCodeTableKind.T0F: b"\x0f",
    OpCodeTableKind.T0F38: b"\x0f\x38",
    OpCodeTableKind.T0F3A: b"\x0f\x3a",
}
# Field pp of VEX, EVEX and XOP: the mandatory prefix of the legacy encoding, compressed to two bits.
_PP = {
    MandatoryPrefix.NONE: 0, MandatoryPrefix.PNP: 0, MandatoryPrefix.P66: 1, MandatoryPrefix.PF3: 2, MandatoryPrefix.PF2: 3,
}  # fmt: skip
_ANY = frozenset(range(256))


def pattern(codes: Iterable[Code_]) -> re.Pattern[bytes]:
    """The expression that finds the escape byte of every encoding of some instructions.

    It consumes that byte alone, so that a match that is none hides no other.

    :param codes: iced's codes, of the instructions that the decoder yields without special options.
    """
    # Escape byte → what may follow it, byte by byte → op codes that may come last.
    found: dict[int, dict[tuple[frozenset[int], ...], set[int]]] = defaultdict(lambda: defaultdict(set))
    for code in codes:
        info = OpCodeInfo(code)
        for escape, middle, last in _encodings(info):
            found[escape][middle] |= last
    alternatives = []
    for escape, rows in sorted(found.items()):
        tails = b"|".join(b"".join(map(_charset, (*middle, last) if last else middle)) for middle, last in rows.items())
        alternatives.append(_charset(frozenset([escape])) + b"(?=" + tails + b")")
    return re.compile(b"|".join(alternatives) or rb"(?!)", re.DOTALL)


Encoding = tuple[int, tuple[frozenset[int], ...], set[int]]


def _encodings(info: OpCodeInfo) -> list[Encoding]:
    """Escape byte, the bytes that may follow it, and the last byte that is looked at, of each form an instruction has."""
    opcode, *rest = info.op_code.to_bytes(info.op_code_len, "big")
    if info.encoding == EncodingKind.LEGACY:
        escape, *middle = bytes([*_LEGACY_MAPS[info.table], opcode, *rest])
        if not middle:
            return [(escape, (), set())]  # of the first map: nothing narrows it down
        places = [frozenset([byte]) for byte in middle]
        if info.group_index >= 0:  # the op code goes on in the field reg of ModRM
            return [(escape, tuple(places), {byte for byte in _ANY if byte >> 3 & 7 == info.group_index})]
        last = set(places[-1])
        if (
            rest and escape == 0x0F
        ):  # a whole ModRM as part of the op code: of VIA's, the decoder leaves r/m out of account
            last = {byte for byte in _ANY if byte >> 3 == rest[-1] >> 3}
        return [(escape, tuple(places[:-1]), last)]
    if info.encoding == EncodingKind.D3NOW:  # 0F 0F ModRM … op code
        return [(0x0F, (), {0x0F})]
    number, pp = _MAP_NUMBERS[info.table], _PP[info.mandatory_prefix]
    if info.encoding == EncodingKind.EVEX:
        first = frozenset(byte for byte in _ANY if byte & 0x0F == number)
        second = frozenset(byte for byte in _ANY if byte & 7 == 4 | pp)
        return [(0x62, (first, second, _ANY), {opcode})]
    any_w = info.is_wig or info.is_wig32
    first, second = _vex(number, pp, None if info.is_lig else info.l, None if any_w else info.w)
    if info.encoding == EncodingKind.XOP:
        return [(0x8F, (first, second), {opcode})]
    forms: list[Encoding] = [(0xC4, (first, second), {opcode})]
    if number == 1 and (any_w or not info.w):  # VEX of two bytes: R vvvv L pp, op code
        forms.append((0xC5, (frozenset(byte & 0x7F | high for byte in second for high in (0, 0x80)),), {opcode}))
    return forms


@functools.cache
def _vex(number: int, pp: int, l: int | None, w: int | None) -> tuple[frozenset[int], frozenset[int]]:  # noqa: E741 - its name
    """The two bytes behind the first of a VEX prefix of three bytes and of XOP, which are laid out alike.

    They hold R X B map, and W vvvv L pp. ``None``: the field does not matter.
    """
    first = frozenset(byte for byte in _ANY if byte & 0x1F == number)
    second = frozenset(
        byte for byte in _ANY if byte & 3 == pp and (l is None or byte >> 2 & 1 == l) and (w is None or byte >> 7 == w)
    )
    return first, second


def _charset(values: Set[int]) -> bytes:
    """One byte of the expression."""
    if len(values) == 256:
        return b"."
    literals = b"".join(b"\\x%02x" % value for value in sorted(values))
    return literals if len(values) == 1 else b"[" + literals + b"]"
