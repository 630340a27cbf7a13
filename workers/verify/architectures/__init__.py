"""How to judge code of each architecture: one module each, named as its record in ``config.architectures``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from config.architectures import IMPORT_ERRORS, architecture_of
from workers.base.errors import CannotRun
from workers.formats.elf import Elf
from workers.formats.elf_records import Code
from workers.formats.unwinding import Unwinding
from workers.verify.functions import FunctionTable
from workers.verify.prologues import Verdict

if TYPE_CHECKING:
    from workers.verify.isa.dispatch import Dispatch
    from workers.verify.isa.gnu import Tools
    from workers.verify.isa.levels import Level
    from workers.verify.isa.pointers import Pointers
    from workers.verify.isa.reduce import Reduction
    from workers.verify.isa.shapes import Verdict as IsaVerdict


class Kinds(Protocol):
    """A module of ``workers.verify.isa``: which bits make a kind of instruction, and which kinds are above a level."""

    def reduction(self, codes: Sequence[Code], starts: Sequence[int], tools: Tools, /) -> Reduction:
        """Return the distinct instructions of code."""

    def verdicts(self, encodings: Sequence[bytes], level: Level, tools: Tools, /) -> list[IsaVerdict]:
        """Return what each instruction needs beyond the level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCode:
    """What the proof needs to know about the code of one architecture."""

    judge_unwound: Callable[[Unwinding, memoryview, int, int], Verdict]
    """Judges a function with an unwind table, from its unwinding, a stretch of code, and its start and end in there."""
    judge_unknown: Callable[[bytes, int, Container[int]], Verdict]
    """Judges a function by its instructions alone, from its bytes, its address, and the addresses of calls that do not
    count: the compiler inserts them for a tracer (``__fentry__``, ``_mcount``)."""
    dispatch: Callable[[Elf, FunctionTable, Pointers], Dispatch]
    """Finds run-time dispatch in a file."""
    kinds: Kinds | None
    """The module that decodes it with binutils; None if iced decodes it."""


def code_of(machine: str) -> MachineCode | None:
    """Return how to judge the code of a machine; None if no target has this architecture.

    :param machine: its name in elf.h.
    :raises CannotRun: if the architecture's module is unfinished.
    """
    architecture = architecture_of(machine)
    if architecture is None or architecture.machine.elf_name != machine:
        return None
    try:
        code: MachineCode = importlib.import_module(f"{__name__}.{architecture.name}").CODE
    except IMPORT_ERRORS as error:
        module = f"workers/verify/architectures/{architecture.name}.py"
        raise CannotRun(
            f"{module} cannot be used: {error}", "docs/how-to/add-an-architecture.md lists what it needs"
        ) from None
    return code
