"""Call frame information: compared with a second reader on real files, and read from damaged ones."""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from elftools.dwarf.callframe import FDE, CFARule
from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.verify.compilers import TARGETS, compiled, flags, tool
from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats import unwinding
from workers.formats.cfi import read_frames
from workers.formats.elf import Elf
from workers.formats.unwinding import registers_of

pytestmark = pytest.mark.slow

REAL = [
    "/bin/ls",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/aarch64-linux-gnu/lib/libc.so.6",
    "/usr/powerpc64le-linux-gnu/lib/libc.so.6",
    "/usr/s390x-linux-gnu/lib/libc.so.6",
]
# The CFA at a function's entry, by the four ABIs.
ENTRIES = {"x64": (7, 8), "AArch64": (31, 0), "64-bit PowerPC": (1, 0), "IBM S/390": (15, 160)}
FUNCTIONS = """
int callee(int, char *);
int first(int x) { return x * 3; }
int second(int x) { char text[400]; return callee(x, text) + 1; }
__attribute__((section(".init.text"))) int third(int x) { return callee(x, 0) + callee(1, 0); }
"""


def real(path: str) -> Elf:
    if not Path(path).exists():
        pytest.skip(f"{path} is not installed")
    return Elf(Path(path).read_bytes())


# ------------------------------------------------------------------------------------------------- a second opinion


def bases(rule: object, parser: DWARFExprParser) -> set[int]:
    if rule.expr is None:
        return {rule.reg}
    operations = parser.parse_expr(rule.expr)
    return {int(o.op_name.removeprefix("DW_OP_breg")) for o in operations if o.op_name.startswith("DW_OP_breg")}


def numbers(mask: int) -> set[int]:
    return {number for number in range(128) if mask >> number & 1}


@pytest.mark.parametrize("path", REAL)
def test_frames_are_those_that_pyelftools_reads(path):
    frames = read_frames(real(path))
    with Path(path).open("rb") as file:
        dwarf = ELFFile(file).get_dwarf_info()
        entries = [entry for entry in dwarf.EH_CFI_entries() if isinstance(entry, FDE)]
        parser = DWARFExprParser(dwarf.structs)
        assert len(frames) == len(entries) > 100
        entry_rule = CFARule(*ENTRIES[dwarf.config.machine_arch])
        for frame, entry in zip(frames, entries, strict=True):
            assert frame.start == entry["initial_location"]
            assert frame.size == entry["address_range"]
            if any(instruction.opcode == 0x2E for instruction in entry.instructions):
                continue  # GNU_args_size, which pyelftools parses and then cannot decode
            start = entry_rule
            rules = [row["cfa"] for row in entry.get_decoded().table] or [start]
            changed = [r for r in rules if (r.reg, r.offset, r.expr) != (start.reg, start.offset, start.expr)]
            saves = [
                i.args[0]
                for i in [*entry.cie.instructions, *entry.instructions]
                if i.opcode >> 6 == 2 or i.opcode in (0x05, 0x10, 0x11)
            ]
            assert frame.unwinding.moves == bool(changed)
            assert frame.unwinding.lowers == any(r.offset != start.offset or r.expr for r in changed)
            assert frame.unwinding.continues == ((rules[0].reg, rules[0].offset) != (start.reg, start.offset))
            assert frame.unwinding.is_signal_frame == (
                b"S" in entry.cie.augmentation_dict.get("", b"") + entry.cie["augmentation"]
            )
            assert numbers(frame.unwinding.bases) | {start.reg} == {start.reg}.union(*(bases(r, parser) for r in rules))
            assert numbers(frame.unwinding.saved) == {number & 0x3F if number > 127 else number for number in saves}


@pytest.mark.parametrize("path", [*REAL, "/usr/lib/gcc/x86_64-linux-gnu/12/cc1"])
def test_skipping_epilogues_changes_no_result(path, monkeypatch):
    elf = real(path)
    quick = read_frames(elf)
    monkeypatch.setattr(unwinding, "run", unwinding.run_exactly)
    assert read_frames(elf) == quick


@pytest.mark.parametrize("name", TARGETS)
def test_an_object_file_is_read_through_its_relocations(name, tmp_path):
    compiled(name, tmp_path, {"a.c": FUNCTIONS}, link=["-r"], output="a.o")
    elf = Elf((tmp_path / "a.o").read_bytes())
    named = {s.address: (s.name, s.size) for s in elf.symbols if s.type == 2}
    assert sorted(named.values()) == sorted((named[f.start][0], f.size) for f in read_frames(elf))
    assert {named[f.start][0]: f.unwinding.moves for f in read_frames(elf)}["second"]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("link", [["-r"], ["-shared", "-nostdlib"]])
