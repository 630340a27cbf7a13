"""The attributes of a debugging entry as numbers, in every form of DWARF 2 to 5 and of GNU (DWARF 5, 7.5.5, 7.5.6)."""

from __future__ import annotations

from dataclasses import dataclass

from workers.base.errors import MalformedError
from workers.formats.dwarf.abbreviations import FORM_IMPLICIT_CONST, Abbreviation
from workers.formats.dwarf.sections import DebugSection

FORM_ADDR, FORM_STRING, FORM_STRP, FORM_SEC_OFFSET, FORM_LINE_STRP = 0x01, 0x08, 0x0E, 0x17, 0x1F
FORM_STRP_SUP, FORM_GNU_STRP_ALT, FORM_RNGLISTX = 0x1D, 0x1F21, 0x23
STRX_FORMS = frozenset([0x1A, 0x25, 0x26, 0x27, 0x28, 0x1F02])  # strx, strx1 … strx4, GNU_str_index
ADDRX_FORMS = frozenset([0x1B, 0x29, 0x2A, 0x2B, 0x2C, 0x1F01])  # addrx, addrx1 … addrx4, GNU_addr_index
_FORM_REF_ADDR, _FORM_INDIRECT = 0x10, 0x16

_FIXED = {
    0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16,  # data1, data2, data4, data8, data16
    0x0C: 1, 0x19: 0,  # flag, flag_present
    0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x20: 8, 0x1C: 4, 0x24: 8,  # ref1 … ref8, ref_sig8, ref_sup4, ref_sup8
    0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,  # strx1 … strx4, addrx1 … addrx4
}  # fmt: skip
# strp, sec_offset, strp_sup, line_strp, GNU_ref_alt, GNU_strp_alt: as wide as the unit's offsets
_OFFSETS = frozenset([FORM_STRP, FORM_SEC_OFFSET, FORM_STRP_SUP, FORM_LINE_STRP, 0x1F20, FORM_GNU_STRP_ALT])
# sdata, udata, ref_udata, strx, addrx, loclistx, rnglistx, GNU_addr_index, GNU_str_index. The value of sdata is read
# unsigned: no attribute that is read here is negative.
_LEBS = frozenset([0x0D, 0x0F, 0x15, 0x1A, 0x1B, 0x22, FORM_RNGLISTX, 0x1F01, 0x1F02])
_BLOCKS = {0x0A: 1, 0x03: 2, 0x04: 4}  # block1, block2, block4: bytes of their length
_LONG_BLOCKS = frozenset([0x09, 0x18])  # block, exprloc


@dataclass(frozen=True, slots=True)
class Value:
    """An attribute's form and number: the position of a text in place, the offset or index of another value."""

    form: int
    number: int
    relocated: bool = False
    """Whether a relocation gives the number: then it is an address even if it is 0."""


def read_attributes(
    section: DebugSection, position: int, end: int, abbreviation: Abbreviation, version: int, address_size: int,
    offset_size: int, wanted: frozenset[int],
) -> dict[int, Value]:  # fmt: skip
    """Return the wanted attributes of the entry whose values begin at ``position``; of a duplicate, the first.

    :param end: end of the unit; no value goes beyond it.
    :raises MalformedError: the entry is damaged, or an attribute has an unknown form.
    """
    found: dict[int, Value] = {}
    for attribute, declared, constant in abbreviation.attributes:
        form = declared
        while form == _FORM_INDIRECT:  # each step takes at least a byte, so a chain of them ends
            form, position = section.uleb(position)
            if form == FORM_IMPLICIT_CONST:  # its value is in the abbreviation; an indirect form has none there
                raise section.damage(position)
        start, number, relocated = position, constant, False
        size = _FIXED.get(form)
        if size is None and form in _OFFSETS:
            size = offset_size
        elif form == FORM_ADDR:
            size = address_size
        elif form == _FORM_REF_ADDR:
            size = address_size if version == 2 else offset_size
        if size is not None:
            position += size
            if attribute in wanted and position <= end:
                number, relocated = section.relocated_number(start, size)
        elif form in _LEBS:
            number, position = section.uleb(position)
        elif form == FORM_STRING:
            number = position
            position = section.text(position)[1]
        elif form in _BLOCKS:
            position += _BLOCKS[form] + section.number(position, _BLOCKS[form])
        elif form in _LONG_BLOCKS:
            length, position = section.uleb(position)
            position += length
        elif form != FORM_IMPLICIT_CONST:
            raise MalformedError(f"damaged debug data: unknown form {form:#x} of attribute {attribute:#x}")
        if position > end:
            raise section.damage(start)
        if attribute in wanted:
            found.setdefault(attribute, Value(form, number, relocated))
    return found
