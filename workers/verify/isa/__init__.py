"""Instructions above a target's level: found in all executable code, and allowed if run-time dispatch explains them.

iced decodes x86. GNU binutils decode every other architecture, because their assembler knows which processor has which
instruction.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from config.architectures import architecture_of, machines
from workers.base.errors import CannotRun
from workers.formats.elf_records import Code
from workers.formats.facts import Hit, ScanResult
from workers.verify.isa.levels import Level

MARK = "=> "
"""The first characters of the excerpt's line with the instruction above the level; other lines begin with blanks."""
_BEFORE, _AFTER = 4, 4  # lines around an instruction


def scan(codes: Sequence[Code], starts: Sequence[int], level: Level, machine: str) -> ScanResult:
    """Return every instruction of some code above a level.

    :param starts: addresses of functions, in order.
    :param machine: the machine of the file. 32-bit x86 code must not exceed the 64-bit levels.
    :raises CannotRun: if the decoder is not installed, or if it fails.
    """
    if bits := _bits(machine):
        from workers.verify.isa import x86

        return x86.scan(codes, starts, level, bits)
    from workers.base.run import CommandFailed
    from workers.verify.isa import binutils

    try:
        return binutils.scan(codes, starts, level, binutils.tools_for(machine))
    except CommandFailed as error:
        raise CannotRun(str(error).splitlines()[0], "free some space in /tmp, or reinstall binutils") from None


def _bits(machine: str) -> int:
    """Return the word size of a machine if iced decodes its code, else 0."""
    architecture = architecture_of(machine)
    return machines()[machine].bits if architecture and architecture.disassembler is None else 0


@functools.cache
def decoder(machine: str) -> str:
    """Return the decoder of a machine's code, and its version: another version may know other instructions."""
    if _bits(machine):
        from importlib.metadata import version

        return f"iced-x86 {version('iced-x86')}"
    if architecture_of(machine) is None:
        return ""
    from workers.verify.isa import binutils

    tools = binutils.tools_for(machine)
    states = [Path(program).stat() for program in (tools.objdump, tools.assembler)]
    return " ".join(f"{state.st_size} {state.st_mtime_ns}" for state in states)


def excerpt(code: Code, begin: int, address: int, size: int, machine: str) -> tuple[str, ...]:
    """Return the lines of disassembly around an instruction or, with ``size`` 0, from an address on.

    :param begin: the start of the function that contains it.
    """
    begin = max(code.address, min(begin, address))
    if bits := _bits(machine):
        from workers.verify.isa import x86

        hit = Hit(address, size, (), "")
        data = code.data[begin - code.address :]
        after = _AFTER if size else 2 * _AFTER
        lines = x86.disassembly(data, begin, hit, before=_BEFORE, after=after, bits=bits)
        return tuple(_mark(line[len(MARK) :], address, size) for line in lines)
    from workers.verify.isa import binutils

    lines = binutils.disassembly(code, address, binutils.tools_for(machine), begin, _AFTER)
    return tuple(_mark(line, address, size) for line in lines)


def _mark(line: str, address: int, size: int) -> str:
    is_hit = size > 0 and line.startswith(f"{address:x}:")
    return (MARK if is_hit else " " * len(MARK)) + line
