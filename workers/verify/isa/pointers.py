"""Addresses in a file's data: from relocations or, in a program with a fixed address, as stored in the file."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

from config.architectures import machines
from workers.formats.elf import Elf
from workers.formats.elf_records import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_PROGBITS, SHT_RELA, Relocation, Symbol

_SHT_RELR = 19  # gABI; binutils 2.38, glibc 2.36


class Pointers:
    """The words of a file's data that are addresses."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._size = elf.bits // 8

    @cached_property
    def _relocated(self) -> tuple[Mapping[int, int], Mapping[int, str], tuple[int, ...]]:
        """Slot → address, slot → name of an undefined symbol, and the addresses of resolvers."""
        elf = self._elf
        slots: dict[int, int] = {}
        imports: dict[int, str] = {}
        resolvers: list[int] = []
        tables: dict[int, tuple[Symbol, ...]] = {}
        machine = machines().get(elf.machine)
        if machine is None:
            return MappingProxyType(slots), MappingProxyType(imports), ()
        for section, entry in elf.relocations:
            place = entry.offset
            if elf.type == "ET_REL":
                if section.info >= len(elf.sections):
                    continue
                place += elf.sections[section.info].address
            if entry.type in machine.irelative:
                resolvers.append(self._addend(section.type, entry))
            elif entry.type in machine.relative:
                slots[place] = self._addend(section.type, entry)
            elif entry.type in machine.symbolic:
                if section.link not in tables and section.link < len(elf.sections):
                    tables[section.link] = tuple(elf.symbols_of(elf.sections[section.link]))
                symbols = tables.get(section.link, ())
                if entry.symbol < len(symbols):
                    symbol = symbols[entry.symbol]
                    if symbol.section:
                        slots[place] = symbol.address + entry.addend
                    else:
                        imports[place] = symbol.name
        return MappingProxyType(slots), MappingProxyType(imports), tuple(dict.fromkeys(resolvers))

    def _addend(self, table: int, entry: Relocation) -> int:
        return entry.addend if table == SHT_RELA else self._raw(entry.offset)

    def _raw(self, slot: int) -> int:
        word = self._elf.at(slot, self._size)
        return int.from_bytes(word, "little" if self._elf.little_endian else "big") if len(word) == self._size else 0

    @property
    def resolvers(self) -> tuple[int, ...]:
        """The addresses in IRELATIVE relocations, which the dynamic linker or the start of a static program calls."""
        return self._relocated[2]

    def at(self, slot: int) -> int:
        """Return the address in a word of data: from its relocation or, without one, as stored in the file."""
        slots, imports, _ = self._relocated
        if slot in imports:
            return 0
        return slots.get(slot) or self._raw(slot)

    def imported(self, slot: int) -> str:
        """Return the symbol of another file whose address a word of data gets, or an empty text."""
        return self._relocated[1].get(slot, "")

    def slots_of(self, address: int) -> Iterator[int]:
        """Yield the words of data with an address, from relocations or as stored in the file."""
        yield from self._by_address.get(address, ())
        if not self._data or not 0 < address < 1 << 8 * self._size:
            return
        wanted = struct.pack(("<" if self._elf.little_endian else ">") + ("Q" if self._size == 8 else "I"), address)
        for start, data in self._data:
            place = data.find(wanted)
            while place >= 0:
                if not (start + place) % self._size and start + place not in self._relocated[0]:
                    yield start + place
                place = data.find(wanted, place + 1)

    @cached_property
    def _by_address(self) -> Mapping[int, Sequence[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for slot, address in self._relocated[0].items():
            found[address].append(slot)
        return found

    @cached_property
    def _data(self) -> tuple[tuple[int, bytes], ...]:
        """Address and content of the sections that contain addresses without a relocation in a table.

        Those are the data of a program with a fixed address, and the data that packed relocations (DT_RELR) change.
        """
        packed = any(section.type == _SHT_RELR for section in self._elf.sections)
        if self._elf.type != "ET_EXEC" and not packed:
            return ()
        return tuple(
            (section.address, self._elf.content(section).tobytes())
            for section in self._elf.sections
            if section.flags & SHF_ALLOC and section.type == SHT_PROGBITS and not section.flags & SHF_EXECINSTR
            and (section.flags & SHF_WRITE or not packed)
        )  # fmt: skip