def test_debug_frame_is_read_if_there_is_no_eh_frame(name, link, tmp_path):
    options = [*flags(name), "-fPIC", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
    path = compiled(name, tmp_path, {"a.c": FUNCTIONS}, options, link=[*link, "-Wl,--unresolved-symbols=ignore-all"])
    elf = Elf(path.read_bytes())
    assert elf.section(".debug_frame")
    named = {s.address: s.name for s in elf.symbols if s.type == 2}
    found = {named.get(frame.start): frame.unwinding.moves for frame in read_frames(elf)}
    assert {"first", "second", "third"} <= set(found)
    assert found["second"]
    run([tool(name, "strip"), "--strip-debug", path])
    assert {"second"} & {named.get(frame.start) for frame in read_frames(Elf(path.read_bytes()))} == set()


# ------------------------------------------------------------------------------------------------- tables made here

TEXT, TABLE, GOT = 0x1000, 0x3000, 0x2000


def elf_with(table: bytes, order: str = "<", name: bytes = b".eh_frame") -> Elf:
    """Return an ET_DYN file: 256 bytes of code at TEXT, a GOT whose first word is TEXT + 16, a table at TABLE."""
    names = b"\0.text\0.got\0.shstrtab\0" + name + b"\0"
    got = struct.pack(order + "Q", TEXT + 16)
    contents = [b"", bytes(256), got, table, names]
    offsets = list(itertools.accumulate((len(c) for c in contents), initial=64 + 56))
    headers = [
        (0, 0, 0, 0, 0, 0), (names.index(b".text"), 1, 6, TEXT, offsets[1], 256),
        (names.index(b".got"), 1, 3, GOT, offsets[2], 8), (names.index(name), 1, 2, TABLE, offsets[3], len(table)),
        (names.index(b".shstrtab"), 3, 0, 0, offsets[4], len(names)),
    ]  # fmt: skip
    ident = b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + b"\x01" + bytes(9)
    machine = 62 if order == "<" else 22
    head = ident + struct.pack(order + "HHIQQQIHHHHHH", 3, machine, 1, 0, 64, offsets[5], 0, 64, 56, 1, 64, 5, 4)
    head += struct.pack(order + "IIQQQQQQ", 1, 4, offsets[2], GOT, GOT, 8, 8, 8)
    rows = b"".join(struct.pack(order + "IIQQQQIIQQ", *row, 0, 0, 1, 0) for row in headers)
    return Elf(head + b"".join(contents) + rows)


def entry(identity: int, body: bytes, order: str = "<", wide: bool = False) -> bytes:
    body += bytes(-len(body) % 4)
    if wide:
        return struct.pack(order + "IQI", 0xFFFFFFFF, len(body) + 4, identity) + body
    return struct.pack(order + "II", len(body) + 4, identity) + body


def cie(
    encoding: int = 0x1B, order: str = "<", augmentation: bytes = b"zR", data: bytes | None = None, **options
) -> bytes:
    """A CIE whose CFA is r7 + 8."""
    data = bytes([encoding]) if data is None else data
    body = b"\x01" + augmentation + b"\0\x01\x78\x10" + bytes([len(data)]) + data + b"\x0c\x07\x08\x90\x01"
    return entry(0, body, order, **options)


MOVES = b"\x00\x41\x0e\x10\x86\x02"  # no augmentation data; advance, def_cfa_offset 16, offset r6


def starts(table: bytes, order: str = "<") -> Sequence[tuple[int, int]]:
    frames = read_frames(elf_with(table, order))
    assert all(frame.unwinding.moves and frame.unwinding.saves(6) for frame in frames)
    return [(frame.start, frame.size) for frame in frames]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("encoding", "form", "value"),
    [
        (0x00, "QQ", TEXT + 16), (0x02, "HH", TEXT + 16), (0x03, "II", TEXT + 16), (0x04, "QQ", TEXT + 16),
        (0x0B, "iI", TEXT + 16), (0x0C, "qQ", TEXT + 16),
        (0x1B, "iI", "pc"), (0x1C, "qQ", "pc"), (0x1A, "hH", "pc"), (0x10, "QQ", "pc"),
        (0x3B, "iI", TEXT + 16 - GOT), (0x2B, "iI", 16), (0x43, "II", TEXT + 16),
        (0x80, "QQ", GOT), (0x9B, "iI", "pc of GOT"), (0xBB, "iI", 0),
    ],
)  # fmt: skip
def test_addresses_in_every_encoding(order, encoding, form, value):
    first = cie(encoding, order)
    if isinstance(value, str):  # relative to the place of the pointer itself
        value = (GOT if "GOT" in value else TEXT + 16) - (TABLE + len(first) + 8)
        value &= (1 << 64) - 1 if form == "QQ" else -1
    body = struct.pack(order + form, value, 48) + MOVES
    assert starts(first + entry(len(first) + 4, body, order), order) == [(TEXT + 16, 48)]


