"""Records of an ELF file (sections, segments, symbols, relocations, code) and the constants of elf.h.

Format: `elf.h <https://man7.org/linux/man-pages/man5/elf.5.html>`_.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_REL, SHT_DYNSYM = 1, 2, 4, 7, 8, 9, 11
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 0x1, 0x2, 0x4, 0x800
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
PT_GNU_STACK, PT_GNU_RELRO = 0x6474E551, 0x6474E552
PF_X, PF_W = 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC = 0, 1, 2, 10
SHN_XINDEX = 0xFFFF
NT_GNU_BUILD_ID = 3

MAX_NAME = 1 << 16  # bytes of a symbol's or section's name; C++ names have some thousands
_PLT_SECTIONS = (".plt", ".iplt")  # and .plt.got, .plt.sec: stubs that the linker makes


@dataclass(frozen=True, slots=True)
class Section:
    """One section header."""

    index: int
    name: str
    type: int
    flags: int
    address: int
    """Load address. In an ET_REL file, whose sections have no address yet, the file offset stands in for it."""
    offset: int
    size: int
    link: int
    info: int
    entry_size: int

    @property
    def is_code(self) -> bool:
        """Whether it contains instructions."""
        return bool(self.flags & SHF_EXECINSTR and self.type != SHT_NOBITS and self.size)

    @property
    def is_plt(self) -> bool:
        """Whether it contains stubs of the linker and no function of the program."""
        return self.name in _PLT_SECTIONS or self.name.startswith(".plt.")


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header."""

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int


class Symbol(NamedTuple):
    """One symbol. In an ET_REL file, ``address`` is a file offset, as for sections."""

    strings: bytes
    """The string table with its name. ``name`` reads it on demand: few names of a large file are needed."""
    name_offset: int
    type: int
    section: int
    address: int
    size: int
    binding: int

    @property
    def name(self) -> str:
        """Its name; empty if it has none."""
        return text_at(self.strings, self.name_offset)


@dataclass(frozen=True, slots=True)
class Relocation:
    """One relocation. ``offset`` is an address; in an ET_REL file it is relative to the relocated section."""

    offset: int
    type: int
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True)
class Code:
    """A stretch of executable bytes."""

    section: str
    """Empty if the file has no section headers, so that only the segment is known."""
    address: int
    data: memoryview
    is_plt: bool = False

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + len(self.data)


def text_at(strings: bytes, offset: int) -> str:
    """Return the name at an offset of a string table."""
    end = strings.find(b"\0", offset, offset + MAX_NAME)
    return strings[offset : end if end >= 0 else offset + MAX_NAME].decode("utf-8", "surrogateescape")
