"""Programs with instructions above their level, and the reasons that dispatch gives for them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.workers.verify.compilers import compiled, tool
from workers.base.run import run
from workers.formats.elf import Elf
from workers.formats.facts import AboveLevel
from workers.verify.functions import FunctionTable
from workers.verify.isa import x86
from workers.verify.isa.dispatch import explain
from workers.verify.isa.levels import LEVELS

V2 = LEVELS["x86-64-v2"]
OPTIONS = ["-O2", "-march=x86-64-v2"]
AVX2 = '__asm__ volatile("vpaddd %%ymm1, %%ymm2, %%ymm3" ::: "xmm3");'
NOINLINE = "__attribute__((noinline))"


def ranges(elf: Elf) -> list[tuple[int, int]]:
    """Return (start, size) of the functions in the search table of the unwind data, which a stripped file still has."""
    header, frames = elf.section(".eh_frame_hdr"), elf.section(".eh_frame")
    if header is None or frames is None:
        return []
    data, found = elf.content(header), []
    for place, entry in struct.iter_unpack("<ii", data[12 : 12 + 8 * struct.unpack_from("<I", data, 8)[0]]):
        at = header.address + entry - frames.address
        found.append((header.address + place, struct.unpack_from("<I", elf.content(frames), at + 12)[0]))
    return found


def explained(path: Path) -> tuple[AboveLevel, ...]:
    elf = Elf(path.read_bytes())
    table = FunctionTable(elf, ranges(elf))
    return explain(elf, table, x86.scan(elf.code, table.starts, V2).hits, V2)


def reasons(path: Path) -> dict[str, str]:
    """Return function → reason for each function with instructions above the level."""
    return {above.function.name: above.dispatch for above in explained(path)}


def program(folder: Path, source: str, options: Sequence[str] = OPTIONS, link: Sequence[str] = (), **more: str) -> Path:
    sources: Mapping[str, str] = {"main.c": source, **{f"{name}.c": text for name, text in more.items()}}
    return compiled("x86_64_v2", folder, sources, options, link)


def stripped(path: Path) -> Path:
    run([tool("x86_64_v2", "strip"), path])
    return path


ASKS = """
#include <cpuid.h>
static unsigned flags;
static void __attribute__((noinline)) ask(void) { unsigned a, b, c, d; __cpuid_count(7, 0, a, b, c, d); flags = b; }
"""


def assembled(folder: Path, source: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "code.s").write_text(source)
    run([tool("x86_64_v2", "gcc"), "-c", "code.s", "-o", "code.o"], cwd=folder)
    return folder / "code.o"