def test_addresses_as_leb128_and_aligned():
    first = cie(0x01)
    assert starts(first + entry(len(first) + 4, b"\x90\x20\x30" + MOVES)) == [(TEXT + 16, 48)]
    first = cie(0x50)
    padding = bytes(-(TABLE + len(first) + 8) % 8)
    pair = padding + struct.pack("<QQ", TEXT + 16, 48)
    assert starts(first + entry(len(first) + 4, pair + MOVES)) == [(TEXT + 16, 48)]


def test_long_entries_terminators_and_a_cie_after_its_function():
    body = struct.pack("<II", TEXT, 16) + MOVES
    first = cie(0x03, wide=True)
    second = entry(len(first) + 12, body, wide=True)  # the identity is 12 bytes into a long entry
    table = first + second + bytes(4) + bytes(4)
    behind = entry(0, struct.pack("<II", TEXT + 32, 8) + MOVES)
    table += struct.pack("<Ii", len(behind) - 4, -(len(behind) - 4)) + behind[8:] + cie(0x03) + bytes(4)
    assert starts(table) == [(TEXT, 16), (TEXT + 32, 8)]


@pytest.mark.parametrize(
    ("augmentation", "data", "augmented", "is_signal_frame"),
    [
        (b"zR", b"\x03", b"\x00", False),
        (b"zRS", b"\x03", b"\x00", True),
        (b"zRB", b"\x03", b"\x00", False),
        (b"zPLR", b"\x9b\x01\x02\x03\x04\x1b\x03", b"\x04\x01\x02\x03\x04", False),
        (b"zPLR", b"\x00" + bytes(8) + b"\x1b\x03", b"\x04\x01\x02\x03\x04", False),
    ],
)
def test_augmentations(augmentation, data, augmented, is_signal_frame):
    first = cie(augmentation=augmentation, data=data)
    body = struct.pack("<II", TEXT, 16) + augmented + MOVES[1:]
    (frame,) = read_frames(elf_with(first + entry(len(first) + 4, body)))
    assert (frame.start, frame.size, frame.unwinding.is_signal_frame) == (TEXT, 16, is_signal_frame)


def test_a_realigned_stack_is_computed_from_the_frame_pointer():
    # GCC: lea 8(%rsp),%r10; and; push; push %rbp; mov; push %r10: def_cfa r10; expression r6; def_cfa_expression breg6.
    program = bytes.fromhex("45 0c 0a 00 49 10 06 02 76 00 46 0f 03 76 78 06".replace(" ", ""))
    unwound = unwinding.run(program, unwinding.common(b"\x0c\x07\x08", "EM_X86_64"))
    assert (unwound.moves, unwound.lowers, unwound.continues) == (True, True, False)
    assert numbers(unwound.bases) == {6, 7, 10}
    assert numbers(unwound.saved) == {6}
    assert registers_of(b"\x92\x1f\x00\x06\x0a\x76\x76\x22") == 1 << 31  # operands are no operations


