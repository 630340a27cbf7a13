"""Instructions above a level, decided by the assembler, once for each shape of an instruction.

Whether a processor has an instruction depends on its mnemonic and on the kinds of its operands, not on the registers
and numbers: ``fadd v0.8h, v1.8h, v2.8h`` needs the same as ``fadd v9.8h, v9.8h, v0.8h``. So the assembler gets one
sample of each shape, with the level's option. If it refuses the sample, and accepts it with the option of a richer
processor, the instruction is above the level, and the first such option names its need. If no option helps, there is
another reason.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.verify.isa.gnu import Tools, rejections

Verdict = tuple[str, ...] | None
"""What an instruction needs beyond the level; empty if it is of the level; ``None`` if it is no instruction."""

_NUMBERS = re.compile(r"(?<![a-z0-9_])(-?(?:0x[0-9a-f]+|\d+(?:\.\d+e[+-]\d+)?))(?![a-z0-9_])")
_REGISTERS = re.compile(r"(?<![a-z0-9_])(%?[a-z])\d+(?![a-z0-9_])")
_ADDRESS = re.compile(r"(?<![#\w-])0x[0-9a-f]+")
_UNNAMED = "unnamed"  # needs more than any option in the scale


@dataclass(frozen=True, slots=True)
class Scale:
    """The options of the assembler, from the level up."""

    level: str
    """The option for the level."""
    richer: tuple[tuple[str, str], ...]
    """(names joined by ``+``, option) for what is above the level, the smallest first."""
    refusal: str = ""
    """The first words of the assembler's message if the processor is the reason; empty if no message shows it."""


def shape_of(text: str) -> str:
    """Remove the numbers, and the numbers of registers, from a disassembled instruction.

    Names keep their other parts: lanes (``v0.8h``), system registers, barriers.
    """
    mnemonic, _, operands = text.partition("\t")
    return mnemonic.strip() + " " + _REGISTERS.sub(r"\1", _NUMBERS.sub("0", operands))


def needs(tools: Tools, texts: Sequence[str], scale: Scale) -> list[Verdict]:
    """Return what each instruction needs beyond the level.

    :param texts: disassembled instructions; an empty text is no instruction.
    """
    known = _known(tools, scale)
    shapes = [text and shape_of(text) for text in texts]
    new = {shape: text for shape, text in zip(shapes, texts, strict=True) if shape not in known}
    if new:
        known.update(_verdicts(tools, new, scale))
    # The assembler may refuse only the sample: data can have registers that no instruction may have. So try every text.
    refused = {text for shape, text in zip(shapes, texts, strict=True) if text and known[shape] is None}
    answers = _verdicts(tools, {text: text for text in sorted(refused)}, scale) if refused else {}
    return [answers.get(text, known[shape]) for shape, text in zip(shapes, texts, strict=True)]


@functools.cache
def _known(_tools: Tools, _scale: Scale) -> dict[str, Verdict]:
    """Return the known verdicts of this process. Even many files have only some thousands of shapes."""
    return {"": None}


def _verdicts(tools: Tools, samples: Mapping[str, str], scale: Scale) -> dict[str, Verdict]:
    reasons = _rejections(tools, samples, scale.level)
    answers: dict[str, Verdict] = {shape: None if shape in reasons else () for shape in samples}
    still = {shape: samples[shape] for shape, reason in reasons.items() if reason.startswith(scale.refusal)}
    for names, option in scale.richer:
        if still:
            accepted = still.keys() - _rejections(tools, still, option).keys()
            answers.update(dict.fromkeys(accepted, tuple(names.split("+"))))
            still = {shape: text for shape, text in still.items() if shape not in accepted}
    if scale.refusal:
        answers.update(dict.fromkeys(still, (_UNNAMED,)))
    return answers


def _rejections(tools: Tools, samples: Mapping[str, str], option: str) -> dict[str, str]:
    """Return the shapes that the assembler refuses, with its reasons."""
    shapes = list(samples)
    # An address may be out of reach in the file of samples, so the current place replaces it.
    lines = [_ADDRESS.sub(".", text) for text in samples.values()]
    return {shapes[line]: reason for line, reason in rejections(tools, lines, option).items()}
