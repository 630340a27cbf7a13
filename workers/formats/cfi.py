"""Call frame information: the functions of a file, and what the unwind tables say about the frame of each.

``.eh_frame`` is loaded with the program and survives stripping. Code that is compiled without it has ``.debug_frame``
beside its debug data. Both are lists of entries: a CIE has what many functions share, an FDE belongs to one function.

Formats: DWARF 5, section 6.4.1; Linux Standard Base Core 5.0, section 10.6 (``.eh_frame``).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from workers.base.errors import MalformedError
from workers.formats import unwinding
from workers.formats.elf import Elf
from workers.formats.elf_records import SHT_NOBITS, SHT_REL, SHT_RELA, SHT_SYMTAB, Section
from workers.formats.encodings import ABSOLUTE, OMITTED, PC_RELATIVE, Pointers, fixed_format, leb128, signed_leb128
from workers.formats.unwinding import Common, Unwinding

_NOT_ZERO = re.compile(rb"[^\0]")


@dataclass(frozen=True, slots=True)
class Frame:
    """One function, or one partition of a function, that an unwind table covers."""

    start: int
    """Address of its first byte; in an ET_REL file, its file offset."""
    size: int
    """Bytes."""
    unwinding: Unwinding
    """The result of its unwind program. Functions with the same program share it."""


@dataclass(frozen=True, slots=True)
class _Cie:
    """A common information entry."""

    encoding: int
    """DW_EH_PE encoding of its functions' addresses."""
    is_augmented: bool
    """Whether each FDE has augmentation data."""
    common: Common
    pair: struct.Struct | None
    """Reads start and size of a function if they need no relocation and no pointer arithmetic."""
    known: dict[bytes, Unwinding] = field(default_factory=dict)
    """Results of the unwind programs that ran: most functions of a large program share theirs with others."""


def read_frames(elf: Elf) -> tuple[Frame, ...]:
    """Return the functions that the unwind tables cover, in order: ``.eh_frame``, then the rest of ``.debug_frame``.

    A file may have both: start-up files bring a few functions with ``.eh_frame`` into programs that have no others.
    The result has the linker's stubs, and functions that the linker discarded but that an entry still names.

    :raises MalformedError: a table is damaged.
    """
    tables = {
        name: [s for s in elf.sections if s.name == name and s.type != SHT_NOBITS and s.size]
        for name in (".eh_frame", ".debug_frame")
    }
    if sum(section.size for sections in tables.values() for section in sections) > len(elf.data):
        raise MalformedError("damaged unwind table: its sections overlap")
    frames = [frame for section in tables[".eh_frame"] for frame in _Table(elf, section).frames()]
    if tables[".debug_frame"]:
        covered = {frame.start for frame in frames}
        for section in tables[".debug_frame"]:
            frames += [frame for frame in _Table(elf, section).frames() if frame.start not in covered]
    return tuple(frames)


