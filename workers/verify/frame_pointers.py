"""Frame pointers: which functions make a frame, and which of these keep the frame pointer.

The rules follow the code that GCC and LLVM make with the flags (``-fno-omit-frame-pointer
-mno-omit-leaf-frame-pointer``, on s390x ``-mbackchain``). Even with these flags, a function that needs no stack has no
frame.

===========  =================================  ==========================================================
             makes a frame                      keeps it walkable
===========  =================================  ==========================================================
x86_64       the CFA's rule changes             the CFA is computed from rbp somewhere
aarch64      the CFA's rule changes             x29 is saved, and set from sp; or the CFA computed from it
ppc64le      the CFA's rule changes             the frame is made with stdu or stdux: the back chain
s390x        the CFA's offset changes: r15 is   the old r15 is stored at 0(%r15): the back chain
             lowered (registers in the
             caller's save area need no frame)
===========  =================================  ==========================================================
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from workers.base.errors import MalformedError
from workers.formats import cfi
from workers.formats.cfi import Frame
from workers.formats.elf import Elf
from workers.formats.elf_records import SHT_REL, SHT_RELA, SHT_SYMTAB, Code, text_at
from workers.formats.facts import Framing, Function, Unframed
from workers.verify import go
from workers.verify.architectures import MachineCode, code_of
from workers.verify.functions import FunctionTable
from workers.verify.prologues import FRAMED, LEAF

START_UP_FUNCTIONS = frozenset(
    [
        "_start", "_init", "_fini", "_dl_relocate_static_pie",  # crt1.o, rcrt1.o, crti.o of glibc
        "deregister_tm_clones", "register_tm_clones", "__do_global_dtors_aux", "frame_dummy",  # crtbegin.o of GCC
        "__do_global_ctors_aux",  # crtend.o of GCC
        "call_weak_fn",  # glibc's crti.o on aarch64
    ]
)  # fmt: skip
"""Functions of the start-up files. These belong to the tool chain, not to the package, so they may lack a frame
pointer. glibc: csu/, sysdeps/*/start.S, crti.S, crtn.S; GCC: libgcc/crtstuff.c."""

_LIBGCC_FUNCTIONS = frozenset(["__cpu_indicator_init", "get_available_features", "cpu_indicator_init"])
"""Functions of libgcc.a, which GCC links into programs that use __builtin_cpu_supports: libgcc/config/i386/cpuinfo.c.
They belong to the tool chain too, but they are no start-up code."""
_PARTITION = re.compile(r"\.cold(\.\d+)?$")
"""A part that GCC or LLVM split off a function. It runs in the function's frame, which its own code does not show."""
_TRACING = ("__fentry__", "_mcount", "mcount")  # -mfentry, -pg: Linux, Documentation/trace/ftrace-design.rst
_UNCOVERED = 512
"""Bytes of code that may be outside all known functions. Start-up files often have no unwind tables, and up to 300."""


def framing(elf: Elf, debug: Elf | None = None) -> tuple[Framing, FunctionTable]:
    """Judge every function of a file. Return the result, and the table of functions.

    Functions come from the unwind tables and, for code that these leave out, from symbols. PLT stubs of the linker do
    not count. ``Framing.evidence`` is empty, and nothing is proven, if start-up code is all that is known, or if most
    of the code is outside all known functions.

    :param debug: the debug file of ``elf``, from a debuginfo package.
    :raises MalformedError: if an unwind table, a symbol table or a relocation is damaged, or if code sections overlap.
    """
    frames = {frame.start: frame for frame in reversed(_frames(elf, debug)) if frame.size}
    further = go.functions(elf) if go.is_go(elf) else ()
    table = FunctionTable(elf, ((frame.start, frame.size) for frame in frames.values()), debug, further)
    if sum(len(code.data) for code in elf.code) > len(elf.data):
        raise MalformedError("damaged ELF file: its code sections overlap")
    machine_code = code_of(elf.machine)
    if machine_code is None:
        return Framing("", 0, 0, 0), table
    return _Judge(elf, machine_code, frames, table).framing(), table


def _frames(elf: Elf, debug: Elf | None) -> tuple[Frame, ...]:
    frames = cfi.read_frames(elf)
    if debug is not None and elf.type != "ET_REL":  # the debug file of a kernel module has other addresses
        return frames + cfi.read_frames(debug)
    return frames


class _Judge:
    """Judges the functions of one file."""

    def __init__(self, elf: Elf, machine_code: MachineCode, frames: dict[int, Frame], table: FunctionTable) -> None:
        self._elf, self._machine_code = elf, machine_code
        # Go's unwind tables use the stack pointer even if it keeps a frame pointer, so its code decides.
        is_go = any(section.name.endswith(".gopclntab") for section in elf.sections)
        self._frames = {} if is_go else frames
        self._table = table
        self._tracing = _tracing_calls(elf) if elf.type == "ET_REL" else frozenset()

    def framing(self) -> Framing:
        """Judge all functions."""
        name_of, size_of = self._table.name_of, self._table.size_of
        framed = leaf = by_table = covered = total = 0
        unframed: list[Unframed] = []
        for code in self._elf.code:
            if code.is_plt:
                continue
            total += len(code.data)
            for start, begin, end, frame in self._functions(code):
                covered += end - begin
                if frame is not None:
                    by_table += 1
                    verdict = LEAF
                    if not frame.unwinding.is_signal_frame:
                        part = begin - code.address, end - code.address
                        verdict = self._machine_code.judge_unwound(frame.unwinding, code.data, *part)
                else:
                    content = bytes(code.data[begin - code.address : end - code.address])
                    verdict = self._machine_code.judge_unknown(content, begin, self._tracing)
                if verdict is FRAMED:
                    framed += 1
                    continue
                name = "" if verdict is LEAF else name_of(start)
                if verdict is LEAF or (name and self._is_excused(name, has_frame=frame is not None)):
                    leaf += 1
                else:
                    function = Function(start, size_of(start), name, code.section)
                    unframed.append(Unframed(function, verdict.why))
        count = framed + leaf + len(unframed)
        if not unframed and (total - covered > covered + _UNCOVERED or self._are_start_up_functions(count)):
            return Framing("", 0, 0, 0)
        evidence = "cfi" if by_table == count else "cfi and code" if by_table else "code"
        return Framing(evidence, count, framed, leaf, tuple(unframed))

    def _functions(self, code: Code) -> Iterator[tuple[int, int, int, Frame | None]]:
        """Yield (start, start of the part to read, end of that part, frame) for each function in a stretch of code.

        No byte is in two parts, so the time is proportional to the size of the code, even if tables are damaged.
        """
        starts = self._table.starts
        first, behind = bisect_left(starts, code.address), bisect_left(starts, code.end)
        reached, behind_code = code.address, code.end
        for index in range(first, behind):
            start = starts[index]
            frame = self._frames.get(start)
            if frame is not None:
                begin = max(start, reached)
                end = start + frame.size
                if not begin <= end <= behind_code:
                    end = behind_code if end > behind_code else begin
                reached = end
                yield start, begin, end, frame
            elif start >= reached:  # otherwise another entry of a function with an unwind table
                following = starts[index + 1] if index + 1 < behind else behind_code
                size = self._table.size_of(start)
                yield start, start, min(start + size, following) if size else following, None

    def _is_excused(self, name: str, *, has_frame: bool) -> bool:
        """Return whether a function belongs to the tool chain, or is a part of a function that is judged elsewhere."""
        base = name.split(".")[0]  # without a suffix of the compiler: .constprop.0
        if base in START_UP_FUNCTIONS or base in _LIBGCC_FUNCTIONS:
            return True
        return not has_frame and _PARTITION.search(name) is not None

    def _are_start_up_functions(self, count: int) -> bool:
        """Return whether all functions are start-up code."""
        if count > 2 * len(START_UP_FUNCTIONS):
            return False
        return all(
            function.address == self._elf.entry or function.name in START_UP_FUNCTIONS
            for function in self._table.all()
            if (code := self._table.code_at(function.address)) is not None and not code.is_plt
        )


def _tracing_calls(elf: Elf) -> frozenset[int]:
    """Return where calls of a tracer may begin in an ET_REL file, from the relocations that name the tracer.

    A relocation points behind the opcode bytes of a call: none, one or two of them.
    """
    found: set[int] = set()
    tables = [section for section in elf.sections if section.type in (SHT_REL, SHT_RELA)]
    if sum(section.size for section in tables) > len(elf.data):
        raise MalformedError("damaged ELF file: its relocation tables overlap")
    tracers: dict[int, set[int]] = {}
    for table in tables:
        if table.info >= len(elf.sections) or not elf.sections[table.info].is_code:
            continue
        if table.link not in tracers:
            tracers[table.link] = _tracers(elf, table.link)
        if not tracers[table.link]:
            continue
        base = elf.sections[table.info].address
        for relocation in elf.relocations_of(table):
            if relocation.symbol in tracers[table.link]:
                found.update(base + relocation.offset - opcode for opcode in (0, 1, 2))
    return frozenset(found)


def _tracers(elf: Elf, index: int) -> set[int]:
    """Return the numbers of the tracers' symbols in a symbol table."""
    if index >= len(elf.sections) or elf.sections[index].type != SHT_SYMTAB:
        return set()
    strings = elf.strings_of(elf.sections[index])
    offsets = {row[0] for row in elf.symbol_rows(elf.sections[index])}
    named = {offset for offset in offsets if text_at(strings, offset) in _TRACING}
    return {number for number, row in enumerate(elf.symbol_rows(elf.sections[index])) if row[0] in named}