def test_instructions_of_a_cie_apply_to_its_functions():
    """GNU as moves common first instructions into the CIE: the whole program of a partition."""
    partition = unwinding.run(b"\0\0", unwinding.common(b"\x0c\x06\x10\x86\x02", "EM_X86_64"))
    assert (partition.moves, partition.continues, partition.computes_cfa_from(6)) == (True, True, True)
    assert partition.saves(6)
    ordinary = unwinding.run(b"\x41\x0e\x10", unwinding.common(b"\x0c\x07\x08\x90\x01", "EM_X86_64"))
    assert (ordinary.moves, ordinary.continues, ordinary.computes_cfa_from(6)) == (True, False, False)
    other = unwinding.run(b"\0", unwinding.common(b"\x0c\x0e\x04", "EM_ARM"))
    assert not other.moves


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"\x40\0\0\0\0\0\0\0", "has an entry that ends outside the section"),
        (cie() + b"\x01\x02\x03", "ends within an entry"),
        (cie() + b"\xff\xff\xff\xff\x10\0\0\0", "ends within an entry"),
        (cie() + entry(0x1000, bytes(16)), "names a CIE outside the section"),
        (cie() + entry(20, bytes(16)), "names a CIE at a place without one"),
        (cie(0x03) + entry(len(cie()) + 4, b""), "an entry too short for its function"),
        (cie(0x03) + entry(len(cie()) + 4, bytes(8) + b"\x7f"), "augmentation data that ends outside"),
        (cie(0x03) + entry(len(cie()) + 4, bytes(8) + b"\0\x3f"), "unknown call frame instruction 0x3f"),
        (cie(0x03) + entry(len(cie()) + 4, bytes(8) + b"\0\0\0\x0e"), "an? call frame instruction is cut"),
        (cie(0x03) + entry(len(cie()) + 4, bytes(8) + b"\0\x0b\0\0"), "restores a state that none saved"),
        (cie(0x03) + entry(len(cie()) + 4, bytes(8) + b"\0\x0f\x7f\0"), "a call frame instruction is cut"),
        (cie(0x03) + entry(len(cie()) + 4, bytes(8) + b"\0\x0d" + b"\x80" * 18), "does not end"),
        (cie(0x03) + entry(len(cie()) + 4, bytes(8) + b"\0\x16\x01" + b"\xff" * 9 + b"\x01\0"), "is cut"),
        (cie(0x01) + entry(len(cie()) + 4, b"\x80" * 12), "does not end"),
        (cie(0x0F) + entry(len(cie()) + 4, bytes(16)), "a pointer of unknown encoding 0xf"),
        (cie(0x7B) + entry(len(cie()) + 4, bytes(16)), "a pointer of unknown encoding 0x7b"),
        (cie(0xFF) + entry(len(cie()) + 4, bytes(16)), "has functions without addresses"),
        (cie(0x83) + entry(len(cie()) + 4, bytes(16)), "a pointer through a place outside the file"),
        (cie(augmentation=b"zQ") + entry(len(cie()) + 4, bytes(16)), "unknown augmentation 'zQ'"),
        (cie(augmentation=b"eh") + entry(len(cie()) + 4, bytes(16)), "unknown augmentation 'eh'"),
        (cie(augmentation=b"zR", data=b"") + entry(len(cie()) + 4, bytes(16)), "has a CIE that is cut"),
        (entry(0, b"\x07zR\0" + bytes(12)) + entry(28, bytes(16)), "has a CIE of version 7"),
    ],
)
def test_damage_is_reported_in_one_line(table, message):
    with pytest.raises(MalformedError, match=message) as caught:
        read_frames(elf_with(table))
    assert "\n" not in str(caught.value)


def test_common_information_that_overlaps_is_refused_before_it_costs_quadratic_time():
    # Each of these is a CIE up to the end of all, and each function names another one.
    count, size = 4000, 24
    cies = b""
    for number in range(count):
        left = (count - number) * size - 18  # behind the length of the augmentation data
        length = bytes([left & 0x7F | 0x80, left >> 7 & 0x7F | 0x80, left >> 14])
        cies += (
            struct.pack("<II", (count - number) * size - 4, 0) + b"\x01zR\0\x01\x78\x10" + length + b"\x03" + bytes(5)
        )
    ends = count * size
    names = b"".join(entry(ends + n * 24 + 4 - n * size, struct.pack("<II", TEXT, 8) + bytes(8)) for n in range(count))
    with pytest.raises(MalformedError, match="CIEs that overlap"):
        read_frames(elf_with(cies + names))


# Inputs per run of the suite: 500.
LS = Path("/bin/ls")


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
def test_a_mutated_table_is_read_or_refused(changes, cut):
    data = bytearray(LS.read_bytes())
    table = Elf(data).section(".eh_frame")
    for place, value in changes:
        data[table.offset + place % table.size] = value
    if cut:
        data = data[: table.offset + changes[0][0] % table.size]
    with contextlib.suppress(MalformedError):
        assert len(read_frames(Elf(data))) <= table.size // 8