class _Table:
    """One section of call frame information."""

    def __init__(self, elf: Elf, section: Section) -> None:
        self._name = section.name
        self._address = section.address
        self._is_eh = section.name == ".eh_frame"
        self._data = bytes(elf.content(section))
        self._order = "<" if elf.little_endian else ">"
        self._bits, self._machine = elf.bits, elf.machine
        self._relocated = _relocation_targets(elf, section) if elf.type == "ET_REL" else {}
        self._pointers = Pointers(elf, self._data, section.address)
        self._cies: dict[int, _Cie] = {}
        self._unread = len(self._data)

    def frames(self) -> Iterator[Frame]:
        """Yield every FDE of the section, in order."""
        data, is_eh, base, mask = self._data, self._is_eh, self._address, (1 << self._bits) - 1
        for place, identity, body, end in self._entries():
            if identity == self._cie_identity(body - place):
                continue
            if is_eh:  # the signed distance back to the CIE, in 4 bytes; negative if the CIE comes later
                cie = self._cie(place - (identity if identity < 1 << 31 else identity - (1 << 32)))
            else:
                cie = self._cie(self._relocated.get(place, identity))
            if cie.pair is None:
                start, size, body = self._range(cie, body, end)
            else:
                if body + cie.pair.size > end:
                    raise self._damage("has an entry too short for its function")
                start, size = cie.pair.unpack_from(data, body)
                if cie.encoding & 0x70 == PC_RELATIVE:
                    start = start + base + body & mask
                body += cie.pair.size
            if cie.is_augmented:
                skipped, body = leb128(data, body) if body < end and data[body] >= 0x80 else (data[body], body + 1)
                body += skipped
                if body > end:
                    raise self._damage("has augmentation data that ends outside its entry")
            program = data[body:end]
            unwound = cie.known.get(program)
            if unwound is None:
                unwound = cie.known[program] = unwinding.run(program, cie.common)
            yield Frame(start, size, unwound)

    def _entries(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield each entry: the place of its identity, the identity, the start and the end of its contents.

        A terminator ends the entries of one object file; entries of another may follow it.
        """
        data = self._data
        head = struct.Struct(self._order + "II")
        position = 0
        while position + 8 <= len(data):
            length, identity = head.unpack_from(data, position)
            if not length:
                more = _NOT_ZERO.search(data, position)
                if more is None:
                    return
                position += (more.start() - position) // 4 * 4
                continue
            if length == 0xFFFFFFFF:
                place, identity, body, end = self._read_long_header(position)
            else:
                place, body, end = position + 4, position + 8, position + 4 + length
            if body > end or end > len(data):
                raise self._damage("has an entry that ends outside the section")
            yield place, identity, body, end
            position = end
        if _NOT_ZERO.search(data, position):
            raise self._damage("ends within an entry")

    def _read_long_header(self, position: int) -> tuple[int, int, int, int]:
        """Read the head of an entry in the 64-bit format; in ``.eh_frame`` the identity keeps 4 bytes."""
        form = struct.Struct(self._order + ("QI" if self._is_eh else "QQ"))
        if position + 4 + form.size > len(self._data):
            raise self._damage("ends within an entry")
        length, identity = form.unpack_from(self._data, position + 4)
        return position + 12, identity, position + 4 + form.size, position + 12 + length

    def _cie_identity(self, width: int) -> int:
        """Return the identity of a CIE; in an FDE the same field leads to its CIE."""
        return 0 if self._is_eh else (1 << 8 * width) - 1

    # ------------------------------------------------------------------------------------ common information

    def _cie(self, offset: int) -> _Cie:
        found = self._cies.get(offset)
        if found is None:
            found = self._cies[offset] = self._read_cie(offset)
        return found

    def _read_cie(self, offset: int) -> _Cie:
        data = self._data
        if not 0 <= offset <= len(data) - 8:
            raise self._damage("names a CIE outside the section")
        length, identity = struct.unpack_from(self._order + "II", data, offset)
        place, body, end = offset + 4, offset + 8, offset + 4 + length
        if length == 0xFFFFFFFF:
            place, identity, body, end = self._read_long_header(offset)
        if end > len(data) or body >= end or identity != self._cie_identity(body - place):
            raise self._damage("names a CIE at a place without one")
        self._unread -= end - offset  # each CIE is read once, so together they cannot be longer than the section
        if self._unread < 0:
            raise self._damage("has CIEs that overlap")
        version, text_end = data[body], data.find(b"\0", body + 1, end)
        if version not in (1, 3, 4) or text_end < 0:
            raise self._damage(f"has a CIE of version {version}")
        augmentation = data[body + 1 : text_end].decode("latin-1")
        body = text_end + 1
        address_size = self._bits // 8
        if version == 4:
            address_size, segment_size = data[body : body + 2].ljust(2, b"\0")
            body += 2
            if address_size not in (4, 8) or segment_size:
                raise self._damage(f"has a CIE with addresses of {address_size} bytes")
        _, body = leb128(data, body)  # code alignment factor: not needed, because places in the code are not
        data_alignment, body = signed_leb128(data, body)
        body = body + 1 if version == 1 else leb128(data, body)[1]  # the return address's register
        encoding, is_augmented, is_signal_frame = ABSOLUTE, augmentation.startswith("z"), False
        if is_augmented:
            size, body = leb128(data, body)
            if size > end - body:
                raise self._damage("has augmentation data that ends outside its entry")
            encoding, is_signal_frame = self._augmentation(augmentation[1:], body, body + size)
            body += size
        elif augmentation:
            raise self._damage(f"has a CIE of unknown augmentation {augmentation!r}")
        if body > end:
            raise self._damage("has a CIE that is cut")
        common = unwinding.common(
            data[body:end], self._machine, data_alignment, address_size, is_signal_frame=is_signal_frame
        )
        form = fixed_format(encoding, address_size)
        plain = form and not self._relocated and encoding & 0xF0 in (ABSOLUTE, PC_RELATIVE)
        if encoding & 0xF0 == ABSOLUTE:
            plain = plain and form.isupper()  # an absolute address is an unsigned number
        pair = struct.Struct(self._order + form + form.upper()) if plain else None
        return _Cie(encoding, is_augmented, common, pair)

    def _augmentation(self, letters: str, position: int, end: int) -> tuple[int, bool]:
        """Return the encoding of addresses, and whether the frames are signal frames.

        :param letters: the augmentation string behind its z.
        """
        encoding, is_signal_frame = ABSOLUTE, False
        for letter in letters:
            if letter in "RLP" and position >= end:
                raise self._damage("has a CIE that is cut")
            if letter == "R":
                encoding, position = self._data[position], position + 1
            elif letter == "L":  # encoding of an address in each FDE's augmentation data
                position += 1
            elif letter == "P":  # the personality routine, perhaps in another file: its pointer is not followed
                _, position = self._pointers.read(self._data[position] & 0x7F, position + 1, end, self._bits // 8)
            elif letter == "S":
                is_signal_frame = True
            elif letter not in "BG":  # AArch64: return addresses signed with key B, memory tagging
                raise self._damage(f"has a CIE of unknown augmentation {'z' + letters!r}")
        if encoding == OMITTED:
            raise self._damage("has functions without addresses")
        return encoding, is_signal_frame

    def _range(self, cie: _Cie, position: int, end: int) -> tuple[int, int, int]:
        """Return start and size of a function, and the position behind both."""
        place = position
        start, position = self._pointers.read(cie.encoding, position, end, cie.common.address_size)
        size, position = self._pointers.read(cie.encoding & 0x0F, position, end, cie.common.address_size)
        # A relocation names the function itself, for an absolute and for a relative address.
        return self._relocated.get(place, start) & (1 << self._bits) - 1, size, position

    def _damage(self, what: str) -> MalformedError:
        return MalformedError(f"damaged unwind table: {self._name} {what}")


def _relocation_targets(elf: Elf, section: Section) -> Mapping[int, int]:
    """Return, for an ET_REL file, the address that each relocated place of a section refers to.

    A reference to the section itself (from an FDE of ``.debug_frame`` to its CIE) is an offset in it.
    """
    for table in elf.sections:  # a section has one table of relocations
        if table.type in (SHT_RELA, SHT_REL) and table.info == section.index and table.link < len(elf.sections):
            if elf.sections[table.link].type != SHT_SYMTAB:
                continue
            symbols = list(elf.symbols_of(elf.sections[table.link]))
            places: dict[int, int] = {}
            for relocation in elf.relocations_of(table):
                if relocation.symbol >= len(symbols):
                    raise MalformedError(f"damaged unwind table: {table.name} names a symbol that does not exist")
                symbol = symbols[relocation.symbol]
                origin = section.address if symbol.section == section.index else 0
                places[relocation.offset] = symbol.address + relocation.addend - origin
            return places
    return {}
