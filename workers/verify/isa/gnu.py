"""GNU binutils decide what an encoding is (objdump), and which processors have it (as).

So the content of a level comes from the programs that compilers rely on, not from a table that somebody typed.
"""

from __future__ import annotations

import functools
import itertools
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import architectures
from config.architecture import Disassembler
from config.architectures import architecture_of
from workers.base.errors import CannotRun
from workers.base.run import Completed, require, run

_BATCH = 200_000  # encodings for one run of objdump; its listing is about 20 MB
_TIMEOUT = 300.0  # seconds for one program; the largest batch takes one
_LINE = re.compile(r"^ *([0-9a-f]+):\t(.*)$", re.MULTILINE)
_ERROR = re.compile(r"^[^:\n]*:(\d+): (Error|Fatal error): (.*)$", re.MULTILINE)
_GENERAL_ERROR = re.compile(r"^Error: (.*)$", re.MULTILINE)
_COMMENT = re.compile(r"\s*(?://|\t# |<(?!unknown>)).*")  # "// #8", "# 1010", "<.data+0x40>": for people
_NO_INSTRUCTION = re.compile(r"\.|udf\b|<unknown>|$")  # .long, .inst, .insn …; Arm keeps UDF permanently undefined


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs for the code of one machine, and their options."""

    machine: str
    """Its name in elf.h."""
    disassembler: Disassembler
    objdump: str
    assembler: str


def tools_for(machine: str) -> Tools:
    """Return the programs for the code of a machine: native ones if the host is such a machine, else cross binutils.

    :param machine: its name in elf.h. Its code must be decoded by binutils; EM_PPC64 is little endian.
    :raises CannotRun: if a package is missing; the error names it.
    """
    architecture = architecture_of(machine)
    if architecture is None or architecture.disassembler is None:
        known = ", ".join(one.machine.elf_name for one in architectures.by_name().values() if one.disassembler)
        raise CannotRun(f"binutils decode no code of {machine} here", f"machines that they decode: {known}")
    native = platform.machine() == architecture.name
    prefix, package = (
        ("", "binutils") if native else (f"{architecture.triplet}-", f"binutils-{architecture.debian_triplet}")
    )
    return Tools(
        machine, architecture.disassembler, require(f"{prefix}objdump", package), require(f"{prefix}as", package)
    )


def disassemble(tools: Tools, encodings: Sequence[bytes], option: str = "") -> Iterator[str]:
    """Yield the text of each encoding, in order; an empty text if it is no instruction.

    :param option: for ``objdump -M``: a processor, to know only its instructions; or ``no-aliases``.
    :raises CannotRun: if objdump does not begin an instruction at the start of each encoding.
    """
    slot, filler = tools.disassembler.slot, tools.disassembler.filler
    for first in range(0, len(encodings), _BATCH):
        batch = [
            item + filler * (-len(item) % slot // (len(filler) or 1)) for item in encodings[first : first + _BATCH]
        ]
        texts = dict(_listing(tools, b"".join(batch), option))
        for offset in itertools.accumulate(map(len, batch[:-1]), initial=0):
            text = texts.get(offset)
            if text is None:
                raise CannotRun(f"{tools.objdump} skips an instruction", "install binutils 2.40 or later")
            text = _COMMENT.sub("", text).strip()
            yield "" if _NO_INSTRUCTION.match(text) else text


def listing(tools: Tools, data: bytes | memoryview, address: int) -> list[tuple[int, str]]:
    """Return (address, text) for each instruction in a stretch of code, for people."""
    return [(at, text.strip()) for at, text in _listing(tools, data, "", f"--adjust-vma={address:#x}")]


def rejections(tools: Tools, lines: Sequence[str], option: str) -> dict[int, str]:
    """Return the numbers of the assembler lines that the assembler refuses with an option, with its reasons.

    It refuses all lines if it does not know the option: an older assembler knows fewer processors.

    :raises CannotRun: if it fails without the number of a line.
    """
    lines = list(lines)
    reasons: dict[int, str] = {}
    while True:
        done = _assemble(tools, lines, option)
        if general := _GENERAL_ERROR.search(done.output):
            return dict.fromkeys(range(len(lines)), general[1])
        found = _ERROR.findall(done.output)
        reasons.update({int(number) - 1: reason for number, _, reason in found})
        fatal = [int(number) - 1 for number, kind, _ in found if kind == "Fatal error"]
        for number in fatal:  # it did not read the lines after this one: try again without it
            lines[number] = ""
        if done.status and not found:
            raise CannotRun(f"{tools.assembler} fails: {done.output.strip()[-200:]}", f"repeat it: {done.command_line}")
        if not fatal:
            return reasons


def _assemble(tools: Tools, lines: Sequence[str], option: str) -> Completed:
    with tempfile.TemporaryDirectory(prefix="kitten-code-") as folder:
        source = Path(folder) / "lines.s"
        source.write_text("\n".join(lines) + "\n")
        argv = [tools.assembler, option, "-o", f"{source}.o", f"{source}"]
        return run(argv, env=_environment(), timeout=_TIMEOUT, check=False)


@functools.cache
def accepts(tools: Tools, options: tuple[str, ...]) -> bool:
    """Return whether the assembler knows the options: an older one knows fewer processors."""
    return all(_assemble(tools, (), option).status == 0 for option in options)


@functools.cache
def knows(tools: Tools, processor: str) -> bool:
    """Return whether the disassembler knows a processor (``-M``)."""
    return "unknown -M" not in _dump(tools, bytes(4), "-M", processor)


def _listing(tools: Tools, data: bytes | memoryview, option: str, *arguments: str) -> Iterator[tuple[int, str]]:
    arguments += ("-M", option) if option else ()
    output = _dump(tools, data, "-z", "-w", "--no-show-raw-insn", *arguments)  # -z: zeros are code too
    return ((int(match[1], 16), match[2]) for match in _LINE.finditer(output))


def _dump(tools: Tools, data: bytes | memoryview, *arguments: str) -> str:
    with tempfile.TemporaryDirectory(prefix="kitten-code-") as folder:
        file = Path(folder) / "code"
        file.write_bytes(data)
        argv = [tools.objdump, "-D", "-b", "binary", *tools.disassembler.options, *arguments, f"{file}"]
        return run(argv, env=_environment(), timeout=_TIMEOUT).output


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}  # this module parses the messages
