"""Abbreviation tables: the attributes of a debugging entry, and their forms (DWARF 5, 7.5.3).

A table has hundreds of declarations; only those of the units' own entries are needed. A regular expression skips the
others, and nothing of them is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workers.base.errors import MalformedError
from workers.formats.dwarf.sections import DebugSection

FORM_IMPLICIT_CONST = 0x21

# No repeat is possessive and no group atomic: Python up to 3.11.4 (Debian 12) loses matches of those
# (https://github.com/python/cpython/issues/106052). Alternatives exclude each other, and nothing that may fail follows
# a repeat of pairs: the expression never backtracks over pairs, and takes linear time.
_LEB = rb"[\x80-\xff]*[\x00-\x7f]"
# An attribute and its form, but not the two zeros at the end; an implicit constant has a value after its form.
_PAIR = (
    rb"(?:[\x01-\x7f]|(?!\x80*\x00\x80*\x00)%(leb)s)"
    rb"(?:[^\x21\x80-\xff]|\x21%(leb)s|\xa1\x80*\x00%(leb)s|(?!\xa1\x80*\x00)[\x80-\xff]+[\x00-\x7f])"
) % {b"leb": _LEB}
# A repeat records each round, so it has a limit; the next match continues.
_PAIRS = rb"(?:%s){0,1000}(?P<end>\x80*\x00\x80*\x00)?" % _PAIR
_DECLARATION = re.compile(rb"%(leb)s(?P<tag>%(leb)s)[\x00\x01]%(pairs)s" % {b"leb": _LEB, b"pairs": _PAIRS})
_FURTHER_PAIRS = re.compile(_PAIRS)
_MAX_TABLE = 1 << 22  # bytes of one table that are searched; tables of compilers have some ten thousand
_MAX_SEARCHED = 1 << 28  # bytes of all of them together


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """One declaration of a table."""

    tag: int
    attributes: tuple[tuple[int, int, int], ...]
    """(attribute, form, value of an implicit constant)."""


class Abbreviations:
    """A reader of the declarations in ``.debug_abbrev``."""

    def __init__(self, section: DebugSection) -> None:
        self._section = section
        self._known: dict[tuple[int, int], Abbreviation] = {}
        # Tables do not overlap, and a table that units share is searched once for each kind of unit. A small multiple
        # of the section is enough for every valid file, and limits the cost of a hostile one.
        self._budget = min(4 * len(section), _MAX_SEARCHED)

    def find(self, table: int, code: int) -> Abbreviation:
        """Return the declaration of ``code`` in the table at offset ``table``.

        :raises MalformedError: the table has no such declaration, is damaged, or does not end.
        """
        key = (table, code)
        if key not in self._known:
            self._known[key] = self._search(table, code)
        return self._known[key]

    def _search(self, table: int, code: int) -> Abbreviation:
        data = self._section.data
        end = min(len(data), table + min(self._budget, _MAX_TABLE))
        position = table
        match = _DECLARATION.match
        while position < end and (found := match(data, position, end)) is not None:
            behind = found.end()
            if found["end"] is None and (behind := _end_of_pairs(data, behind, end)) < 0:
                break
            number = self._section.uleb(position)[0]
            if number == code:
                self._budget -= behind - table
                return self._read_declaration(found.start("tag"), behind)
            if not number:
                break
            position = behind
        raise MalformedError(f"damaged debug data: no abbreviation {code} in the table at offset {table:#x}")

    def _read_declaration(self, position: int, end: int) -> Abbreviation:
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


def _end_of_pairs(data: memoryview, position: int, end: int) -> int:
    """Return the end of a declaration with more pairs than one match takes; -1 if it does not end."""
    while (found := _FURTHER_PAIRS.match(data, position, end)) is not None and found.end() > position:
        position = found.end()
        if found["end"] is not None:
            return position
    return -1
