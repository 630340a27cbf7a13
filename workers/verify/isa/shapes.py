"""Which instructions are above a level, asked of the assembler: once for each shape of an instruction.

Whether a processor has an instruction depends on its mnemonic and on the kinds of its operands, not on which registers and
numbers they are: ``fadd v0.8h, v1.8h, v2.8h`` needs the same as ``fadd v9.8h, v9.8h, v0.8h``. So one sample of each shape is
assembled with the level's option. What is refused, and is accepted with the option of a richer processor, is above the
level; the least such option names what it needs. What no option makes acceptable was refused for another reason.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from workers.verify.isa.gnu import Tools, refused

Verdict = tuple[str, ...] | None
"""What an instruction needs beyond the level; empty where it is of the level; ``None`` where it is no instruction."""

_NUMBERS = re.compile(r"(?<![a-z0-9_])(-?(?:0x[0-9a-f]+|\d+(?:\.\d+e[+-]\d+)?))(?![a-z0-9_])")
_REGISTERS = re.compile(r"(?<![a-z0-9_])(%?[a-z])\d+(?![a-z0-9_])")
_UNSUPPORTED = "selected processor does not support"
_UNNAMED = "unnamed"  # by any single option that this assembler knows


def shape_of(text: str) -> str:
    """A disassembled instruction with its numbers and the numbers of its registers taken out.

    What a name says of itself stays: lanes (``v0.8h``), system registers, barriers.
    """
    mnemonic, _, operands = text.partition("\t")
    return mnemonic.strip() + " " + _REGISTERS.sub(r"\1", _NUMBERS.sub("0", operands))


def needs(tools: Tools, texts: Sequence[str], level: str, richer: tuple[tuple[str, str], ...]) -> list[Verdict]:
    """What each instruction needs beyond the level.

    :param texts: disassembled instructions; an empty text is no instruction.
    :param level: the assembler's option for the level.
    :param richer: (name, option) of what lies above it, the least first.
    """
    known = _known(tools, level)
    shapes = [text and shape_of(text) for text in texts]
    new = {shape: text for shape, text in zip(shapes, texts, strict=True) if shape not in known}
    if new:
        known.update(_asked(tools, new, level, richer))
    return [known[shape] for shape in shapes]


@functools.cache
def _known(_tools: Tools, _level: str) -> dict[str, Verdict]:
    """What was asked already; there are some thousands of shapes, whatever the number of files."""
    return {"": None}


def _asked(
    tools: Tools, samples: Mapping[str, str], level: str, richer: tuple[tuple[str, str], ...]
) -> dict[str, Verdict]:
    answers: dict[str, Verdict] = dict.fromkeys(samples, ())
    reasons = _refused(tools, samples, level)
    still = dict(reasons)
    for name, option in richer:
        if still:
            refused_too = _refused(tools, {shape: samples[shape] for shape in still}, option)
            answers.update({shape: (name,) for shape in still if shape not in refused_too})
            still = refused_too
    for (
        shape
    ) in still:  # what needs two extensions is above the level; of an operand that as cannot read nothing is known
        answers[shape] = (_UNNAMED,) if reasons[shape].startswith(_UNSUPPORTED) else None
    return answers


def _refused(tools: Tools, samples: Mapping[str, str], option: str) -> dict[str, str]:
    """Why the assembler refuses a shape, of those that it refuses."""
    shapes = list(samples)
    return {shapes[line]: reason for line, reason in refused(tools, list(samples.values()), option).items()}
