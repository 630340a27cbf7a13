"""Go programs: their build settings and their functions. Both survive stripping.

Go's debug data records no flags; Go's linker writes the build settings into the program instead. The formats are those
of Go's ``debug/buildinfo`` (the blob since Go 1.13, with inline strings since 1.18) and ``debug/gosym`` (the function
tables of Go 1.16, 1.18 and 1.20).
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from config.models import Target
from workers.base.errors import MalformedError
from workers.formats.elf import Elf
from workers.formats.elf_records import PF_W, PT_LOAD, SHT_NOBITS
from workers.formats.facts import Function

_MAGIC = b"\xff Go buildinf:"
_ALIGNMENT, _HEADER_SIZE = 16, 32
_MAX_SEARCHED = 1 << 20  # bytes from the start of the writable segment, in a file without section headers
_MAX_TEXT = 1 << 24  # bytes of version or settings; a program with a thousand modules has some hundred thousand
_FRAME = 16  # bytes of each of the marks before and after the settings

_TABLE_SECTIONS = (".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro")
_TABLE_MAGICS = {0xFFFFFFFA: 116, 0xFFFFFFF0: 118, 0xFFFFFFF1: 120}
_NAME = re.compile(rb"[^\x00]{0,65536}\x00")
_MODULE_TEXT = 22  # runtime.moduledata.text, in pointers from its beginning (Go 1.26)


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """The build information that Go's linker writes into a program."""

    version: str
    """``go1.22.5``."""
    settings: tuple[tuple[str, str], ...]
    """(GOARCH, amd64), (GOAMD64, v3), (-trimpath, true) …; empty before Go 1.18."""


def build_info(elf: Elf) -> BuildInfo | None:
    """Return the build information of a Go program; ``None`` for any other file.

    :raises MalformedError: if the build information is damaged.
    """
    blob = _blob(elf)
    if blob is None:
        return None
    data, address = blob
    pointer_size, flags = data[14], data[15]
    if flags & 2:  # inline strings, each after its length
        version, position = _counted(data, _HEADER_SIZE)
        modules, _ = _counted(data, position)
    elif pointer_size in (4, 8):
        form = (">" if flags & 1 else "<") + ("I" if pointer_size == 4 else "Q")
        pointers = [_pointer(elf, form, data, 16 + index * pointer_size, address) for index in (0, 1)]
        version, modules = (_go_string(elf, form, pointer) for pointer in pointers)
    else:
        raise MalformedError(f"damaged Go build information: pointers of {pointer_size} bytes")
    framed = len(modules) > 2 * _FRAME and modules[-_FRAME - 1 : -_FRAME] == b"\n"
    lines = modules[_FRAME:-_FRAME].decode("utf-8", "replace").splitlines() if framed else []
    return BuildInfo(version.decode("utf-8", "replace"), tuple(_settings(lines)))


def build_settings(elf: Elf) -> tuple[tuple[str, str], ...]:
    """Return the build settings of a Go program, in its order; empty for other files, and before Go 1.18.

    :raises MalformedError: if they are damaged.
    """
    info = build_info(elf)
    return info.settings if info else ()


def missing_settings(settings: Sequence[tuple[str, str]], target: Target) -> tuple[str, ...]:
    """Return the settings that a target requires and a program lacks, as ``GOAMD64=v3``."""
    recorded = dict(settings)
    return tuple(f"{name}={value}" for name, value in target.flags.go.items() if recorded.get(name) != value)


