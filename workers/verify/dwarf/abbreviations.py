"""Abbreviation tables: which attributes a debugging entry has, in which forms (DWARF 5, 7.5.3).

Only the declarations of units' own entries are wanted, of tables that hold hundreds: a table is passed over by a regular
expression up to the one, and nothing else of it is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workers.verify.dwarf.sections import DebugSection
from workers.verify.header import MalformedError

FORM_IMPLICIT_CONST = 0x21

# code, tag, has children, pairs of attribute and form (an implicit constant adds its value), two NUL. Every repetition is
# possessive: the expression never goes back, so its time is the length of what it passes.
_LEB = rb"[\x80-\xff]*+[\x00-\x7f]"
_DECLARATION = re.compile(
    rb"(?P<code>%(leb)s)(?P<tag>%(leb)s)[\x00\x01](?:(?!\x00\x00)%(leb)s(?>\x21%(leb)s|%(leb)s))*+\x00\x00"
    % {b"leb": _LEB}
)
_MAX_TABLE = 1 << 22  # bytes of one table that are searched; compilers' have some ten thousand
_MAX_SEARCHED = 1 << 28  # bytes of all of them together


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """One declaration."""

    tag: int
    attributes: tuple[tuple[int, int, int], ...]
    """(attribute, form, value of an implicit constant)."""


class Abbreviations:
    """The declarations of ``.debug_abbrev``."""

    def __init__(self, section: DebugSection) -> None:
        self._section = section
        self._known: dict[tuple[int, int], Abbreviation] = {}
        # Tables do not overlap, and a table that units share is searched once for each kind of unit: a small multiple of
        # the section is enough for every lawful file, and bounds what a hostile one costs.
        self._budget = min(4 * len(section), _MAX_SEARCHED)

    def find(self, table: int, code: int) -> Abbreviation:
        """The declaration of ``code`` in the table at offset ``table``.

        :raises MalformedError: when there is none, or the table is damaged or endless.
        """
        key = (table, code)
        if key not in self._known:
            self._known[key] = self._searched(table, code)
        return self._known[key]

    def _searched(self, table: int, code: int) -> Abbreviation:
        data = self._section.data
        end = min(len(data), table + min(self._budget, _MAX_TABLE))
        position = table
        match = _DECLARATION.match
        wanted = _encoded(code)
        while position < end and (found := match(data, position, end)) is not None:
            written = found["code"]
            if written == wanted or (len(written) > 1 and self._section.uleb(position)[0] == code):
                self._budget -= found.end() - table
                return self._declared(found.start("tag"), found.end())
            if written == b"\0":
                break
            position = found.end()
        raise MalformedError(f"damaged debug data: no abbreviation {code} in the table at offset {table:#x}")

    def _declared(self, position: int, end: int) -> Abbreviation:
        section = self._section
        tag, position = section.uleb(position)
        position += 1  # whether it has children
        attributes = []
        while position < end:
            attribute, position = section.uleb(position)
            form, position = section.uleb(position)
            if not attribute and not form:
                break
            constant = 0
            if form == FORM_IMPLICIT_CONST:
                constant, position = section.uleb(position)
            attributes.append((attribute, form, constant))
        if position != end:
            raise section.damage(position)
        return Abbreviation(tag, tuple(attributes))


def _encoded(number: int) -> bytes:
    """A number as LEB128, in its shortest form."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))
