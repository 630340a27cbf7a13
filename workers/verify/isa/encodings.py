"""A byte pattern that finds the x86 instructions above a level, so that the decoder can skip most of a file.

Nearly all of these instructions have an escape byte (0F, or the prefixes VEX C4 and C5, EVEX 62, XOP 8F), followed by
one of some op codes. For the others, the op code takes the place of the escape byte. The pattern matches at the escape
byte of **every** encoding of the given instructions, and of some others. Code without a match has none of the
instructions, at any alignment; a match is decoded. Nothing in the pattern is written by hand: it is made from the
decoder's table of op codes.

Encodings: Intel's manual, volume 2, sections 2.3 (VEX), 2.7 (EVEX) and appendix A; AMD's manual, volume 3, section 1.8
(XOP).
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

# The number of each op code map in VEX, EVEX and XOP prefixes.
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
    MandatoryPrefix.NONE: 0, MandatoryPrefix.PNP: 0,
    MandatoryPrefix.P66: 1, MandatoryPrefix.PF3: 2, MandatoryPrefix.PF2: 3,
}  # fmt: skip
_ANY = frozenset(range(256))


def pattern(codes: Iterable[Code_]) -> re.Pattern[bytes]:
    """Return an expression that finds the escape byte of every encoding of some instructions.

    A match consumes only that byte, so a false match hides no other.

    :param codes: iced's codes of instructions that the decoder yields without special options.
    """
    # Escape byte → the bytes that may follow it, one set for each place → the last byte, mostly the op code.
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
    """Return (escape byte, sets of bytes that may follow it, set of last bytes) for each form of an instruction."""
    opcode, *rest = info.op_code.to_bytes(info.op_code_len, "big")
    if info.encoding == EncodingKind.LEGACY:
        escape, *middle = bytes([*_LEGACY_MAPS[info.table], opcode, *rest])
        if not middle:
            return [(escape, (), set())]  # of the first map: no further byte is fixed
        places = [frozenset([byte]) for byte in middle]
        if info.group_index >= 0:  # the field reg of ModRM is part of the op code
            return [(escape, tuple(places), {byte for byte in _ANY if byte >> 3 & 7 == info.group_index})]
        last = set(places[-1])
        # A whole ModRM may be part of the op code. For VIA's instructions, the decoder ignores its r/m.
        if rest and escape == 0x0F:
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
def _vex(number: int, pp: int, length: int | None, w: int | None) -> tuple[frozenset[int], frozenset[int]]:
    """Return the possible second and third bytes of a three-byte VEX or of an XOP prefix, which have the same layout.

    The second byte has the fields R X B map, the third W vvvv L pp.

    :param length: the field L; ``None`` if any value is possible.
    :param w: the field W; ``None`` if any value is possible.
    """
    first = frozenset(byte for byte in _ANY if byte & 0x1F == number)
    second = frozenset(
        byte
        for byte in _ANY
        if byte & 3 == pp and (length is None or byte >> 2 & 1 == length) and (w is None or byte >> 7 == w)
    )
    return first, second


def _charset(values: Set[int]) -> bytes:
    """Return the part of the expression that matches one of some bytes."""
    if len(values) == 256:
        return b"."
    literals = b"".join(b"\\x%02x" % value for value in sorted(values))
    return literals if len(values) == 1 else b"[" + literals + b"]"