def _settings(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        kind, _, rest = line.partition("\t")
        if kind != "build":
            continue
        # Go quotes keys and values with a blank or a quote. The settings of targets have neither.
        name, equals, value = rest.partition("=")
        if equals:
            yield name, value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _blob(elf: Elf) -> tuple[memoryview, int] | None:
    """Return the build information, up to the end of its section or segment, and its address."""
    section = elf.section(".go.buildinfo")
    if section is not None and section.type != SHT_NOBITS:
        place, address, step = elf.content(section), section.address, len(_MAGIC)
    elif not elf.sections:
        writable = [s for s in elf.segments if s.type == PT_LOAD and s.flags & PF_W and s.file_size]
        if not writable:
            return None
        address, step = writable[0].address, _MAX_SEARCHED
        place = elf.at(address, writable[0].file_size)
    else:
        return None
    # A section begins with it. A search of the whole section could find data that only looks like build information.
    start = bytes(place[:step]).find(_MAGIC)
    while start >= 0 and (address + start) % _ALIGNMENT:
        start = bytes(place[:step]).find(_MAGIC, start + 1)
    if start < 0:
        return None
    if len(place) - start < _HEADER_SIZE:
        raise MalformedError("damaged Go build information: its header is cut short")
    return place[start:], address + start


def _counted(data: memoryview, position: int) -> tuple[bytes, int]:
    """Return a string that is stored after its length (a variable-length number), and the position behind it."""
    length = 0
    for index in range(10):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if length > min(len(data) - position, _MAX_TEXT):
                break
            return bytes(data[position : position + length]), position + length
    raise MalformedError("damaged Go build information: a string without end")


def _pointer(elf: Elf, form: str, data: memoryview, offset: int, address: int) -> int:
    """Return a pointer of the blob. In a position-independent program, only a relocation may have its value."""
    value: int = struct.unpack_from(form, data, offset)[0]
    return value or _relocated(elf, address + offset)


def _go_string(elf: Elf, form: str, address: int) -> bytes:
    """Return the bytes of a Go string. At its address are a pointer to the bytes, and their number."""
    step = struct.calcsize(form)
    head = elf.at(address, 2 * step)
    if len(head) < 2 * step:
        raise MalformedError("damaged Go build information: a pointer points outside the file")
    start, length = (int(struct.unpack_from(form, head, index * step)[0]) for index in (0, 1))
    text = elf.at(start or _relocated(elf, address), min(length, _MAX_TEXT + 1))
    if len(text) != length:
        raise MalformedError("damaged Go build information: a string is outside the file")
    return text.tobytes()


def _relocated(elf: Elf, place: int) -> int:
    """Return the value that a relocation relative to the load address puts at ``place``, or 0."""
    return next((r.addend for _, r in elf.relocations if r.offset == place and not r.symbol), 0)


# ------------------------------------------------------------------------------------------------------- functions


def is_go(elf: Elf) -> bool:
    """Return whether Go's linker made the file, or a part of it."""
    return any(section.name.startswith((".go", ".note.go")) for section in elf.sections)


def functions(elf: Elf) -> tuple[Function, ...]:
    """Return the Go functions in the ``.gopclntab`` of a program, by address; empty if it has no such table.

    Functions of linked C code or of other assembler sources are not in that table.

    :raises MalformedError: if the table is damaged.
    """
    for name in _TABLE_SECTIONS:
        section = elf.section(name)
        if section is None or section.type == SHT_NOBITS:
            continue
        data = elf.content(section)
        start = _table_start(data, elf)
        if start >= 0:
            try:
                return tuple(_functions(elf, data[start:], section.address + start))
            except struct.error:
                raise MalformedError("damaged Go function table: it ends too early") from None
    return ()


def _table_start(data: memoryview, elf: Elf) -> int:
    """Return the offset of a function table, or -1.

    It begins with the magic number, two zeros, the unit of code addresses, and the size of pointers.
    """
    order = "<" if elf.little_endian else ">"
    magics = b"|".join(re.escape(struct.pack(order + "I", magic)) for magic in _TABLE_MAGICS)
    pattern = rb"(?:%s)\x00\x00[\x01\x02\x04]%s" % (magics, re.escape(bytes([elf.bits // 8])))
    for match in re.finditer(pattern, data):
        if match.start() % (elf.bits // 8) == 0:
            return match.start()
    return -1


def _functions(elf: Elf, data: memoryview, address: int) -> Iterator[Function]:
    order, word = "<" if elf.little_endian else ">", "I" if elf.bits == 32 else "Q"
    step = elf.bits // 8
    edition = _TABLE_MAGICS[struct.unpack_from(order + "I", data)[0]]
    old = edition == 116  # absolute addresses; later tables have 32-bit offsets from the program's first instruction
    words = struct.unpack_from(order + word * 8, data, 8)
    count, names = words[0], words[2 if old else 3]
    table = words[6 if old else 7]
    field = step if old else 4
    if names > len(data) or table > len(data) or (2 * count + 1) * field > len(data) - table:
        raise MalformedError(f"damaged Go function table: it is too small for {count} functions")
    text = 0 if old else words[2] or _relocated(elf, address + 8 + 2 * step) or _text_of_module(elf)
    if not old and not text:
        return
    # The start of a function, the offset of its record, the start of the next function.
    cells = struct.Struct(order + ("I" if field == 4 else word) * 3)
    code = elf.code
    starts = [stretch.address for stretch in code]
    budget = 2 * len(data)  # functions may share names, which are short; in a hostile table all share one long name
    for index in range(count):
        first, record, behind = cells.unpack_from(data, table + 2 * index * field)
        start, end = text + first, text + behind
        place = bisect_right(starts, start) - 1
        if place < 0 or start >= code[place].end or end < start:
            raise MalformedError(f"damaged Go function table: a function at {start:#x}, which is no code")
        if record > len(data):
            raise MalformedError("damaged Go function table: a record is outside it")
        # A record begins with the address, then the offset of the name.
        offset = struct.unpack_from(order + "i", data, table + record + field)[0]
        found = _NAME.match(data, names + offset) if 0 <= offset < len(data) - names else None
        if found is None:
            raise MalformedError("damaged Go function table: a name is outside it")
        budget -= found.end() - found.start()
        if budget < 0:
            raise MalformedError("damaged Go function table: its names overlap")
        yield Function(start, end - start, found.group()[:-1].decode("utf-8", "replace"), code[place].section)


def _text_of_module(elf: Elf) -> int:
    """Return where the code begins, from ``.go.module``. Since Go 1.26 the function table does not say it."""
    section = elf.section(".go.module")
    if section is None or section.type == SHT_NOBITS:
        return 0
    form = ("<" if elf.little_endian else ">") + ("I" if elf.bits == 32 else "Q")
    offset = _MODULE_TEXT * struct.calcsize(form)
    value: int = struct.unpack_from(form, elf.content(section), offset)[0]
    return value or _relocated(elf, section.address + offset)
