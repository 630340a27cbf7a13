"""Regular expressions that skip data give the same results as plain readers, in every Python version."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.base.errors import MalformedError
from workers.formats.dwarf.abbreviations import FORM_IMPLICIT_CONST, Abbreviation, Abbreviations
from workers.formats.dwarf.sections import DebugSection
from workers.formats.unwinding import only_undoes

# ------------------------------------------------------------------------------------------------ abbreviation tables


class Cut(Exception):
    """The table ends too early, or is not a table."""


@dataclass
class Reader:
    """A reader of DWARF 5, 7.5.3 and 7.6, byte by byte."""

    data: bytes
    position: int = 0
    longest: int = 0
    """Bytes of the longest number so far; a valid number has at most ten (64 bits)."""

    def byte(self) -> int:
        if self.position >= len(self.data):
            raise Cut
        self.position += 1
        return self.data[self.position - 1]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                self.longest = max(self.longest, shift // 7)
                return value

    def declaration(self) -> tuple[int, Abbreviation]:
        code, tag = self.number(), self.number()
        if self.byte() > 1:
            raise Cut
        attributes = []
        while (pair := (self.number(), self.number())) != (0, 0):
            attributes.append((*pair, self.number() if pair[1] == FORM_IMPLICIT_CONST else 0))
        return code, Abbreviation(tag, tuple(attributes))


def find_plainly(data: bytes, wanted: int) -> Abbreviation | None:
    reader = Reader(data)
    while True:
        start = reader.position
        try:
            code, found = reader.declaration()
        except Cut:
            return None
        head = Reader(data, start)
        head.number()
        if not code or head.longest > 10:
            return None
        if code == wanted:
            whole = Reader(data, start)
            whole.declaration()
            return found if whole.longest <= 10 else None


def find_quickly(data: bytes, wanted: int) -> Abbreviation | None:
    try:
        return Abbreviations(DebugSection(".debug_abbrev", memoryview(data), little_endian=True)).find(0, wanted)
    except MalformedError:
        return None


def leb(number: int, padding: int = 0) -> bytes:
    """Return a number as LEB128, with ``padding`` more bytes than it needs."""
    low = bytearray()
    while number >= 0x80:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*low, number | 0x80, *[0x80] * (padding - 1), 0]) if padding else bytes([*low, number])


def lebs(most: int) -> st.SearchStrategy[bytes]:
    return st.builds(leb, st.integers(0, most), st.sampled_from([0, 0, 0, 0, 1, 3]))


FORMS = st.one_of(lebs(0x2C), st.sampled_from([b"\x21", b"\xa1\x00", b"\xa1\x80\x00", b"\x81\x3e", b"\xa0\x3e"]))
CONSTANT = lebs(1 << 40)


@st.composite
def pairs(draw: st.DrawFn) -> bytes:
    attribute, form = draw(lebs(0x2200)), draw(FORMS)
    return attribute + form + (draw(CONSTANT) if Reader(form).number() == FORM_IMPLICIT_CONST else b"")


DECLARATIONS = st.builds(
    lambda code, tag, children, attributes: code + tag + children + b"".join(attributes) + b"\0\0",
    lebs(300),
    lebs(0x4200),
    st.sampled_from([b"\0", b"\1"]),
    st.lists(pairs(), max_size=12),
)
TABLES = st.builds(lambda rows, end: b"".join(rows) + end, st.lists(DECLARATIONS, max_size=12), st.binary(max_size=3))


@given(TABLES, st.integers(0, 300), st.data())
def test_abbreviations_are_the_same_as_a_plain_readers(table, other, data):
    codes = []
    reader = Reader(table)
    try:
        while True:
            codes.append(reader.declaration()[0])
    except Cut:
        pass
    for code in {*codes, other} - {0}:
        assert find_quickly(table, code) == find_plainly(table, code)
    damaged = bytearray(table)
    for place in data.draw(st.lists(st.integers(0, max(len(table) - 1, 0)), max_size=3)) if table else ():
        damaged[place] = data.draw(st.integers(0, 255))
    for code in {*codes[:4], other} - {0}:
        assert find_quickly(bytes(damaged), code) == find_plainly(bytes(damaged), code)


@given(st.lists(st.sampled_from(b"\x00\x01\x02\x11\x21\x25\x80\xa1\xff"), max_size=40).map(bytes), st.integers(1, 3))
def test_any_bytes_as_a_table_give_the_same_as_a_plain_reader(table, code):
    assert find_quickly(table, code) == find_plainly(table, code)


def test_a_declaration_of_one_byte_numbers_is_found():
    """Python 3.11.2 did not match this with possessive repeats."""
    assert find_quickly(bytes.fromhex("011101250e130b0000"), 1) == Abbreviation(
        0x11, ((0x25, 0x0E, 0), (0x13, 0x0B, 0))
    )


@pytest.mark.parametrize("count", [999, 1000, 1001, 3000])
def test_declarations_of_any_number_of_attributes_are_read(count):
    table = b"\x02\x34\x00" + b"\x03\x08" * count + b"\0\0" + b"\x01\x11\x01\x25\x08\0\0\0"
    assert find_quickly(table, 1) == Abbreviation(0x11, ((0x25, 0x08, 0),))
    assert find_quickly(table, 2) == Abbreviation(0x34, ((3, 8, 0),) * count)
    assert find_quickly(table[: 3 + 2 * count], 2) is None


# --------------------------------------------------------------------------------------------------------- epilogues

OPERANDS = {0x00: 0, 0x02: 1, 0x03: 2, 0x04: 4, 0x0A: 0, 0x0B: 0}


def undoes(program: bytes) -> bool:
    """Return the same byte by byte: only advance_loc, restore, nop, remember_state, restore_state, def_cfa_offset."""
    position = 0
    while position < len(program):
        code = program[position]
        position += 1
        if 0x40 <= code < 0x80 or code >= 0xC0:
            continue
        if code == 0x0E:
            length = next((n for n, byte in enumerate(program[position : position + 9], 1) if byte < 0x80), None)
            if length is None:
                return False
            position += length
        elif code in OPERANDS:
            position += OPERANDS[code]
        else:
            return False
    return position == len(program)


INSTRUCTIONS = st.one_of(
    st.sampled_from([b"\x00", b"\x0a", b"\x0b", b"\x41", b"\x7f", b"\xc6", b"\xff"]),
    st.integers(0, 1 << 62).map(lambda number: b"\x0e" + leb(number)),
    st.binary(min_size=1, max_size=1).map(lambda operand: b"\x02" + operand),
    st.binary(min_size=2, max_size=2).map(lambda operand: b"\x03" + operand),
    st.binary(min_size=4, max_size=4).map(lambda operand: b"\x04" + operand),
)


@given(st.lists(INSTRUCTIONS, max_size=20).map(b"".join), st.binary(max_size=6))
def test_epilogues_are_the_same_as_a_plain_readers(program, more):
    assert undoes(program)
    assert only_undoes(program)
    assert only_undoes(b"\x90" + program, 1)
    assert only_undoes(program + more) == undoes(program + more)
    for end in range(len(program)):
        assert only_undoes(program[:end]) == undoes(program[:end])


@given(st.lists(st.sampled_from(b"\x00\x02\x03\x04\x0a\x0b\x0e\x41\x80\xc3\xff\x01"), max_size=14).map(bytes))
def test_any_bytes_as_a_program_give_the_same_as_a_plain_reader(program):
    assert only_undoes(program) == undoes(program)


@pytest.mark.parametrize("count", [999, 1000, 1001, 5000])
def test_an_epilogue_of_any_length_is_skipped(count):
    assert only_undoes(b"\x0e\x10" * count)
    assert not only_undoes(b"\x0e\x10" * count + b"\x01")


# ---------------------------------------------------------------------------------------------------------- texts


@given(st.lists(st.sampled_from(b"\0ab\xff"), max_size=30).map(bytes), st.integers(0, 30))
def test_texts_end_at_the_first_nul(data, position):
    section = DebugSection(".debug_str", memoryview(data), little_endian=True)
    end = data.find(b"\0", position)
    if end < 0 or position >= len(data):
        with pytest.raises(MalformedError):
            section.text(position)
    else:
        assert section.text(position) == (data[position:end], end + 1)
