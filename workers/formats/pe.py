"""A reader of PE/COFF files that EFI firmware loads: boot loaders, shims, capsule updaters, kernels with an EFI stub.

Pure like :mod:`workers.formats.elf`: it checks every count, size and offset against the file before it uses them.
Addresses are the image base plus the address relative to it, as disassemblers print them.

Formats: Microsoft, "PE Format"; UEFI Specification 2.10, section 2.1 "Images"; for kernel images Linux,
Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst and drivers/firmware/efi/libstub/zboot-header.S.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from config.architectures import machines
from workers.base.errors import MalformedError
from workers.formats.elf_records import Code
from workers.formats.facts import Function

MAGIC = b"MZ"

# "Machine Types" → the ELF name of the same machine: our architectures, and others for which EFI files exist.
_MACHINES = {0x01C0: "EM_ARM", 0x01C2: "EM_ARM", 0x01C4: "EM_ARM", 0x5064: "EM_RISCV", 0x6264: "EM_LOONGARCH"}
_MACHINES |= {machine.pe_number: name for name, machine in machines().items() if machine.pe_number is not None}

_IMAGE_SCN_MEM_EXECUTE = 0x20000000
_EXCEPTION_TABLE = 3  # of the data directories
_DTYPE_FUNCTION, _C_EXTERNAL = 0x20, 2  # of a COFF symbol: its type, its storage class
_SYMBOL_SIZE = 18  # bytes
_MAX_NAME = 1 << 12  # bytes of a symbol's name


@dataclass(frozen=True, slots=True)
class PeSection:
    """One section header."""

    name: str
    address: int
    """Load address, image base included."""
    size: int
    """Bytes in memory; 0 if the linker leaves it out."""
    offset: int
    file_size: int
    flags: int

    @property
    def is_code(self) -> bool:
        """Whether it contains instructions."""
        return bool(self.flags & _IMAGE_SCN_MEM_EXECUTE and self.file_size)


class Pe:
    """A PE/COFF image, PE32 or PE32+."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        """Read the headers.

        :param data: the whole file; a ``memoryview`` of an ``mmap`` is best for a large one.
        :raises MalformedError: the data is not a PE image, or is cut within its headers.
        """
        self.data = memoryview(data).cast("B")
        if bytes(self.data[:2]) != MAGIC:
            raise MalformedError("not a PE file")
        (start,) = self._unpack("I", 0x3C)
        if bytes(self.data[start : start + 4]) != b"PE\0\0":
            raise MalformedError("not a PE file: it has a DOS header and no PE header")
        machine, self._count, _, self._symbols_at, self._symbol_count, optional_size, _ = self._unpack(
            "HHIIIHH", start + 4
        )
        self.machine = _MACHINES.get(machine, f"PE_{machine:#06x}")
        optional = start + 24
        (magic,) = self._unpack("H", optional)
        if magic not in (0x10B, 0x20B) or optional_size < 72:
            raise MalformedError("damaged PE file: it has no optional header of an image")
        wide = magic == 0x20B
        (self._entry,) = self._unpack("I", optional + 16)
        (self.image_base,) = self._unpack("Q", optional + 24) if wide else self._unpack("I", optional + 28)
        self._directories = optional + (112 if wide else 96)
        self._directories_end = optional + optional_size
        self._sections_at = optional + optional_size

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from("<" + form, self.data, offset)
        except struct.error:
            raise MalformedError(f"truncated PE file: nothing at offset {offset}") from None

    def _slice(self, offset: int, size: int, what: str) -> memoryview:
        if offset > len(self.data) or size > len(self.data) - offset:
            raise MalformedError(f"damaged PE file: {what}, {size} bytes at {offset}, is outside the file")
        return self.data[offset : offset + size]

    # ------------------------------------------------------------------------------------------------- what it is

    @cached_property
    def kernel_image(self) -> str:
        """Its kind of Linux kernel image: ``bzImage``, ``arm64 Image`` …; empty for other files.

        Most code sections of such a file are the compressed kernel, or code that patches itself for the processor.
        """
        data = self.data
        if bytes(data[0x1FE:0x200]) == b"\x55\xaa" and bytes(data[0x202:0x206]) == b"HdrS":
            return "bzImage"
        if bytes(data[4:8]) == b"zimg":
            return "EFI zboot"
        return {b"ARM\x64": "arm64 Image", b"RSC\x05": "riscv Image"}.get(bytes(data[0x38:0x3C]), "")

    @property
    def is_kernel_image(self) -> bool:
        """Whether it is a Linux kernel image with an EFI stub."""
        return bool(self.kernel_image)

    # ------------------------------------------------------------------------------------------------- its content

    @cached_property
    def sections(self) -> tuple[PeSection, ...]:
        """The section headers.

        :raises MalformedError: they are outside the file.
        """
        table = self._slice(self._sections_at, 40 * self._count, "the section headers")
        rows = struct.iter_unpack("<8sIIII12xI", table)
        return tuple(
            PeSection(self._section_name(name), self._load_address(address), size, offset, file_size, flags)
            for name, size, address, file_size, offset, flags in rows
        )

    def _section_name(self, name: bytes) -> str:
        """Return the name of a section. A name of more than 8 bytes is in the string table: ``/4``."""
        text = _text(name)
        if text[:1] == "/" and text[1:].isdecimal() and self._symbols_at:
            return self._string(int(text[1:]))
        return text

    def _string(self, offset: int) -> str:
        """Return a text of the string table, which is behind the symbols."""
        start = self._symbols_at + _SYMBOL_SIZE * self._symbol_count + offset
        return _text(bytes(self.data[start : start + _MAX_NAME]))

    def _load_address(self, address: int) -> int:
        return (self.image_base + address) % 2**64

    def content(self, section: PeSection) -> memoryview:
        """Return the bytes of a section, as far as they are loaded.

        :raises MalformedError: the section is outside the file.
        """
        size = min(section.file_size, section.size or section.file_size)
        return self._slice(section.offset, size, section.name or "a section")

    @cached_property
    def code(self) -> tuple[Code, ...]:
        """All executable bytes, by address.

        :raises MalformedError: a section is outside the file, or sections overlap.
        """
        found = [Code(s.name, s.address, self.content(s)) for s in self.sections if s.is_code]
        if sum(len(code.data) for code in found) > len(self.data):
            raise MalformedError("damaged PE file: its code sections overlap")
        return tuple(sorted(found, key=lambda code: code.address))

    # ---------------------------------------------------------------------------------------------------- functions

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        """The functions that the unwind table, the symbols and the entry point name, by address.

        :raises MalformedError: a table is outside the file.
        """
        sizes = dict(self._runtime_functions())
        names: dict[int, str] = {}
        room = len(self.data)  # each name is in the file once; overlapping names could fill the memory
        for address, name in self._symbols():
            if address not in names:
                names[address] = name
                room -= len(name)
            if room < 0:
                raise MalformedError("damaged PE file: the names of its symbols overlap")
        starts = {*sizes, *names, *([self._load_address(self._entry)] if self._entry else [])}
        return tuple(
            Function(start, sizes.get(start, 0), names.get(start, ""), section)
            for start in sorted(starts)
            if (section := self._section_of(start)) is not None
        )

    @property
    def starts(self) -> tuple[int, ...]:
        """The start of each function, in order."""
        return tuple(function.address for function in self.functions)

    def _section_of(self, address: int) -> str | None:
        index = bisect_right(self.code, address, key=lambda code: code.address) - 1
        return self.code[index].section if index >= 0 and address < self.code[index].end else None

    def _runtime_functions(self) -> Iterator[tuple[int, int]]:
        """Yield (address, size) of each RUNTIME_FUNCTION; the size is 0 if the table does not have it (aarch64)."""
        step = machines()[self.machine].runtime_function if self.machine in machines() else None
        entry = self._directories + 8 * _EXCEPTION_TABLE
        if step is None or entry + 8 > self._directories_end:
            return
        (count,) = self._unpack("I", self._directories - 4)
        address, size = self._unpack("II", entry)
        if count <= _EXCEPTION_TABLE or not size:
            return
        for row in struct.iter_unpack("<" + "I" * (step // 4), self._at(address, size // step * step)):
            if row[0]:
                yield self._load_address(row[0]), max(0, row[1] - row[0]) if step == 12 else 0

    def _at(self, address: int, size: int) -> memoryview:
        """Return the bytes at an address relative to the image base."""
        start = self._load_address(address)
        for section in self.sections:
            content = self.content(section)
            if section.address <= start and start + size <= section.address + len(content):
                return content[start - section.address :][:size]
        raise MalformedError(f"damaged PE file: the exception table, {size} bytes at {address:#x}, is in no section")

    def _symbols(self) -> Iterator[tuple[int, str]]:
        """Yield (address, name) of each COFF symbol that is a function by type, or global (objcopy drops types)."""
        if not self._symbols_at or not self._symbol_count:
            return
        size = _SYMBOL_SIZE * self._symbol_count
        table = self._slice(self._symbols_at, size, "the symbol table")
        auxiliary = 0
        for name, value, section, kind, storage, behind in struct.iter_unpack("<8sIhHBB", table):
            if auxiliary:
                auxiliary -= 1
                continue
            auxiliary = behind
            if (kind == _DTYPE_FUNCTION or storage == _C_EXTERNAL) and 0 < section <= len(self.sections):
                address = (self.sections[section - 1].address + value) % 2**64
                yield address, _text(name) if name[:4] != bytes(4) else self._string(int.from_bytes(name[4:], "little"))


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
