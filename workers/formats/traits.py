"""A reader of how a file was linked: what the dynamic linker and the kernel do with it, and the build paths in it.

Pure and bounded like :mod:`workers.formats.elf`. :mod:`workers.verify.rules.link` judges the result.
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from config.architectures import machines
from workers.base.errors import MalformedError
from workers.formats.elf import Elf
from workers.formats.elf_records import (
    PF_W,
    PF_X,
    PT_GNU_RELRO,
    PT_GNU_STACK,
    PT_INTERP,
    PT_LOAD,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_NOBITS,
)
from workers.formats.facts import Traits

BUILD_FOLDERS = ("/builddir/", "/rpmbuild/BUILD/", "/BUILDROOT/")
"""Parts of paths that only a build tree has: %_topdir of mock and of the sandbox, of rpmbuild by hand, and %buildroot,
which a file is packaged from. Not ``/tmp/``: programs may name it."""

# elf.h: tags of the dynamic table, and bits of two of them
_DT_PLTRELSZ, _DT_RELA, _DT_RELASZ, _DT_RPATH, _DT_REL, _DT_RELSZ, _DT_PLTREL = 2, 7, 8, 15, 17, 18, 20
_DT_TEXTREL, _DT_JMPREL, _DT_BIND_NOW, _DT_RUNPATH, _DT_FLAGS, _DT_FLAGS_1 = 22, 23, 24, 29, 30, 0x6FFFFFFB
_DF_TEXTREL, _DF_BIND_NOW, _DF_1_NOW, _DF_1_PIE = 0x4, 0x8, 0x1, 0x08000000

_MOST_PATHS = 16
_LONGEST_PATH = 200  # characters of a build path that are kept, on either side of the match
_CHUNK = 1 << 20
_PRINTABLE_START, _PRINTABLE_END = re.compile(rb"[ -~]*"), re.compile(rb"[ -~]*\Z")


def read_traits(elf: Elf, build_folders: Sequence[str] = BUILD_FOLDERS) -> Traits:
    """Read how a file was linked. ``go_settings`` stays empty, because the linker does not write them.

    :param build_folders: parts of build paths to search for in all data that the file loads.
    :raises MalformedError: the file is damaged.
    """
    table = dict(elf.dynamic)
    linked = elf.type in ("ET_EXEC", "ET_DYN")
    return Traits(
        build_id=elf.build_id,
        executable_stack=_executable_stack(elf),
        relro=_relro(elf, table) if linked and table else "",
        pie=_pie(elf, table),
        text_relocations=_text_relocations(elf, table) if linked and table else None,
        rpath=_rpath(elf),
        build_paths=_build_paths(elf, tuple(folder.encode() for folder in build_folders)),
    )


def is_kernel_module(elf: Elf) -> bool:
    """Return whether this is a Linux kernel module: an object with the section that describes a module."""
    return elf.type == "ET_REL" and elf.section(".modinfo") is not None


def _executable_stack(elf: Elf) -> bool | None:
    """Return what the file asks for, or its machine's default. None for a kernel module: it uses the kernel's stack.

    A program that is linked with an object without the section asks for an executable stack (GNU ld, "-z execstack").
    """
    machine = machines().get(elf.machine)
    by_default = machine.executable_stack if machine else elf.machine == "EM_ARM"
    if elf.type == "ET_REL":
        if is_kernel_module(elf) or elf.machine == "EM_BPF":
            return None
        note = elf.section(".note.GNU-stack")
        return bool(note.flags & SHF_EXECINSTR) if note else by_default
    if not any(segment.type == PT_LOAD for segment in elf.segments):
        return None
    stack = next((segment for segment in elf.segments if segment.type == PT_GNU_STACK), None)
    return bool(stack.flags & PF_X) if stack else by_default


def _relro(elf: Elf, table: dict[int, int]) -> str:
    """Return the RELRO of a file with a dynamic table; empty if nothing in it is writable (the kernel's vDSO).

    It is full if the table of procedure addresses is protected too, because all addresses are resolved at the start:
    with ``-z now``, if no address needs to be resolved later, or if no dynamic linker runs (static-pie).
    """
    if not any(segment.type == PT_LOAD and segment.flags & PF_W for segment in elf.segments):
        return ""
    if not any(segment.type == PT_GNU_RELRO and segment.memory_size for segment in elf.segments):
        return "none"
    now = (
        _DT_BIND_NOW in table
        or table.get(_DT_FLAGS, 0) & _DF_BIND_NOW
        or table.get(_DT_FLAGS_1, 0) & _DF_1_NOW
        or not table.get(_DT_PLTRELSZ, 0)
        or (table.get(_DT_FLAGS_1, 0) & _DF_1_PIE and not _has_interpreter(elf))
    )
    return "full" if now else "partial"


def _pie(elf: Elf, table: dict[int, int]) -> bool | None:
    """Return whether a program is position independent; None for others. libc.so.6 can run, so counts as one."""
    if elf.type == "ET_EXEC":
        return False
    if elf.type == "ET_DYN" and (_has_interpreter(elf) or table.get(_DT_FLAGS_1, 0) & _DF_1_PIE):
        return True
    return None


def _has_interpreter(elf: Elf) -> bool:
    return any(segment.type == PT_INTERP for segment in elf.segments)


def _text_relocations(elf: Elf, table: dict[int, int]) -> bool:
    """Return whether the dynamic linker must write into read-only mappings, by flags or by relocations of the file."""
    if _DT_TEXTREL in table or table.get(_DT_FLAGS, 0) & _DF_TEXTREL:
        return True
    fixed = [(s.address, s.address + s.memory_size) for s in elf.segments if s.type == PT_LOAD and not s.flags & PF_W]
    if not fixed:
        return False
    for places, kinds in _relocation_places(elf, table):
        ordered = sorted(places)
        if any(bisect_left(ordered, start) < bisect_left(ordered, end) for start, end in fixed):
            # R_*_NONE, type 0, changes nothing.
            mask = 0xFFFFFFFF if elf.bits == 64 else 0xFF
            real = (place for place, kind in zip(places, kinds, strict=True) if kind & mask)
            if any(start <= place < end for place in real for start, end in fixed):
                return True
    return False


def _relocation_places(elf: Elf, table: dict[int, int]) -> Iterator[tuple[array[int], array[int]]]:
    """Yield, for each table of dynamic relocations, the addresses that it changes and their types.

    DT_RELR is left out: linkers use it only for aligned words of data.
    """
    with_addend = table.get(_DT_PLTREL, _DT_RELA) == _DT_RELA
    for tag, size_tag, words in (
        (_DT_RELA, _DT_RELASZ, 3),
        (_DT_REL, _DT_RELSZ, 2),
        (_DT_JMPREL, _DT_PLTRELSZ, 3 if with_addend else 2),
    ):
        data = elf.at(table.get(tag, 0), min(table.get(size_tag, 0), len(elf.data))) if tag in table else b""
        row = words * elf.bits // 8
        numbers = array("Q" if elf.bits == 64 else "I")
        numbers.frombytes(data[: len(data) // row * row])
        if elf.little_endian != (sys.byteorder == "little"):
            numbers.byteswap()
        yield numbers[0::words], numbers[1::words]


def _rpath(elf: Elf) -> tuple[str, ...]:
    """Return the folders of both tags. An empty entry is the current folder; an empty text has no entry."""
    for tag in (_DT_RPATH, _DT_RUNPATH):
        if sum(key == tag for key, _ in elf.dynamic) > 1:
            raise MalformedError("damaged ELF file: more than one DT_RPATH or DT_RUNPATH")
    texts = (*elf.dynamic_strings(_DT_RPATH), *elf.dynamic_strings(_DT_RUNPATH))
    return tuple(dict.fromkeys(folder for text in texts if text for folder in text.split(":")))


def _build_paths(elf: Elf, needles: tuple[bytes, ...]) -> tuple[str, ...]:
    """Return the loaded texts that contain a needle, in the order of the file. Debug sections are not loaded."""
    found: dict[str, None] = {}
    for start, end in _loaded_stretches(elf):
        position = start
        while len(found) < _MOST_PATHS and (place := _next(elf.data, position, end, needles)) is not None:
            text, position = _text_around(elf.data, start, place, end)
            found.setdefault(text)
    return tuple(found)


def _loaded_stretches(elf: Elf) -> list[tuple[int, int]]:
    """Return the parts of the file that are loaded as data, each byte once even if several headers name it.

    Code is left out: its texts are in data sections.
    """
    if elf.sections:
        loaded = (s for s in elf.sections if s.flags & SHF_ALLOC and s.type != SHT_NOBITS and s.size)
        kept = [section for section in loaded if not section.flags & SHF_EXECINSTR]
        places = [(s.offset, s.size) for s in kept]
    else:
        places = [(s.offset, s.file_size) for s in elf.segments if s.type == PT_LOAD]
    merged: list[tuple[int, int]] = []
    for offset, size in sorted(places):
        if offset + size > len(elf.data):
            raise MalformedError(f"damaged ELF file: {size} bytes to load at {offset} are outside the file")
        if merged and offset <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], offset + size))
        else:
            merged.append((offset, offset + size))
    return merged


def _next(data: memoryview, start: int, end: int, needles: tuple[bytes, ...]) -> int | None:
    """Return the place of the first needle. It searches copies of pieces, because a memoryview has no search.

    Pieces begin small and grow, so that a file full of needles is not copied again for each.
    """
    overlap = max(map(len, needles), default=1) - 1
    size = 2 * overlap + 256
    while start < end:
        piece = data[start : min(start + size, end)].tobytes()
        if hits := [place for needle in needles if (place := piece.find(needle)) >= 0]:
            return start + min(hits)
        if start + len(piece) == end:
            break
        start += len(piece) - overlap
        size = min(2 * size, _CHUNK)
    return None


def _text_around(data: memoryview, start: int, place: int, end: int) -> tuple[str, int]:
    """Return the printable text around a place, and the position from which to search on."""
    before = data[max(start, place - _LONGEST_PATH) : place].tobytes()
    after = data[place : min(end, place + _LONGEST_PATH)].tobytes()
    head = _PRINTABLE_END.search(before)[0]  # type: ignore[index]  # both patterns match empty texts
    tail = _PRINTABLE_START.match(after)[0]  # type: ignore[index]
    return (head + tail).decode("ascii"), place + len(tail)
