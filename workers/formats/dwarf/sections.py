"""Numbers and texts of a section of debug data, read in place and relocated."""

from __future__ import annotations

import re
import struct
from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal

from config.architectures import machines
from workers.base.errors import MalformedError
from workers.formats.elf import Elf
from workers.formats.elf_records import SHF_ALLOC, SHT_NOBITS, SHT_REL, SHT_RELA, SHT_SYMTAB, Section

_MAX_LEB = 10  # bytes: enough for 64 bits
_MAX_TEXT = 1 << 20  # bytes of one text; the longest command lines that compilers record have some ten thousand
_TEXT = re.compile(rb"[^\x00]*\x00")


class DebugSection:
    """The bytes of one section. No read goes beyond them.

    :raises MalformedError: from every method, for data that is outside the section or does not end.
    """

    def __init__(
        self, name: str, data: memoryview, little_endian: bool, relocations: Relocations | None = None
    ) -> None:
        self.name = name
        self.data = data
        self._order: Literal["little", "big"] = "little" if little_endian else "big"
        self._relocations = relocations

    def __len__(self) -> int:
        return len(self.data)

    def number(self, position: int, size: int) -> int:
        """Return the unsigned number of ``size`` bytes at ``position``, relocated."""
        return self.relocated_number(position, size)[0]

    def relocated_number(self, position: int, size: int) -> tuple[int, bool]:
        """Return the unsigned number of ``size`` bytes at ``position``, and whether a relocation gives it."""
        end = position + size
        if position < 0 or end > len(self.data):
            raise self.damage(position)
        value = int.from_bytes(self.data[position:end], self._order)
        if self._relocations is not None and size >= 4:
            found = self._relocations.value(position, size, value)
            if found is not None:
                return found, True
        return value, False

    def uleb(self, position: int) -> tuple[int, int]:
        """Return the unsigned LEB128 number at ``position``, and the position behind it (DWARF 5, 7.6)."""
        data = self.data
        if position < 0 or position >= len(data):
            raise self.damage(position)
        byte = data[position]
        if byte < 0x80:
            return byte, position + 1
        value, shift = byte & 0x7F, 7
        for behind in range(position + 1, min(position + _MAX_LEB, len(data))):
            byte = data[behind]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, behind + 1
            shift += 7
        raise self.damage(position)

    def text(self, position: int) -> tuple[bytes, int]:
        """Return the text at ``position`` without its NUL, and the position behind the NUL."""
        if 0 <= position < len(self.data) and (found := _TEXT.match(self.data, position, position + _MAX_TEXT)):
            return found.group()[:-1], found.end()
        raise self.damage(position)

    def damage(self, position: int) -> MalformedError:
        """Return the error for damage at ``position``."""
        return MalformedError(f"damaged debug data: {self.name} cannot be read at offset {position:#x}")


class Relocations:
    """The relocations of one section of an ET_REL file, found by bisection: kernel modules have millions."""

    def __init__(self, elf: Elf, table: Section, base: Sequence[int] | None) -> None:
        """Take one relocation table.

        :param base: address of each section, by index; ``None``: the addresses in the file.
        """
        self._order = "<" if elf.little_endian else ">"
        self._wide = elf.bits == 64
        # Attributes of a compile unit need no other relocation types; those are ignored.
        machine = machines().get(elf.machine)
        self._sizes = machine.absolute if machine else {}
        self._adds = table.type == SHT_RELA
        self._data = elf.content(table)
        self._base = base
        self._sections = elf.sections
        word = "Q" if self._wide else "I"
        self._form = struct.Struct(self._order + word * 2 + (word.lower() if self._adds else ""))
        self._count = len(self._data) // self._form.size
        self._symbols, self._symbol_size = memoryview(b""), 24 if self._wide else 16
        if table.link < len(elf.sections) and elf.sections[table.link].type == SHT_SYMTAB:
            self._symbols = elf.content(elf.sections[table.link])
        self._sorted = self._in_order()

    def _in_order(self) -> Sequence[int]:
        """Return the indexes of the entries, sorted by place. Assemblers sort them already: then no list is made."""
        whole = self._data[: self._count * self._form.size]
        last = -1
        for row in self._form.iter_unpack(whole):
            if row[0] < last:
                return sorted(range(self._count), key=self._place)
            last = row[0]
        return range(self._count)

    def _place(self, index: int) -> int:
        place: int = self._form.unpack_from(self._data, index * self._form.size)[0]
        return place

    def value(self, position: int, size: int, in_place: int) -> int | None:
        """Return the relocated value at ``position``; ``None`` if no relocation of that size applies.

        A symbol in a loaded section counts as its address; other symbols (texts, tables) count as their offset.
        """
        found = bisect_left(self._sorted, position, key=self._place)
        while found < self._count and self._place(self._sorted[found]) == position:
            row = self._form.unpack_from(self._data, self._sorted[found] * self._form.size)
            kind = row[1] & (0xFFFFFFFF if self._wide else 0xFF)
            if self._sizes.get(kind) == size:
                addend = row[2] if self._adds else in_place
                return (self._symbol(row[1] >> (32 if self._wide else 8)) + addend) & ((1 << 8 * size) - 1)
            found += 1
        return None

    def _symbol(self, index: int) -> int:
        try:
            row = struct.unpack_from(
                self._order + ("IBBHQQ" if self._wide else "IIIBBH"), self._symbols, index * self._symbol_size
            )
        except struct.error:
            raise MalformedError("damaged debug data: a relocation names a symbol that is not there") from None
        number, value = (row[3], row[4]) if self._wide else (row[5], row[1])
        if 0 < number < len(self._sections) and self._sections[number].flags & SHF_ALLOC:
            start = self._sections[number].address if self._base is None else self._base[number]
            # A section that the stripped file lacks has no address: 0, which no code has.
            value = value + start if start else 0
        return int(value)


def debug_sections(elf: Elf, name: str, stripped: Elf | None = None) -> tuple[DebugSection, ...]:
    """Return every section of a name, and of its ``.zdebug_…`` form. An ET_REL file has one for each comdat group.

    :param stripped: the stripped file, if ``elf`` is its debug file: an ET_REL file gets the addresses of ``stripped``.
    """
    found = []
    base = None
    if stripped is not None and elf.type == "ET_REL":
        others = stripped.sections
        base = [
            others[s.index].address if s.index < len(others) and others[s.index].name == s.name else 0
            for s in elf.sections
        ]
    for section in elf.sections:
        if section.type == SHT_NOBITS or section.name not in (name, name.replace(".debug", ".zdebug", 1)):
            continue
        relocations = None
        if elf.type == "ET_REL":
            tables = [t for t in elf.sections if t.type in (SHT_RELA, SHT_REL) and t.info == section.index and t.size]
            if tables:
                relocations = Relocations(elf, tables[0], base)
        found.append(DebugSection(name, elf.content(section), elf.little_endian, relocations))
    return tuple(found)
