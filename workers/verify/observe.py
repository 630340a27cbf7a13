"""The bytes of one file → :class:`FileFacts`, from every reader and scanner. Damage becomes a line in ``problems``.

Pure, except that :mod:`workers.verify.isa.binutils` runs programs. It needs no packages, targets or other parts of the
proof: ``observe(data, LEVELS["x86-64-v2"])``. The names in ``__all__`` are a public API, with :mod:`workers.formats`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from config.architectures import architecture_of
from workers.base.errors import MalformedError
from workers.formats.dwarf import read_units
from workers.formats.elf import Elf
from workers.formats.elf_records import Code
from workers.formats.facts import AboveLevel, FileFacts, Function, Hit, IsaFacts, Traits, Unit
from workers.formats.pe import MAGIC as PE_MAGIC
from workers.formats.pe import Pe
from workers.formats.traits import is_kernel_module, read_traits
from workers.verify.frame_pointers import framing
from workers.verify.functions import FunctionTable
from workers.verify.go import build_settings
from workers.verify.isa import scan
from workers.verify.isa.levels import LEVELS, Level
from workers.verify.parallel import spread

__all__ = ["LEVELS", "Debug", "FileFacts", "Level", "observe"]

_STRETCH = 2 * 1024**2  # bytes of code one process decodes at a time
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Debug:
    """The debug data of a file, from debuginfo packages."""

    file: Elf
    supplementary: Elf | None = None
    """The file into which dwz moved debug data that several files share."""


def observe(
    data: memoryview, level: Level, debug: Debug | None = None, build_folders: Sequence[str] = (), jobs: int = 1
) -> FileFacts:
    """Observe an ELF or a PE file.

    :param level: the level that its instructions must not exceed.
    :param debug: its debug data, if that is in a separate file.
    :param build_folders: folders whose paths no shipped file may contain.
    :param jobs: processes that may decode at the same time.
    :raises MalformedError: if it is neither, or if its header is damaged. Other damage is reported in ``problems``.
    """
    if bytes(data[:2]) == PE_MAGIC:
        return _pe(data, level, jobs)
    return _elf(Elf(data), level, debug, build_folders, jobs)


def _elf(elf: Elf, level: Level, debug: Debug | None, build_folders: Sequence[str], jobs: int) -> FileFacts:
    problems: list[str] = []

    def attempt(what: str, read: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        try:
            return read()
        except MalformedError as error:
            problems.append(f"{what}: {error}")
            return otherwise

    nothing: tuple[Code, ...] = ()
    codes = attempt("code", lambda: elf.code, nothing)
    facts = FileFacts(
        format="elf",
        machine=elf.machine,
        type=elf.type,
        has_code=bool(codes) or bool(problems),
        has_debug_info=attempt("sections", lambda: elf.has_debug_info, False),
        is_module=attempt("sections", lambda: is_kernel_module(elf), False),
        traits=attempt("link", lambda: _traits(elf, build_folders), Traits()),
        units=attempt("debug data", lambda: _units(elf, debug), ()),
    )
    if codes:
        judged = attempt("frames", lambda: framing(elf, debug.file if debug else None), None)
        if judged is not None:
            frames, table = judged
            facts = replace(facts, framing=frames)
            if elf.machine == level.machine:
                isa = attempt("instructions", lambda: _isa(elf, codes, table, level, jobs), None)
                facts = replace(facts, isa=isa)
    return replace(facts, problems=tuple(dict.fromkeys(problems)))


def _traits(elf: Elf, build_folders: Sequence[str]) -> Traits:
    return replace(read_traits(elf, build_folders), go_settings=build_settings(elf))


def _units(elf: Elf, debug: Debug | None) -> tuple[Unit, ...]:
    """Return the compile units of the file and of its debug file. Stripping moves them from one to the other."""
    own = read_units(elf) if elf.has_debug_info else ()
    return (*own, *(read_units(debug.file, debug.supplementary, elf) if debug else ()))


def _pe(data: memoryview, level: Level, jobs: int) -> FileFacts:
    file = Pe(data)
    facts = FileFacts("efi", file.machine, "PE", bool(file.code), is_kernel_image=file.is_kernel_image)
    architecture = architecture_of(file.machine)
    fits = architecture is not None and architecture.machine.elf_name == level.machine
    if file.is_kernel_image or not file.code or not fits:
        return facts
    return replace(facts, isa=_isa(file, file.code, file, level, jobs))


def _isa(file: Elf | Pe, codes: Sequence[Code], functions: FunctionTable | Pe, level: Level, jobs: int) -> IsaFacts:
    """Decode all code, stretch by stretch, and explain the instructions above the level."""
    pieces = list(_stretches(codes, functions.starts))
    scanned = spread(lambda piece: scan(*piece, level, file.machine), pieces, jobs)
    hits = tuple(hit for part in scanned for hit in part.hits)
    above: tuple[AboveLevel, ...] = ()
    if hits and isinstance(file, Elf) and isinstance(functions, FunctionTable):
        from workers.verify.isa import dispatch

        above = dispatch.explain(file, functions, hits, level)
    elif hits:
        above = _unexplained(hits, file)
    size = sum(len(code.data) for code in codes)
    return IsaFacts(level.name, size, sum(part.undecoded for part in scanned), above)


def _unexplained(hits: Sequence[Hit], file: Elf | Pe) -> tuple[AboveLevel, ...]:
    """Group hits by function, without any reason: firmware has no run-time dispatch, so every hit counts."""
    functions = file.functions if isinstance(file, Pe) else ()
    starts = [function.address for function in functions]
    grouped: dict[Function, list[Hit]] = {}
    for hit in hits:
        index = bisect_right(starts, hit.address) - 1
        function = functions[index] if index >= 0 else Function(hit.address, 0)
        grouped.setdefault(function, []).append(hit)
    return tuple(
        AboveLevel(
            function, tuple(sorted({name for hit in found for name in hit.features})), len(found), tuple(found[:20])
        )
        for function, found in grouped.items()
    )


def _stretches(
    codes: Sequence[Code], starts: Sequence[int], size: int = _STRETCH
) -> Iterator[tuple[tuple[Code, ...], Sequence[int]]]:
    """Cut code into pieces of about ``size`` bytes at starts of functions. Yield each piece and the starts in it."""
    for code in codes:
        inside = starts[bisect_left(starts, code.address) : bisect_left(starts, code.end)]
        begin, first = code.address, 0
        for number, start in enumerate(inside):
            if start - begin >= size:
                yield (_piece(code, begin, start),), inside[first:number]
                begin, first = start, number
        yield (_piece(code, begin, code.end),), inside[first:]


def _piece(code: Code, begin: int, end: int) -> Code:
    return replace(code, address=begin, data=code.data[begin - code.address : end - code.address])
