"""A reader of ELF files: sections, segments, symbols, relocations, notes, the dynamic table.

Pure: bytes in, records out. It opens no file and trusts nothing: it checks every count, size and offset against the
file before it uses them, so a hostile file costs at most time and memory in proportion to its size.

Formats: System V ABI, "Object Files"; `elf.h <https://man7.org/linux/man-pages/man5/elf.5.html>`_.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cached_property

from config.architectures import machines
from workers.base.errors import MalformedError
from workers.formats.compression import decompressed_section
from workers.formats.elf_records import (
    MAX_NAME,
    NT_GNU_BUILD_ID,
    PF_X,
    PT_DYNAMIC,
    PT_LOAD,
    PT_NOTE,
    SHF_ALLOC,
    SHF_COMPRESSED,
    SHN_XINDEX,
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    Code,
    Relocation,
    Section,
    Segment,
    Symbol,
    text_at,
)

MAGIC = b"\x7fELF"

# elf.h. Besides the machines of our architectures, those of files in firmware and kernel packages.
_MACHINES = {40: "EM_ARM", 243: "EM_RISCV", 247: "EM_BPF", 258: "EM_LOONGARCH"}
_MACHINES |= {machine.elf_number: name for name, machine in machines().items()}
_TYPES = {1: "ET_REL", 2: "ET_EXEC", 3: "ET_DYN", 4: "ET_CORE"}

_NAME_SHARE = 4  # names may have this many times the bytes of the file: linkers let names share their tails


class Elf:
    """An ELF file of either class and byte order.

    It reads a table on first use and keeps it. Damage raises :class:`MalformedError`, in one line.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        """Read the file header.

        :param data: the whole file; a ``memoryview`` of an ``mmap`` is best for a large one.
        :raises MalformedError: the data is not an ELF file, or is cut within its header.
        """
        self.data = memoryview(data).cast("B")
        ident = bytes(self.data[:16])
        if ident[:4] != MAGIC or len(ident) < 16 or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise MalformedError("not an ELF file")
        self.bits = 32 * ident[4]
        self.little_endian = ident[5] == 1
        self._order = "<" if self.little_endian else ">"
        header = self._unpack("HHIQQQIHHHHHH" if self.bits == 64 else "HHIIIIIHHHHHH", 16)
        kind, machine, _, self.entry, self._phoff, self._shoff, self.flags, _, self._phsize, self._phnum = header[:10]
        self._shsize, self._shnum, self._shstrndx = header[10:]
        self.type = _TYPES.get(kind, f"ET_{kind}")
        self.machine = _MACHINES.get(machine, f"EM_{machine}")
        self._symbols: dict[int, tuple[Symbol, ...]] = {}

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + form, self.data, offset)
        except (struct.error, OverflowError):
            raise MalformedError(f"truncated ELF file: nothing at offset {offset}") from None

    def _table(self, form: str, offset: int, count: int, step: int, what: str) -> Iterator[tuple[int, ...]]:
        """Return ``count`` records of ``step`` bytes; first check that the table is inside the file."""
        size = struct.calcsize(self._order + form)
        if step < size or offset + count * step > len(self.data):
            raise MalformedError(f"damaged ELF file: its {what} are outside the file")
        if step == size:
            return struct.iter_unpack(self._order + form, self.data[offset : offset + count * step])
        return (self._unpack(form, offset + number * step) for number in range(count))

    # ------------------------------------------------------------------------------------------------ headers

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The section headers; empty if the file has none."""
        if not self._shoff:
            return ()
        form = "IIQQQQIIQQ" if self.bits == 64 else "IIIIIIIIII"
        count, names = self._shnum, self._shstrndx
        if not count or names == SHN_XINDEX:  # counts above 16 bits are in the first header
            first = self._unpack(form, self._shoff)
            count, names = count or first[5], first[6] if names == SHN_XINDEX else names
        rows = list(self._table(form, self._shoff, count, self._shsize, "section headers"))
        strings = b""
        if names < len(rows) and rows[names][1] != SHT_NOBITS:
            strings = self._slice(rows[names][4], rows[names][5], "section names").tobytes()
        relocatable = self.type == "ET_REL"
        names_of = self._names(strings)
        return tuple(
            Section(
                index, names_of(row[0]), row[1], row[2], row[4] if relocatable else row[3],
                row[4], row[5], row[6], row[7], row[9],
            )
            for index, row in enumerate(rows)
        )  # fmt: skip

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The program headers."""
        if not self._phoff or not self._phnum:
            return ()
        form = "IIQQQQQQ" if self.bits == 64 else "IIIIIIII"
        rows = self._table(form, self._phoff, self._phnum, self._phsize, "program headers")
        if self.bits == 64:
            return tuple(Segment(r[0], r[1], r[2], r[3], r[5], r[6]) for r in rows)
        return tuple(Segment(r[0], r[6], r[1], r[2], r[4], r[5]) for r in rows)

    def section(self, name: str) -> Section | None:
        """Return the first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    # ----------------------------------------------------------------------------------------------- contents

    def _slice(self, offset: int, size: int, what: str) -> memoryview:
        if offset > len(self.data) or size > len(self.data) - offset:
            raise MalformedError(f"damaged ELF file: {what}, {size} bytes at {offset}, is outside the file")
        return self.data[offset : offset + size]

    def _names(self, strings: bytes) -> Callable[[int], str]:
        """Return a reader of names in a string table. It limits their total size.

        Without a limit, each entry of a small file could name the same very long text, and all copies would be kept.
        """
        room = _NAME_SHARE * len(self.data) + MAX_NAME

        def name_at(offset: int) -> str:
            nonlocal room
            name = text_at(strings, offset)
            room -= len(name)
            if room < 0:
                raise MalformedError("damaged ELF file: its names are longer than the file")
            return name

        return name_at

    def content(self, section: Section) -> memoryview:
        """Return the bytes of a section, decompressed if it has SHF_COMPRESSED; empty for SHT_NOBITS.

        :raises MalformedError: the section is outside the file, or its compressed data is damaged or too large.
        """
        if section.type == SHT_NOBITS:
            return memoryview(b"")
        data = self._slice(section.offset, section.size, section.name or f"section {section.index}")
        if section.flags & SHF_COMPRESSED:
            form = "IIQQ" if self.bits == 64 else "III"
            if len(data) < struct.calcsize(form):
                raise MalformedError(f"damaged ELF file: {section.name} is cut within its compression header")
            head = struct.unpack_from(self._order + form, data)
            size = head[2] if self.bits == 64 else head[1]
            return memoryview(
                decompressed_section(data[struct.calcsize(self._order + form) :], head[0], size, section.name)
            )
        if section.name.startswith(".zdebug") and bytes(data[:4]) == b"ZLIB":
            return memoryview(decompressed_section(data[12:], 1, int.from_bytes(data[4:12], "big"), section.name))
        return data

    @cached_property
    def code(self) -> tuple[Code, ...]:
        """All executable bytes, by address: sections, or segments if the file has no section headers."""
        if any(section.type != 0 for section in self.sections):
            found = [
                Code(section.name, section.address, self.content(section), section.is_plt)
                for section in self.sections
                if section.is_code
            ]
        else:
            found = [
                Code("", segment.address, self._slice(segment.offset, segment.file_size, "a segment"))
                for segment in self.segments
                if segment.type == PT_LOAD and segment.flags & PF_X and segment.file_size
            ]
        if sum(len(code.data) for code in found) > len(self.data):
            raise MalformedError("damaged ELF file: its code sections overlap")
        return tuple(sorted(found, key=lambda code: code.address))

    def at(self, address: int, size: int) -> memoryview:
        """Return the bytes that are loaded at an address, as far as the file has them; perhaps none."""
        if self.type == "ET_REL":  # addresses are file offsets
            return self.data[address : address + size]
        for segment in self.segments:
            if segment.type == PT_LOAD and segment.address <= address < segment.address + segment.file_size:
                start = segment.offset + address - segment.address
                return self.data[start : min(start + size, segment.offset + segment.file_size)]
        return memoryview(b"")

    # ---------------------------------------------------------------------------------- symbols, relocations

    def symbol_rows(self, section: Section) -> Iterator[tuple[int, int, int, int, int]]:
        """Return the symbols of a SHT_SYMTAB or SHT_DYNSYM section without names, which take most of the time to read.

        :returns: (offset of the name in :meth:`strings_of`, binding and type, section, address, size) of each.
        """
        data = self.content(section)
        step = 24 if self.bits == 64 else 16
        rows = struct.iter_unpack(
            self._order + ("IBxHQQ" if self.bits == 64 else "IIIBxH"), data[: len(data) // step * step]
        )
        if self.bits == 32:
            rows = ((name, info, index, value, size) for name, value, size, info, index in rows)
        if self.type != "ET_REL":
            return rows
        bases = [section.address for section in self.sections]
        return (
            (name, info, index, value + (bases[index] if 0 < index < len(bases) else 0), size)
            for name, info, index, value, size in rows
        )

    def strings_of(self, section: Section) -> bytes:
        """Return the string table that a section is linked to; empty if it names none."""
        if section.link >= len(self.sections):
            return b""
        return self.content(self.sections[section.link]).tobytes()

    def symbols_of(self, section: Section) -> tuple[Symbol, ...]:
        """Return the symbols of a SHT_SYMTAB or SHT_DYNSYM section, in order: relocations count them from 0."""
        if section.index not in self._symbols:
            strings = self.strings_of(section)
            self._symbols[section.index] = tuple(
                Symbol(strings, name, info & 15, index, address, size, info >> 4)
                for name, info, index, address, size in self.symbol_rows(section)
            )
        return self._symbols[section.index]

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """All symbols of ``.symtab`` and ``.dynsym``."""
        tables = (section for section in self.sections if section.type in (SHT_SYMTAB, SHT_DYNSYM))
        return tuple(symbol for table in tables for symbol in self.symbols_of(table))

    def relocations_of(self, section: Section) -> Iterator[Relocation]:
        """Yield the entries of a SHT_RELA or SHT_REL section; an addend in the relocated place counts as 0."""
        data = self.content(section)
        word = "Q" if self.bits == 64 else "I"
        form = self._order + word * 2 + (word.lower() if section.type == SHT_RELA else "")
        step = struct.calcsize(form)
        shift, mask = (32, 0xFFFFFFFF) if self.bits == 64 else (8, 0xFF)
        for row in struct.iter_unpack(form, data[: len(data) // step * step]):
            yield Relocation(row[0], row[1] & mask, row[1] >> shift, row[2] if len(row) == 3 else 0)

    @property
    def relocations(self) -> Iterator[tuple[Section, Relocation]]:
        """Every relocation, with the section that lists it (its ``info`` is the section that it applies to)."""
        for section in self.sections:
            if section.type in (SHT_RELA, SHT_REL):
                for relocation in self.relocations_of(section):
                    yield section, relocation

    # ----------------------------------------------------------------------------------------- notes, dynamic

    @cached_property
    def dynamic(self) -> tuple[tuple[int, int], ...]:
        """(tag, value) pairs of the dynamic table, up to its end mark; empty in a static file."""
        table = next((s for s in self.segments if s.type == PT_DYNAMIC), None)
        if table is None:
            return ()
        data = self._slice(table.offset, table.file_size, "the dynamic table")
        step = self.bits // 4
        rows = []
        for row in struct.iter_unpack(
            self._order + ("qQ" if self.bits == 64 else "iI"), data[: len(data) // step * step]
        ):
            if row[0] == 0:
                break
            rows.append((row[0], row[1]))
        return tuple(rows)

    def dynamic_strings(self, tag: int) -> tuple[str, ...]:
        """Return the texts of a dynamic tag: 1 NEEDED, 14 SONAME, 15 RPATH, 29 RUNPATH."""
        table = dict(self.dynamic)
        strings = self.at(table.get(5, 0), min(table.get(10, 0), len(self.data))).tobytes()
        name_at = self._names(strings)
        return tuple(name_at(value) for key, value in self.dynamic if key == tag)

    def notes(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield owner, type and content of each note: from sections, or from segments if no section has notes."""
        places = [(s.offset, s.size) for s in self.sections if s.type == SHT_NOTE]
        places = places or [(s.offset, s.file_size) for s in self.segments if s.type == PT_NOTE]
        for offset, size in places:
            data = self._slice(offset, size, "a note")
            position = 0
            while position + 12 <= len(data):
                name_size, content_size, kind = struct.unpack_from(self._order + "III", data, position)
                start = position + 12 + (name_size + 3 & ~3)
                if start + content_size > len(data):
                    break
                owner = bytes(data[position + 12 : position + 12 + name_size]).rstrip(b"\0")
                yield owner.decode("latin-1"), kind, bytes(data[start : start + content_size])
                position = start + (content_size + 3 & ~3)

    @cached_property
    def build_id(self) -> str:
        """The GNU build-id in hexadecimal; empty if the file has none."""
        found = (content.hex() for owner, kind, content in self.notes() if (owner, kind) == ("GNU", NT_GNU_BUILD_ID))
        return next(found, "")

    @property
    def has_debug_info(self) -> bool:
        """Whether this file has DWARF compile units."""
        names = (".debug_info", ".zdebug_info")
        return any(section.name in names and section.type != SHT_NOBITS for section in self.sections)

    @property
    def is_debug_file(self) -> bool:
        """Whether it has only the debug data of another file, and loads nothing (``objcopy --only-keep-debug``)."""
        loaded = (s for s in self.sections if s.flags & SHF_ALLOC and s.type not in (SHT_NOBITS, SHT_NOTE))
        return self.has_debug_info and not any(loaded)
