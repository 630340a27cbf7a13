"""A reader of ``.debug_info``: from unit to unit, it reads the topmost entry of each compile unit and nothing below.

It reads DWARF 2 to 5 of 32 and 64 bits in both byte orders, compressed sections, ET_REL files with relocations, and
texts that dwz moved into a supplementary file. Standard: DWARF 5, 3.1.1 (attributes), 7.5.1 (unit headers).
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.base.errors import MalformedError
from workers.formats.dwarf.abbreviations import Abbreviations
from workers.formats.dwarf.attributes import (
    ADDRX_FORMS,
    FORM_ADDR,
    FORM_GNU_STRP_ALT,
    FORM_LINE_STRP,
    FORM_RNGLISTX,
    FORM_STRING,
    FORM_STRP,
    FORM_STRP_SUP,
    STRX_FORMS,
    Value,
    read_attributes,
)
from workers.formats.dwarf.ranges import RangeLists, Ranges, merged_ranges
from workers.formats.dwarf.sections import DebugSection, debug_sections
from workers.formats.elf import Elf
from workers.formats.facts import Unit

_TAG_COMPILE_UNIT, _TAG_SKELETON_UNIT = 0x11, 0x4A
_NAME, _LOW_PC, _HIGH_PC, _LANGUAGE, _FOLDER, _PRODUCER, _RANGES = 0x03, 0x11, 0x12, 0x13, 0x1B, 0x25, 0x55
_STR_OFFSETS_BASE, _ADDR_BASE, _RNGLISTS_BASE, _DWO_NAME = 0x72, 0x73, 0x74, 0x76
_GNU_DWO_NAME, _GNU_ADDR_BASE = 0x2130, 0x2133
_WANTED = frozenset(
    [_NAME, _LOW_PC, _HIGH_PC, _LANGUAGE, _FOLDER, _PRODUCER, _RANGES, _STR_OFFSETS_BASE, _ADDR_BASE, _RNGLISTS_BASE,
     _DWO_NAME, _GNU_DWO_NAME, _GNU_ADDR_BASE]
)  # fmt: skip
_UT_COMPILE, _UT_TYPE, _UT_PARTIAL, _UT_SKELETON, _UT_SPLIT_COMPILE, _UT_SPLIT_TYPE = range(1, 7)

_MAX_UNITS = 1_000_000  # of one file, all kinds; the largest programs in use have some ten thousand
_MAX_TEXTS = 1 << 26  # bytes of all names, folders and producers of a file, each counted once

# DW_AT_language of the languages that have rules of their own (DWARF 5, 7.12, and the list of codes on dwarfstd.org).
_LANGUAGES = {
    0x0013: "d",
    0x0016: "go",
    0x0018: "haskell",
    0x001B: "ocaml",
    0x001C: "rust",
    0x001E: "swift",
    0x001F: "julia",
    0x0026: "kotlin",
    0x0027: "zig",
    0x0028: "crystal",
    0x0031: "assembler",  # DW_LANG_Assembly
    0x8001: "assembler",  # DW_LANG_Mips_Assembler: what assemblers of all machines write
}


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    kind: int
    abbreviations: int
    address_size: int
    offset_size: int
    entry: int
    """Start of the topmost entry."""
    end: int


class UnitReader:
    """A reader of the units of one file."""

    def __init__(self, elf: Elf, supplementary: Elf | None, stripped: Elf | None) -> None:
        def only(name: str, of: Elf = elf) -> DebugSection | None:
            return next(iter(debug_sections(of, name, stripped if of is elf else None)), None)

        self._infos = debug_sections(elf, ".debug_info", stripped)
        abbreviations = only(".debug_abbrev")
        if self._infos and abbreviations is None:
            raise MalformedError("damaged debug data: .debug_info without .debug_abbrev")
        self._abbreviations = Abbreviations(abbreviations) if abbreviations else None
        self._addresses = only(".debug_addr")
        self._string_offsets = only(".debug_str_offsets")
        self._ranges = RangeLists(only(".debug_ranges"), only(".debug_rnglists"))
        shared = only(".debug_str", supplementary) if supplementary is not None else None
        self._strings = {
            FORM_STRP: only(".debug_str"), FORM_LINE_STRP: only(".debug_line_str"),
            FORM_STRP_SUP: shared, FORM_GNU_STRP_ALT: shared,
        }  # fmt: skip
        self._known: dict[tuple[int, int], str] = {}
        self._texts: dict[bytes, str] = {}
        self._budget = _MAX_TEXTS

    def read(self) -> tuple[Unit, ...]:
        """Return all compile units, in order."""
        units: list[Unit] = []
        count = 0
        for info in self._infos:
            position = 0
            while position < len(info):
                header = _header(info, position)
                position = header.end
                count += 1
                if count > _MAX_UNITS:
                    raise MalformedError(f"damaged debug data: more than {_MAX_UNITS} units")
                if (unit := self._unit(info, header)) is not None:
                    units.append(unit)
        return tuple(units)

    def _unit(self, info: DebugSection, header: _Header) -> Unit | None:
        if header.kind in (_UT_TYPE, _UT_PARTIAL, _UT_SPLIT_TYPE) or header.entry >= header.end:
            return None
        code, position = info.uleb(header.entry)
        if not code or self._abbreviations is None:
            return None
        abbreviation = self._abbreviations.find(header.abbreviations, code)
        if abbreviation.tag not in (_TAG_COMPILE_UNIT, _TAG_SKELETON_UNIT):
            return None
        found = read_attributes(
            info, position, header.end, abbreviation, header.version, header.address_size, header.offset_size, _WANTED
        )
        language = found.get(_LANGUAGE)
        split = found.get(_DWO_NAME) or found.get(_GNU_DWO_NAME)
        return Unit(
            name=self._text(info, header, found, found.get(_NAME) or split),
            producer=self._text(info, header, found, found.get(_PRODUCER)),
            language=_LANGUAGES.get(language.number, "") if language else "",
            folder=self._text(info, header, found, found.get(_FOLDER)),
            ranges=self._code_ranges(header, found),
        )

    # ------------------------------------------------------------------------------------------------- texts

    def _text(self, info: DebugSection, header: _Header, found: dict[int, Value], value: Value | None) -> str:
        if value is None:
            return ""
        form, offset = value.form, value.number
        if form == FORM_STRING:
            return self._intern(info.text(offset)[0])
        if form in STRX_FORMS:
            if self._string_offsets is None:
                raise MalformedError("damaged debug data: a unit refers to .debug_str_offsets, which is not there")
            base = found.get(_STR_OFFSETS_BASE)
            table = base.number if base else _table_header(header)
            offset = self._string_offsets.number(table + offset * header.offset_size, header.offset_size)
            form = FORM_STRP
        if form not in self._strings:
            raise MalformedError(f"damaged debug data: a text of form {form:#x}")
        section = self._strings[form]
        if section is None:
            if form in (FORM_STRP_SUP, FORM_GNU_STRP_ALT):
                raise MalformedError("texts of the debug data are in a supplementary file that is not there")
            raise MalformedError("damaged debug data: the section of its texts is not there")
        key = (form, offset)
        if key not in self._known:
            self._known[key] = self._intern(section.text(offset)[0])
        return self._known[key]

    def _intern(self, text: bytes) -> str:
        """Decode a text. Equal texts become one object; their total size has a limit, because texts may overlap."""
        if text not in self._texts:
            self._budget -= len(text)
            if self._budget < 0:
                raise MalformedError(f"damaged debug data: more than {_MAX_TEXTS} bytes of names")
            self._texts[text] = text.decode("utf-8", "replace")
        return self._texts[text]

    # --------------------------------------------------------------------------------------------- addresses

    def _code_ranges(self, header: _Header, found: dict[int, Value]) -> Ranges:
        size = header.address_size
        low, high, listed = found.get(_LOW_PC), found.get(_HIGH_PC), found.get(_RANGES)
        start = self._address(header, found, low) if low else 0
        if listed is not None:
            if header.version < 5:
                return merged_ranges(self._ranges.debug_ranges(listed.number, start, size), size)
            offset = listed.number
            if listed.form == FORM_RNGLISTX:
                base = found.get(_RNGLISTS_BASE)
                # The header of .debug_rnglists counts its offsets in 4 bytes more.
                table = base.number if base else _table_header(header) + 4
                offset = self._ranges.list_offset(table, offset, header.offset_size)

            def address(index: int) -> int:
                return self._address_at(header, found, index)

            return merged_ranges(self._ranges.debug_rnglists(offset, start, size, address), size)
        if low is None or high is None:
            return ()
        is_address = high.form == FORM_ADDR or high.form in ADDRX_FORMS  # else it is the size in bytes
        end = self._address(header, found, high) if is_address else start + high.number
        return merged_ranges(((start, end),), size)

    def _address(self, header: _Header, found: dict[int, Value], value: Value) -> int:
        return self._address_at(header, found, value.number) if value.form in ADDRX_FORMS else value.number

    def _address_at(self, header: _Header, found: dict[int, Value], index: int) -> int:
        if self._addresses is None:
            raise MalformedError("damaged debug data: a unit refers to .debug_addr, which is not there")
        base = found.get(_ADDR_BASE) or found.get(_GNU_ADDR_BASE)
        table = base.number if base else (_table_header(header) if header.version >= 5 else 0)
        return self._addresses.number(table + index * header.address_size, header.address_size)


def _header(info: DebugSection, position: int) -> _Header:
    """Read the header of the unit at ``position``. The unit must be in the section and longer than its header."""
    length, offset_size, start = info.number(position, 4), 4, position + 4
    if length == 0xFFFFFFFF:
        length, offset_size, start = info.number(start, 8), 8, start + 8
    elif length >= 0xFFFFFFF0:
        raise info.damage(position)
    end = start + length
    if end > len(info) or not length:
        raise MalformedError(f"damaged debug data: a unit of {length} bytes at offset {position:#x} of .debug_info")
    version, kind = info.number(start, 2), _UT_COMPILE
    if not 2 <= version <= 5:
        raise MalformedError(f"debug data of an unknown edition, DWARF {version}, at offset {position:#x}")
    if version >= 5:
        kind, address_size = info.number(start + 2, 1), info.number(start + 3, 1)
        abbreviations, entry = info.number(start + 4, offset_size), start + 4 + offset_size
        if kind in (_UT_SKELETON, _UT_SPLIT_COMPILE):
            entry += 8  # the identity that the split file repeats
        elif not _UT_COMPILE <= kind <= _UT_SPLIT_TYPE:
            raise MalformedError(f"damaged debug data: a unit of unknown kind {kind} at offset {position:#x}")
    else:
        abbreviations, entry = info.number(start + 2, offset_size), start + 2 + offset_size
        address_size, entry = info.number(entry, 1), entry + 1
    if address_size not in (2, 4, 8) or entry > end:
        raise info.damage(position)
    return _Header(version, kind, abbreviations, address_size, offset_size, entry, end)


def _table_header(header: _Header) -> int:
    """Return the size of a table's header: length, version and two more fields. A unit without a base uses it."""
    return 8 if header.offset_size == 4 else 16
