"""How code of each architecture is judged: a module each, with the name of its record in ``config.architectures``."""

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
        """The distinct instructions of code."""

    def verdicts(self, encodings: Sequence[bytes], level: Level, tools: Tools, /) -> list[IsaVerdict]:
        """What each instruction needs beyond the level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCode:
    """What the proof asks of one architecture's code."""

    judge_unwound: Callable[[Unwinding, memoryview, int, int], Verdict]
    """Judge a function that an unwind table covers, from its unwinding, a stretch of code, and its start and end there."""
    judge_unknown: Callable[[bytes, int, Container[int]], Verdict]
    """Judge a function by its instructions alone: its bytes, its address, and the addresses of calls that the compiler inserts
    for a tracer (``__fentry__``, ``_mcount``), which are no calls of the function's own."""
    dispatch: Callable[[Elf, FunctionTable, Pointers], Dispatch]
    """What run-time dispatch looks like in a file."""
    kinds: Kinds | None
    """How binutils decode it; None: iced does."""


def code_of(machine: str) -> MachineCode | None:
    """How code of a machine, by its name in elf.h, is judged; None of a machine that is no architecture of ours.

    :raises CannotRun: if the architecture's module is unfinished.
    """
    architecture = architecture_of(machine)
    if architecture is None or architecture.machine.elf_name != machine:
        return None
    try:
        found: MachineCode = importlib.import_module(f"{__name__}.{architecture.name}").CODE
    except IMPORT_ERRORS as error:
        module = f"workers/verify/architectures/{architecture.name}.py"
        raise CannotRun(
            f"{module} cannot be used: {error}", "docs/how-to/add-an-architecture.md says what it needs"
        ) from None
    return found
