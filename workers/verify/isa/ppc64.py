"""Instructions of POWER above a level, little endian. objdump gets the processor as an option, and decides alone.

Encodings: Power ISA 3.1B, book I, chapter 1.6 "Instruction Formats" and appendix "Opcode Maps". A word whose primary
operation code is 1 is the first half of a prefixed instruction, of 8 bytes, which POWER10 brought.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from workers.formats.elf_records import Code
from workers.verify.isa.gnu import Tools, disassemble, knows
from workers.verify.isa.levels import Level
from workers.verify.isa.reduce import Masks, Reduction, WordReduction, words_of
from workers.verify.isa.shapes import Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workers.verify.isa.reduce import Places, Words

    Pairs = NDArray[np.uint64]

# Bits kept, by primary operation code. Some forms keep their registers, because not every register is allowed: those
# that update a register or load many, and those whose register fields must have certain values.
_BY_PRIMARY = {
    **dict.fromkeys((7, 8, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29), 0xFC000000),  # addi, mulli, ori …
    **dict.fromkeys((10, 11), 0xFC600000),  # cmpli, cmpi: two bits before the registers are fixed
    16: 0xFFFF0003,  # bc: hints and condition decide
    18: 0xFC000003,  # b
    **dict.fromkeys((20, 21, 23), 0xFC000001),  # rlwimi, rlwinm, rlwnm
    30: 0xFC00001F,  # rldicl …
    **dict.fromkeys((32, 34, 36, 38, 40, 42, 44, 48, 50, 52, 54), 0xFC000000),  # loads and stores
    **dict.fromkeys((33, 35, 37, 39, 41, 43, 45, 46, 47, 49, 51, 53, 55), 0xFFFF0000),  # the same with update; lmw
    57: 0xFFFF0003,
}
# (primary, low bits) → bits kept, for storage forms that differ in their low bits.
_STORAGE = {
    (58, 0): 0xFC000003, (58, 1): 0xFFFF0003, (58, 2): 0xFC000003,  # ld, ldu, lwa
    (62, 0): 0xFC000003, (62, 1): 0xFFFF0003,  # std, stdu
    (61, 1): 0xFC00000F, (61, 2): 0xFC000003, (61, 3): 0xFC000003,  # lxv, stxv; stxsd; stxssp
}  # fmt: skip
# Extended operation codes of the primary operation code 31: instructions with any three registers, and instructions
# with a field that must be zero.
_THREE_REGISTERS = (
    266, 778, 40, 552, 444, 28, 60, 124, 284, 316, 412, 476, 10, 138, 8, 136, 235, 747, 233, 745, 75, 11, 73, 9, 491,
    489, 459, 457, 21, 23, 87, 279, 341, 343, 149, 151, 215, 407, 24, 27, 536, 539, 792, 794, 824, 826, 827,
)  # fmt: skip
_TWO_REGISTERS = (104, 986, 922, 954, 26, 58)
_COMPARES = (0, 32)
# dcbf, sync: POWER10's persistent variants set a bit that older processors ignore; they run these as dcbf and sync.
_IGNORED = {86: 0xFF7FFFFF, 598: 0xFF7CFFFF}
# Floating point, primary operation codes 59 and 63, by the low five bits: some registers must be zero.
_FLOATING = {
    18: 0xFC0007FF, 20: 0xFC0007FF, 21: 0xFC0007FF, 25: 0xFC00F83F,
    28: 0xFC00003F, 29: 0xFC00003F, 30: 0xFC00003F, 31: 0xFC00003F,
}  # fmt: skip

_PREFIX = 1
_BCTR = 0x4E800420
_FARTHEST = 1 << 26
"""Bytes a jump table's entry leads at most. Within these, a forward one has primary operation code 0, which is no
instruction at all, and a backward one 63, floating point."""
_PROCESSORS = ("power8", "power9", "power10", "power11", "future")


def _kept(primary: int, low: int) -> int:
    """Bits kept of a word with this primary operation code and these 11 low bits."""
    extended = low >> 1
    if primary == 31:
        if extended in _THREE_REGISTERS:
            return 0xFC0007FF
        if extended in _TWO_REGISTERS:
            return 0xFC00FFFF
        if extended in _COMPARES:
            return 0xFC6007FF
        if extended & 0x1F == 15:  # isel: the condition is in the high bits
            return 0xFC00003F
        return _IGNORED.get(extended, 0xFFFFFFFF)
    if primary in (59, 63):
        return _FLOATING.get(extended & 0x1F, 0xFFFFFFFF)
    # DQ-form (61, 1) has three such bits, and one that is part of a register; DS-forms have two.
    return _STORAGE.get((primary, low & 3), _BY_PRIMARY.get(primary, 0xFFFFFFFF))


@functools.cache
def _masks() -> Masks:
    import numpy as np

    table = np.array([_kept(primary, low) for primary in range(64) for low in range(1 << 11)], np.uint32)
    return Masks(_place, table)


def _place(words: Words) -> NDArray[Any]:
    return words >> 26 << 11 | words & 0x7FF


class _Reduction:
    """Words and, as kinds of 8 bytes, prefixed instructions, whose second word is no separate instruction."""

    def __init__(self, codes: Sequence[Code], starts: Sequence[int], tools: Tools) -> None:
        import numpy as np

        self._codes = codes
        tables = [_jump_tables(words_of(code)) for code in codes]
        candidates = [_candidates(code, starts, table) for code, table in zip(codes, tables, strict=True)]
        kinds = [_prefixed(code, places) for code, places in zip(codes, candidates, strict=True)]
        distinct, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *kinds]), return_counts=True)
        pairs = [pair.to_bytes(8, "little") for pair in distinct.tolist()]
        texts = disassemble(tools, pairs, newest(tools))
        known = {pair: 8 * count for pair, text, count in zip(pairs, texts, counts.tolist(), strict=True) if text}
        # No suffix has primary operation code 1: at most one of two candidates in a row is an instruction.
        valid = [np.isin(kind, _as_numbers(list(known))) for kind in kinds]
        self._pairs = [(at[keep], kind[keep]) for at, kind, keep in zip(candidates, kinds, valid, strict=True)]
        left_out = [np.concatenate([at, at + 1, table]) for (at, _), table in zip(self._pairs, tables, strict=True)]
        self._words = WordReduction(codes, _masks(), left_out)
        self.sizes = {**self._words.sizes, **known}
        self.rest = self._words.rest + sum(4 * len(table) for table in tables)

    def places(self, kinds: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        import numpy as np

        yield from self._words.places([kind for kind in kinds if len(kind) == 4])
        wanted = _as_numbers([kind for kind in kinds if len(kind) == 8])
        for code, (places, pairs) in zip(self._codes, self._pairs, strict=True):
            for place in (4 * places[np.isin(pairs, wanted)]).tolist():
                yield code.address + place, bytes(code.data[place : place + 8])


def _jump_tables(words: Words) -> Places:
    """Return the indexes of the words that belong to jump tables.

    GCC puts the table of a ``switch`` into the code, directly behind the bctr that uses it (rs6000/linux64.h,
    JUMP_TABLES_IN_TEXT_SECTION). It has 32-bit distances from its start. A backward distance, 0xfc000000 or more, reads
    like a floating-point instruction, sometimes one of a newer processor. The words behind a bctr are a table as long
    as each of them points, from the start of the table, to an instruction of this stretch.
    """
    import numpy as np

    begins = np.flatnonzero(words[:-1] == _BCTR) + 1
    if not len(begins):
        return begins
    distances = words.view(np.int32)
    distant = np.flatnonzero((distances & 3 != 0) | (distances < -_FARTHEST) | (distances >= _FARTHEST))
    ends = np.append(distant, len(words))[np.searchsorted(distant, begins)]
    tables = [begins[:0]]
    for begin, end in zip(begins[ends > begins].tolist(), ends[ends > begins].tolist(), strict=True):
        targets = begin + (distances[begin:end] >> 2)
        outside = np.flatnonzero((targets < 0) | (targets >= len(words)))
        tables.append(np.arange(begin, begin + int(outside[0]) if len(outside) else end))
    return np.concatenate(tables)


def _as_numbers(pairs: Sequence[bytes]) -> Pairs:
    import numpy as np

    return np.frombuffer(b"".join(pairs), "<u8")


def _candidates(code: Code, starts: Sequence[int], tables: Places) -> Places:
    """Return the indexes of words that may be prefixes: not the last word, and no function begins behind them."""
    import numpy as np

    places = np.flatnonzero(words_of(code)[:-1] >> 26 == _PREFIX)
    if len(places):
        inner = starts[bisect_left(starts, code.address) : bisect_left(starts, code.end)]
        begins = np.array([(start - code.address) // 4 for start in inner], np.intp)
        places = places[~np.isin(places + 1, begins) & ~np.isin(places, tables)]
    return places


def _prefixed(code: Code, places: Places) -> Pairs:
    """Return the kinds of the prefixed instructions that may begin at these words."""
    import numpy as np

    words = words_of(code)
    prefix, suffix = words[places], words[places + 1]
    has_immediate = prefix >> 24 & 1 == 0  # prefix types 0 and 2 (8LS, MLS)
    prefix = np.where(has_immediate, prefix & 0xFFFC0000, prefix)
    suffix = np.where(has_immediate, suffix & 0xFFFF0000, suffix)
    pairs: Pairs = prefix.astype(np.uint64) | suffix.astype(np.uint64) << np.uint64(32)
    return pairs


def reduction(codes: Sequence[Code], starts: Sequence[int], tools: Tools) -> Reduction:
    """Return the distinct instructions of code."""
    return _Reduction(codes, starts, tools)


def verdicts(encodings: Sequence[bytes], level: Level, tools: Tools) -> list[Verdict]:
    """Return what each instruction needs beyond the level."""
    processor = level.assembler[0].removeprefix("-m")
    answers: dict[bytes, Verdict] = dict.fromkeys(encodings, None)
    # The level comes first: what its processor knows is of the level, even if a later one decodes it as something else.
    for name in (processor, *_above(processor)):
        if knows(tools, name):
            unknown = [item for item, answer in answers.items() if answer is None and not _is_half(item)]
            for encoding, text in zip(unknown, disassemble(tools, unknown, name), strict=True):
                if text:
                    answers[encoding] = () if name == processor else (name,)
    return [answers[encoding] for encoding in encodings]


def _is_half(encoding: bytes) -> bool:
    """Return whether it is a prefix without its suffix, which is no instruction."""
    return len(encoding) == 4 and encoding[3] >> 2 == _PREFIX


def _above(processor: str) -> tuple[str, ...]:
    return _PROCESSORS[_PROCESSORS.index(processor) + 1 :]


def newest(tools: Tools) -> str:
    """Return the newest processor that objdump knows."""
    return next(name for name in reversed(_PROCESSORS) if knows(tools, name))
