"""Which instructions are above a level, asked of the assembler: once for each shape of an instruction.

Whether a processor has an instruction depends on its mnemonic and on the kinds of its operands, not on which registers and
numbers they are: ``fadd v0.8h, v1.8h, v2.8h`` needs the same as ``fadd v9.8h, v9.8h, v0.8h``. So one sample of each shape is
assembled with the level's option. What is refused and a richer processor is given is above the level, and the least
option that takes it names what it needs. What no option makes acceptable was refused for another reason.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from workers.verify.isa.gnu import Tools, accepts, refused

Verdict = tuple[str, ...] | None
"""What an instruction needs beyond the level; empty where it is of the level; ``None`` where it is no instruction."""

_NUMBERS = re.compile(r"(?<![a-z0-9_])(-?(?:0x[0-9a-f]+|\d+(?:\.\d+e[+-]\d+)?))(?![a-z0-9_])")
_REGISTERS = re.compile(r"(?<![a-z0-9_])(%?[a-z])\d+(?![a-z0-9_])")
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
    :param richer: (name, option) of what lies above it, the least first and the richest of all last.
    """
    known = _known(tools, level)
    shapes = [text and shape_of(text) for text in texts]
    new = {shape: text for shape, text in zip(shapes, texts, strict=True) if shape not in known}
    if new:
        known.update(_asked(tools, new, level, richer))
    return [known[shape] for shape in shapes]


@functools.cache
def _known(tools: Tools, level: str) -> dict[str, Verdict]:
    """What was asked already; there are some thousands of shapes, whatever the number of files."""
    return {"": None}


def _asked(
    tools: Tools, samples: Mapping[str, str], level: str, richer: tuple[tuple[str, str], ...]
) -> dict[str, Verdict]:
    answers: dict[str, Verdict] = dict.fromkeys(samples, ())
    open_shapes = _refused_of(tools, samples, level)
    if not open_shapes:
        return answers
    options = [(name, option) for name, option in richer if accepts(tools, option)]
    if options:  # what the richest of all refuses too is refused for another reason: nothing is known of it
        hopeless = _refused_of(tools, open_shapes, options[-1][1])
        answers.update(dict.fromkeys(hopeless, None))
        open_shapes = {shape: text for shape, text in open_shapes.items() if shape not in hopeless}
    for name, option in options:
        if not open_shapes:
            break
        still = _refused_of(tools, open_shapes, option)
        answers.update({shape: (name,) for shape in open_shapes if shape not in still})
        open_shapes = still
    answers.update(dict.fromkeys(open_shapes, (_UNNAMED,)))
    return answers


def _refused_of(tools: Tools, samples: Mapping[str, str], option: str) -> dict[str, str]:
    lines = list(samples.items())
    return dict(lines[number] for number in sorted(refused(tools, [text for _, text in lines], option)))
