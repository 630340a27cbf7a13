"""Numbers and pointers as unwind tables encode them: LEB128, and the DW_EH_PE pointer encodings.

Formats: DWARF 5, section 7.6 (LEB128); Linux Standard Base Core 5.0, section 10.5 (pointers).
"""

from __future__ import annotations

import struct
from functools import cached_property

from workers.base.errors import MalformedError
from workers.formats.elf import Elf

# DW_EH_PE: the low four bits are the format of a pointer, the bits above are what it is relative to.
ABSOLUTE, PC_RELATIVE, OMITTED = 0x00, 0x10, 0xFF
_ULEB128, _SLEB128 = 0x01, 0x09
_FIXED = {0x02: "H", 0x03: "I", 0x04: "Q", 0x0A: "h", 0x0B: "i", 0x0C: "q"}
_TEXT_RELATIVE, _DATA_RELATIVE, _FUNCTION_RELATIVE, _ALIGNED, _INDIRECT = 0x20, 0x30, 0x40, 0x50, 0x80


def leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return an unsigned LEB128 number and the position behind it.

    :raises MalformedError: the number is cut, or longer than ten bytes (64 bits).
    """
    value = 0
    for count, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    raise MalformedError("damaged unwind table: a LEB128 number that does not end")


def signed_leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return a signed LEB128 number and the position behind it; raises like :func:`leb128`."""
    value, end = leb128(data, position)
    width = 7 * (end - position)
    return value - (1 << width) if value >> width - 1 else value, end


def fixed_format(encoding: int, address_size: int) -> str:
    """Return the ``struct`` format of a pointer of fixed width; empty for a LEB128 number.

    :raises MalformedError: the encoding is not defined.
    """
    kind = encoding & 0x0F
    if kind in (_ULEB128, _SLEB128):
        return ""
    form = {4: "I", 8: "Q"}[address_size] if kind == ABSOLUTE else _FIXED.get(kind)
    if form is None or encoding & 0x70 > _ALIGNED:
        raise MalformedError(f"damaged unwind table: a pointer of unknown encoding {encoding:#x}")
    return form


class Pointers:
    """A reader of the encoded pointers of one section."""

    def __init__(self, elf: Elf, data: bytes, address: int) -> None:
        """Take the bytes of the section, ``data``, which is loaded at ``address``."""
        self._elf = elf
        self._data = data
        self._address = address
        self._order = "<" if elf.little_endian else ">"

    def read(self, encoding: int, position: int, end: int, address_size: int) -> tuple[int, int]:
        """Return the address that an encoded pointer means, and the position behind the pointer.

        :param end: end of the entry that the pointer is in.
        :param address_size: bytes of an address: 4 or 8.
        :raises MalformedError: the pointer is cut, has an unknown encoding, or leads through a place outside the file.
        """
        relative = encoding & 0x70
        form = fixed_format(encoding, address_size)
        if relative == _ALIGNED:
            position += -(self._address + position) % address_size
        place = self._address + position
        size = struct.calcsize(self._order + form)
        if position + max(size, 1) > end:
            raise MalformedError("damaged unwind table: a pointer is cut")
        if form:
            value = struct.unpack_from(self._order + form, self._data, position)[0]
            position += size
        else:
            value, position = (leb128 if encoding & 0x0F == _ULEB128 else signed_leb128)(self._data, position)
        if relative == PC_RELATIVE:
            value += place
        elif relative == _TEXT_RELATIVE:
            value += self._text
        elif relative == _DATA_RELATIVE:
            value += self._global_offset_table
        value &= (1 << self._elf.bits) - 1
        if encoding & _INDIRECT:
            word = bytes(self._elf.at(value, address_size))
            if len(word) != address_size:
                raise MalformedError("damaged unwind table: a pointer through a place outside the file")
            value = int.from_bytes(word, "little" if self._elf.little_endian else "big")
        return value, position

    @cached_property
    def _text(self) -> int:
        section = self._elf.section(".text")
        return section.address if section else 0

    @cached_property
    def _global_offset_table(self) -> int:
        section = self._elf.section(".got.plt") or self._elf.section(".got")
        return section.address if section else 0
