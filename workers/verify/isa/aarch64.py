"""Instructions of 64-bit Arm above a level: the bits that make a kind, and the extensions that may be above a level.

Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), chapter C4, "A64 Instruction Set Encoding".
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workers.formats.elf_records import Code
from workers.verify.isa.gnu import Tools, disassemble
from workers.verify.isa.levels import Level
from workers.verify.isa.reduce import Masks, Reduction, WordReduction
from workers.verify.isa.shapes import Scale, Verdict, needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.verify.isa.reduce import Words

# (mask, value, bits kept): the first row that matches a word gives the bits of its kind. The table has only the classes
# that compilers use often; other words (atomics of LSE, MTE, SVE, SME …) are kept whole. Masks are in the bits 31–21
# and 11–10.
_KEPT = (
    (0x1F000000, 0x10000000, 0x9F000000),  # ADR, ADRP
    (0x1F800000, 0x11000000, 0xFFC00000),  # add, subtract: immediate
    (0x1F800000, 0x12000000, 0xFFC00000),  # logical: immediate
    (0x1F800000, 0x12800000, 0xFFE00000),  # move wide
    (0x1F800000, 0x13000000, 0xFFC00000),  # bitfield
    (0x1F800000, 0x13800000, 0xFFE08000),  # extract
    (0x7C000000, 0x14000000, 0xFC000000),  # B, BL
    (0x7E000000, 0x34000000, 0xFF000000),  # CBZ, CBNZ
    (0x7E000000, 0x36000000, 0xFF000000),  # TBZ, TBNZ
    (0xFF000000, 0x54000000, 0xFF000010),  # B.cond; bit 4: BC.cond
    (0x3B000000, 0x18000000, 0xFF000000),  # load literal
    (0x3A000000, 0x28000000, 0xFFC00000),  # load, store: pair
    (0x3B000000, 0x39000000, 0xFFC00000),  # load, store: unsigned immediate
    (0x3B200000, 0x38000000, 0xFFE00C00),  # load, store: unscaled, unprivileged, before and after the access
    (0x3B200C00, 0x38200800, 0xFFE0FC00),  # load, store: register offset
    (0x3B200400, 0x38200400, 0xFFE00C00),  # LDRAA, LDRAB
    (0x1F000000, 0x0A000000, 0xFFE08000),  # logical: shifted register
    (0x1F200000, 0x0B000000, 0xFFE08000),  # add, subtract: shifted register
    (0x1F200000, 0x0B200000, 0xFFE0FC00),  # add, subtract: extended register
    (0x1FE00000, 0x1A400000, 0xFFE00C10),  # conditional compare
    (0x1FE00000, 0x1A800000, 0xFFE00C00),  # conditional select
    (0x5FE00000, 0x1AC00000, 0xFFE0FC00),  # two sources: divide, shift, CRC32 …
    (0x1F000000, 0x1B000000, 0xFFE08000),  # three sources: multiply and add …
    (0x5F200C00, 0x1E200800, 0xFFE0FC00),  # floating point: two sources
    (0x5F200C00, 0x1E200C00, 0xFFE00C00),  # floating point: conditional select
    (0x5F200C00, 0x1E200400, 0xFFE00C10),  # floating point: conditional compare
    (0x5F200C00, 0x1E200000, 0xFFFFFC1F),  # floating point: one source, compare, immediate, to and from integers
    (0x5F000000, 0x1F000000, 0xFFE08000),  # floating point: three sources
    (0x9F200400, 0x0E200400, 0xFFE0FC00),  # vectors: three of a kind
    (0x9F200C00, 0x0E200000, 0xFFE0FC00),  # vectors: three that differ
    (0x9F000000, 0x0E000000, 0xFFFFFC00),  # vectors: the others
    (0x9F000000, 0x0F000000, 0xFFFFFC00),  # vectors: by element, modified and shift immediates
)

# Extensions as GNU as names them. The first one that accepts an instruction names its need, so an extension that
# includes others (sve includes fp16) is behind these. An assembler that does not know an extension refuses it, which
# does no harm.
_EXTENSIONS = (  # noqa: SIM905 - read as a text
    "lse rdma crc aes sha2 pauth fp16 dotprod rcpc rcpc2 rcpc3 flagm flagm2 compnum jscvt frintts sha3 sm4 crypto "
    "fp16fml bf16 i8mm sb ssbs predres predres2 rng memtag mops cssc hbc ls64 lse128 the d128 tme profile ras wfxt xs "
    "fp8 faminmax lut lor pan sve f32mm f64mm sve2 sve2-aes sve2-sha3 sve2-sm4 sve2-bitperm sve2p1 sve-b16b16 sme "
    "sme-f64 sme-i64 sme-f64f64 sme-i16i64 sme2 sme2p1 gcs cpa"
).split()  # fmt: skip
_EXTENSIONS_OF_V8_2 = (
    "dotprod",
    "fp16fml",
    "bf16",
    "i8mm",
    "sha3",
    "sm4",
    "f32mm",
    "f64mm",
)  # refused without armv8.2-a


@functools.cache
def _masks() -> Masks:
    import numpy as np

    # The index of the table is made of the bits 31–21 and 11–10.
    table = np.full(1 << 13, 0xFFFFFFFF, np.uint32)
    for index in range(len(table)):
        word = (index >> 2) << 21 | (index & 3) << 10
        table[index] = next((kept for mask, value, kept in _KEPT if word & mask == value), 0xFFFFFFFF)
    return Masks(_place, table)


def _place(words: Words) -> NDArray[Any]:
    return words >> 19 & 0x1FFC | words >> 10 & 3


def reduction(codes: Sequence[Code], _starts: Sequence[int], _tools: Tools) -> Reduction:
    """Return the distinct instructions of code. Every word is an instruction, so starts of functions do not matter."""
    return WordReduction(codes, _masks())


def verdicts(encodings: Sequence[bytes], level: Level, tools: Tools) -> list[Verdict]:
    """Return what each instruction needs beyond the level."""
    scale = _scale(level.assembler[0])
    open_items = [item for item in encodings if not _runs_anywhere(_word(item))]
    answers = dict(zip(open_items, needs(tools, list(disassemble(tools, open_items)), scale), strict=True))
    # The assembler refuses a new name of an old instruction (BFC of BFM), so the old name is tried. System instructions
    # keep their new names: only these show what the numbers mean (DC CVAP of SYS).
    above = [item for item, answer in answers.items() if answer and _word(item) & 0xFF000000 != 0xD5000000]
    if above:
        texts = list(disassemble(tools, above, "no-aliases"))
        answers.update(zip(above, needs(tools, texts, scale), strict=True))
    return [answers.get(item, ()) for item in encodings]


def _word(encoding: bytes) -> int:
    return int.from_bytes(encoding, "little")


def _runs_anywhere(word: int) -> bool:
    """Return whether every processor runs the word, or only an operating system uses it.

    An older processor ignores hints that it does not know (PACIASP, AUTIASP, BTI, CSDB … are hints), and prefetches of
    an unknown kind. System registers and system instructions with an op1 other than 3 belong to the operating system,
    which reads the ID registers before it uses them. An ID register without a meaning reads as zero, and Linux lets
    programs read them (Documentation/arch/arm64/cpu-feature-registers.rst). System instructions with op1 3 are for
    programs, so RNDR, DC CVAP and similar ones are judged.
    """
    if word & 0xFFFFF01F == 0xD503201F:  # hints
        return True
    if word & 0xFFC00000 == 0xF9800000 or word & 0xFF000000 == 0xD8000000:  # PRFM: immediate, literal
        return True
    if word & 0xFFE00C00 in (0xF8800000, 0xF8A00800):  # PRFUM, PRFM: register
        return True
    return word & 0xFFC00000 == 0xD5000000 and word >> 16 & 7 != 3


@functools.cache
def _scale(march: str) -> Scale:
    """Return the scale above a level: each extension alone, each version, and each extension that needs a version."""
    richer = (
        *((name, f"{march}+{name}") for name in _EXTENSIONS),
        *((name, f"-march={name}") for name in ("armv8.1-a", "armv8.2-a")),
        *((name, f"-march=armv8.2-a+{name}") for name in _EXTENSIONS_OF_V8_2),
        *((name, f"-march={name}") for name in ("armv8.3-a", "armv8.4-a", "armv8.5-a")),
        ("memtag", "-march=armv8.5-a+memtag"),
        *((f"armv8.{minor}-a", f"-march=armv8.{minor}-a") for minor in range(6, 10)),
        ("memtag+mops", "-march=armv8.8-a+memtag"),
        *((name, f"-march={name}") for name in ("armv9-a", *(f"armv9.{minor}-a" for minor in range(1, 6)))),
        *((name, f"-march=armv9-a+{name}") for name in _EXTENSIONS),
    )
    return Scale(march, richer, "selected processor does not support")
