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
from dataclasses import dataclass

from workers.verify.isa.gnu import Tools, rejections

Verdict = tuple[str, ...] | None
"""What an instruction needs beyond the level; empty where it is of the level; ``None`` where it is no instruction."""

_NUMBERS = re.compile(r"(?<![a-z0-9_])(-?(?:0x[0-9a-f]+|\d+(?:\.\d+e[+-]\d+)?))(?![a-z0-9_])")
_REGISTERS = re.compile(r"(?<![a-z0-9_])(%?[a-z])\d+(?![a-z0-9_])")
_ADDRESS = re.compile(r"(?<![#\w-])0x[0-9a-f]+")
_UNNAMED = "unnamed"  # needs more than any option of ours gives


@dataclass(frozen=True, slots=True)
class Scale:
    """What is asked of an assembler to place an instruction."""

    level: str
    """The option for the level."""
    richer: tuple[tuple[str, str], ...]
    """(names joined by ``+``, option) of what lies above it, the least first."""
    refusal: str = ""
    """How the assembler's reason begins where the processor is it; empty where the words do not tell."""


def shape_of(text: str) -> str:
    """A disassembled instruction with its numbers and the numbers of its registers taken out.

    What a name says of itself stays: lanes (``v0.8h``), system registers, barriers.
    """
    mnemonic, _, operands = text.partition("\t")
    return mnemonic.strip() + " " + _REGISTERS.sub(r"\1", _NUMBERS.sub("0", operands))


def needs(tools: Tools, texts: Sequence[str], scale: Scale) -> list[Verdict]:
    """What each instruction needs beyond the level.

    :param texts: disassembled instructions; an empty text is no instruction.
    """
    known = _known(tools, scale)
    shapes = [text and shape_of(text) for text in texts]
    new = {shape: text for shape, text in zip(shapes, texts, strict=True) if shape not in known}
    if new:
        known.update(_asked(tools, new, scale))
    # What an assembler cannot read may be the sample's fault, as data has registers that no instruction may have.
    unread = {text for shape, text in zip(shapes, texts, strict=True) if text and known[shape] is None}
    answers = _asked(tools, {text: text for text in sorted(unread)}, scale) if unread else {}
    return [answers.get(text, known[shape]) for shape, text in zip(shapes, texts, strict=True)]


@functools.cache
def _known(_tools: Tools, _scale: Scale) -> dict[str, Verdict]:
    """What was asked already; there are some thousands of shapes, whatever the number of files."""
    return {"": None}


def _asked(tools: Tools, samples: Mapping[str, str], scale: Scale) -> dict[str, Verdict]:
    reasons = _refused(tools, samples, scale.level)
    answers: dict[str, Verdict] = {shape: None if shape in reasons else () for shape in samples}
    still = {shape: samples[shape] for shape, reason in reasons.items() if reason.startswith(scale.refusal)}
    for names, option in scale.richer:
        if still:
            accepted = still.keys() - _refused(tools, still, option).keys()
            answers.update(dict.fromkeys(accepted, tuple(names.split("+"))))
            still = {shape: text for shape, text in still.items() if shape not in accepted}
    if scale.refusal:
        answers.update(dict.fromkeys(still, (_UNNAMED,)))
    return answers


def _refused(tools: Tools, samples: Mapping[str, str], option: str) -> dict[str, str]:
    """Why the assembler refuses a shape, of those that it refuses."""
    shapes = list(samples)
    # An address is as far from its instruction in code as it may be, in a file of samples even farther.
    lines = [_ADDRESS.sub(".", text) for text in samples.values()]
    return {shapes[line]: reason for line, reason in rejections(tools, lines, option).items()}
