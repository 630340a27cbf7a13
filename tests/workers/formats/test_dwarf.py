"""Compile units of real compilers for every DWARF version and target, compared with pyelftools; and hostile data."""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.verify.compilers import TARGETS, compiled, flags, target, tool
from tests.workers.verify.elf_files import elf_file
from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats.dwarf import UnitTable, ranges, read_units
from workers.formats.dwarf import units as reader
from workers.formats.dwarf.ranges import merged_ranges
from workers.formats.elf import Elf
from workers.formats.elf_records import STT_FUNC
from workers.formats.facts import Unit

pytestmark = pytest.mark.slow

SOURCES = {
    "main.c": "int half(int); int main(int count, char **words) { (void)words; return half(count); }\n",
    "half.c": "int half(int value) { return value / 2; }\n__attribute__((cold)) int cold(int v) { return v * 3; }\n",
}
COMDATS = """template <class T> struct Box {
  T held; T twice() { return held + held; } explicit Box(T v) : held(v) {}  virtual ~Box() {}
};
int %(name)s(int v) { Box<int> a{v}; Box<long> b{v}; Box<char> c{'c'}; return a.twice() + b.twice() + c.twice(); }
"""


def second_opinion(data: bytes) -> list[tuple[object, ...]]:
    """Return name, producer, folder and ranges of each compile unit, as pyelftools reads them."""
    from elftools.dwarf.ranges import BaseAddressEntry
    from elftools.elf.elffile import ELFFile

    dwarf = ELFFile(io.BytesIO(data)).get_dwarf_info(follow_links=False)
    units = []
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE()
        if top.tag != "DW_TAG_compile_unit":
            continue
        values = {name: attribute.value for name, attribute in top.attributes.items()}
        texts = [values.get(f"DW_AT_{name}", b"").decode() for name in ("name", "producer", "comp_dir")]
        low, found = values.get("DW_AT_low_pc", 0), []
        if "DW_AT_ranges" in values:
            base = low
            for entry in dwarf.range_lists().get_range_list_at_offset(values["DW_AT_ranges"], unit):
                if isinstance(entry, BaseAddressEntry):
                    base = entry.base_address
                else:
                    start = 0 if getattr(entry, "is_absolute", False) else base
                    found.append((start + entry.begin_offset, start + entry.end_offset))
        elif "DW_AT_high_pc" in values:
            is_address = top.attributes["DW_AT_high_pc"].form == "DW_FORM_addr"
            found.append((low, values["DW_AT_high_pc"] if is_address else low + values["DW_AT_high_pc"]))
        units.append((*texts, merged_ranges(tuple(found), 8)))
    return units


def as_tuples(units: tuple[Unit, ...]) -> list[tuple[object, ...]]:
    return [(unit.name, unit.producer, unit.folder, unit.ranges) for unit in units]


def assert_functions_are_in_their_units(elf: Elf, units: tuple[Unit, ...], *names: str) -> None:
    table = UnitTable(units)
    found = {s.name: s for s in elf.symbols if s.type == STT_FUNC and s.size and s.name in names}
    assert set(found) == set(names)
    for symbol in found.values():
        assert table.at(symbol.address) is not None, symbol
        assert table.at(symbol.address) is table.at(symbol.address + symbol.size - 1)


@pytest.mark.parametrize("shape", ["-O2", "-O2 -ffunction-sections"])
@pytest.mark.parametrize("width", ["-gdwarf32", "-gdwarf64"])
@pytest.mark.parametrize("edition", ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"])
def test_gcc_s_units_of_every_edition_are_read_as_pyelftools_reads_them(tmp_path, edition, width, shape):
    if (edition, width) == ("-gdwarf-2", "-gdwarf64"):
        pytest.skip("DWARF 2 has no 64-bit form")
    program = compiled("x86_64", tmp_path, SOURCES, ["-g", edition, width, *shape.split()])
    units = read_units(Elf(program.read_bytes()))
    assert [unit.name for unit in units] == ["main.c", "half.c"]
    assert as_tuples(units) == second_opinion(program.read_bytes())
    assert_functions_are_in_their_units(Elf(program.read_bytes()), units, "main", "half", "cold")


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
@pytest.mark.parametrize("shape", ["-O2", "-O2 -ffunction-sections"])
@pytest.mark.parametrize("edition", ["-gdwarf-3", "-gdwarf-4", "-gdwarf-5", "-gdwarf-5 -gdwarf64"])
def test_clang_s_units_are_read_as_pyelftools_reads_them(tmp_path, edition, shape):
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    run(["clang", "-g", *edition.split(), *shape.split(), "-o", "program", *SOURCES], cwd=tmp_path)
    data = (tmp_path / "program").read_bytes()
    units = read_units(Elf(data))
    assert as_tuples(units) == second_opinion(data)
    assert_functions_are_in_their_units(Elf(data), units, "main", "half", "cold")
    run(["clang", "-g", *edition.split(), *shape.split(), "-c", "-o", "half.o", "half.c"], cwd=tmp_path)
    half = Elf((tmp_path / "half.o").read_bytes())
    assert [(unit.name, unit.folder) for unit in read_units(half)] == [("half.c", str(tmp_path))]
    assert_functions_are_in_their_units(half, read_units(half), "half", "cold")


@pytest.mark.parametrize("edition", ["-gdwarf-4", "-gdwarf-5"])
@pytest.mark.parametrize("name", TARGETS)
def test_units_of_every_target_are_read_from_programs_and_objects(tmp_path, name, edition):
    program = compiled(name, tmp_path, SOURCES, [*flags(name), edition])
    elf = Elf(program.read_bytes())
    assert as_tuples(read_units(elf)) == second_opinion(program.read_bytes())
    assert_functions_are_in_their_units(elf, read_units(elf), "main", "half", "cold")
    item = Elf((tmp_path / "half.c.o").read_bytes())
    (unit,) = read_units(item)
    assert (unit.name, unit.folder) == ("half.c", str(tmp_path))
    assert all(flag in unit.producer for flag in target(name).flags.compiler)
    assert_functions_are_in_their_units(item, (unit,), "half", "cold")


@pytest.mark.parametrize("how", ["zlib", "zlib-gnu", "zstd"])
def test_compressed_sections_are_read(tmp_path, how):
    program = compiled("x86_64", tmp_path, SOURCES, ["-g", "-O2"])
    plain = as_tuples(read_units(Elf(program.read_bytes())))
    objcopy = tool("x86_64", "objcopy")
    if how not in run([objcopy, "--help"]).output:
        pytest.skip(f"{objcopy} does not compress with {how}")
    for file in (program, tmp_path / "half.c.o"):
        run([objcopy, f"--compress-debug-sections={how}", file])
    assert as_tuples(read_units(Elf(program.read_bytes()))) == plain
    assert [unit.name for unit in read_units(Elf((tmp_path / "half.c.o").read_bytes()))] == ["half.c"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("types", ["", "-fdebug-types-section"])
@pytest.mark.parametrize("edition", ["-gdwarf-4", "-gdwarf-5"])
def test_cpp_with_comdats_has_only_compile_units_and_no_dropped_functions(tmp_path, edition, types):
    names = [f"use{number}" for number in range(20)]
    for name in names:
        (tmp_path / f"{name}.cpp").write_text(COMDATS % {"name": name})
    (tmp_path / "main.cpp").write_text("int use0(int);\nint main(int c, char **) { return use0(c); }\n")
    run(
        ["g++", "-g", edition, *types.split(), "-o", "program", *sorted(p.name for p in tmp_path.glob("*.cpp"))],
        cwd=tmp_path,
    )
    data = (tmp_path / "program").read_bytes()
    units = read_units(Elf(data))
    assert sorted(unit.name for unit in units) == sorted([*(f"{name}.cpp" for name in names), "main.cpp"])
    assert {unit.language for unit in units} == {""}
    assert all(start > 0x1000 for unit in units for start, _ in unit.ranges)
    assert_functions_are_in_their_units(Elf(data), units, "main", "_ZN3BoxIiE5twiceEv")
    run(["g++", "-g", edition, *types.split(), "-c", "-o", "one.o", "use1.cpp"], cwd=tmp_path)
    item = Elf((tmp_path / "one.o").read_bytes())
    assert [unit.name for unit in read_units(item)] == ["use1.cpp"]
    assert_functions_are_in_their_units(item, read_units(item), "_Z4use1i", "_ZN3BoxIiE5twiceEv", "_ZN3BoxIlE5twiceEv")


@pytest.mark.parametrize("edition", ["-gdwarf-4", "-gdwarf-5"])
def test_split_debug_data_is_named(tmp_path, edition):
    program = compiled("x86_64", tmp_path, SOURCES, ["-g", edition, "-gsplit-dwarf", "-O2"])
    units = read_units(Elf(program.read_bytes()))
    assert [(unit.name, unit.producer) for unit in units] == [("main.c.dwo", ""), ("half.c.dwo", "")]
    assert_functions_are_in_their_units(Elf(program.read_bytes()), units, "main", "half")


def test_ranges_of_a_relocatable_file_s_debug_file_are_those_of_the_stripped_file(tmp_path):
    compiled("x86_64", tmp_path, SOURCES, ["-g", "-O2", "-ffunction-sections"])
    whole = tmp_path / "half.c.o"
    run(["objcopy", "--only-keep-debug", whole, tmp_path / "debug"])
    run(["strip", "-g", "-o", tmp_path / "stripped", whole])
    stripped, debug = (Elf((tmp_path / name).read_bytes()) for name in ("stripped", "debug"))
    units = read_units(debug, stripped=stripped)
    assert [unit.name for unit in units] == ["half.c"]
    assert_functions_are_in_their_units(stripped, units, "half", "cold")


def test_relocations_in_any_order_are_applied(tmp_path):
    compiled("x86_64", tmp_path, SOURCES, ["-g", "-O2"])
    data = bytearray((tmp_path / "half.c.o").read_bytes())
    table = Elf(data).section(".rela.debug_info")
    assert table is not None
    rows = [bytes(data[table.offset + at : table.offset + at + 24]) for at in range(0, table.size, 24)]
    data[table.offset : table.offset + table.size] = b"".join(reversed(rows))
    assert read_units(Elf(data)) == read_units(Elf((tmp_path / "half.c.o").read_bytes()))


def test_a_file_without_debug_data_has_no_units(tmp_path):
    assert read_units(Elf(compiled("x86_64", tmp_path, SOURCES, ["-O2"]).read_bytes())) == ()


def test_the_unit_of_an_address_is_found():
    one = Unit("one", "", ranges=((10, 20), (40, 50)))
    two = Unit("two", "", ranges=((20, 30),))
    around = Unit("around", "", ranges=((100, 200),))
    within = Unit("within", "", ranges=((120, 130), (140, 150)))
    table = UnitTable([within, one, two, around])
    expected = {9: None, 10: one, 19: one, 20: two, 29: two, 30: None, 45: one, 50: None, 100: around, 125: within,
                135: around, 145: within, 199: around, 200: None}  # fmt: skip
    assert {address: table.at(address) for address in expected} == expected
    assert UnitTable([]).at(0) is None


# ------------------------------------------------------------------------------------------------------------- hostile

# code 1, DW_TAG_compile_unit, without children, of: producer as a text in place, name as DW_FORM_strp
ABBREVIATIONS = bytes([1, 0x11, 0, 0x25, 0x08, 0x03, 0x0E, 0, 0, 0])
RANGES = bytes([1, 0x11, 0, 0x55, 0x17, 0, 0])  # the same with only a list of ranges


def unit(body: bytes, length: int | None = None, table: int = 0, version: int = 4, address_size: int = 8) -> bytes:
    content = struct.pack("<HIB", version, table, address_size) + body
    return struct.pack("<I", len(content) if length is None else length) + content


def debug_elf(info: bytes, abbreviations: bytes = ABBREVIATIONS, strings: bytes = b"a.c\0", **more: bytes) -> Elf:
    extra = [(f".{name}", 0, 0, content) for name, content in more.items()]
    return elf_file(
        (".debug_info", 0, 0, info), (".debug_abbrev", 0, 0, abbreviations), (".debug_str", 0, 0, strings), *extra
    )


GOOD = unit(b"\x01GNU C17\0" + bytes(4))


def test_the_valid_base_of_the_hostile_cases_is_read():
    assert read_units(debug_elf(GOOD * 3)) == (Unit("a.c", "GNU C17"),) * 3


@pytest.mark.parametrize(
    ("elf", "message"),
    [
        (debug_elf(unit(b"", length=0)), "a unit of 0 bytes"),
        (debug_elf(unit(b"", length=1 << 20)), "a unit of 1048576 bytes"),
        (debug_elf(b"\xff\xff\xff\xff" + b"\xff" * 8), "a unit of 18446744073709551615 bytes"),
        (debug_elf(b"\xf0\xff\xff\xff" + bytes(20)), "cannot be read at offset 0x0"),
        (debug_elf(b"\x01"), "cannot be read at offset 0x0"),
        (debug_elf(unit(b"\x01x\0\0\0\0\0", version=6)), "unknown edition, DWARF 6"),
        (debug_elf(unit(b"\x01x\0\0\0\0\0", address_size=3)), "cannot be read"),
        (debug_elf(unit(b"\x02")), "no abbreviation 2 in the table at offset 0x0"),
        (debug_elf(unit(b"\x01", table=1 << 30)), "no abbreviation 1"),
        (debug_elf(unit(b"\xff" * 40)), "cannot be read"),
        (debug_elf(unit(b"\x01" + b"x" * 50)), "cannot be read"),  # a text without end
        (debug_elf(unit(b"\x01x\0" + b"\xff\xff\xff\x7f")), r"\.debug_str cannot be read at offset 0x7fffffff"),
        (debug_elf(unit(b"\x01x\0")), "cannot be read"),  # the name is beyond the unit
        (debug_elf(GOOD, ABBREVIATIONS[:-3]), "no abbreviation 1"),
        (debug_elf(GOOD, bytes([1, 0x11, 0, 0x25, 0x7F, 0, 0])), "unknown form 0x7f"),
        (debug_elf(GOOD, bytes([1, 0x11, 0, 0x25, 0x06, 0, 0])), "a text of form 0x6"),
        (debug_elf(unit(b"\x01" + b"\x16" * 100), bytes([1, 0x11, 0, 0x25, 0x16, 0, 0])), "cannot be read"),  # indirect
        (debug_elf(unit(b"\x01\x21\x00"), bytes([1, 0x11, 0, 0x25, 0x16, 0, 0])), "cannot be read"),
        (debug_elf(unit(b"\x01\xff\xff\xff\xff"), bytes([1, 0x11, 0, 0x25, 0x04, 0, 0])), "cannot be read"),  # a block
        (debug_elf(GOOD, bytes([1, 0x11, 0, *b"\xff" * 20, 0x08, 0, 0])), "cannot be read|no abbreviation"),
        (debug_elf(unit(b"\x01" + bytes(4)), RANGES), r"\.debug_ranges, which is not there"),
        (debug_elf(unit(b"\x01\0"), bytes([1, 0x11, 0, 0x25, 0x1A, 0, 0])), r"\.debug_str_offsets, which is not there"),
        (debug_elf(unit(b"\x01\0"), bytes([1, 0x11, 0, 0x11, 0x1B, 0, 0])), r"\.debug_addr, which is not there"),
        (debug_elf(unit(b"\x01" + bytes(4)), bytes([1, 0x11, 0, 0x25, 0xA1, 0x3E, 0, 0])), "supplementary file"),
    ],
)
def test_damage_is_reported_in_one_line(elf, message):
    with pytest.raises(MalformedError, match=message) as caught:
        read_units(elf)
    assert "\n" not in str(caught.value)


def test_debug_data_without_abbreviations_is_refused():
    with pytest.raises(MalformedError, match=r"without \.debug_abbrev"):
        read_units(elf_file((".debug_info", 0, 0, GOOD)))


def peak(elf: Elf) -> int:
    """Return the most bytes in use while the units are read or refused."""
    tracemalloc.start()
    try:
        with contextlib.suppress(MalformedError):
            read_units(elf)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_tables_that_overlap_are_not_searched_over_and_over():
    """Each of 40,000 units searches the same table from another offset for a declaration at its end."""
    filler = bytes([2, 0x11, 0, 0, 0]) * 40_000
    units = b"".join(unit(b"\x01x\0" + bytes(4), table=5 * number) for number in range(40_000))
    with pytest.raises(MalformedError, match="no abbreviation 1"):
        read_units(debug_elf(units, filler + ABBREVIATIONS))


def test_texts_that_overlap_do_not_fill_the_memory():
    """Each unit names the same half a megabyte from another offset: 10 GB if all were kept."""
    units = b"".join(unit(b"\x01x\0" + struct.pack("<I", number)) for number in range(20_000))
    elf = debug_elf(units, strings=b"n" * 500_000 + b"\0")
    with pytest.raises(MalformedError, match="bytes of names"):
        read_units(elf)
    assert peak(elf) < 300 << 20


def test_a_range_list_that_all_units_share_is_not_read_over_and_over(monkeypatch):
    monkeypatch.setattr(ranges, "_MAX_RANGES", 100_000)
    pairs = b"".join(struct.pack("<QQ", 16 * number, 16 * number + 8) for number in range(1, 20_000)) + bytes(16)
    units = unit(b"\x01" + bytes(4)) * 1000
    elf = debug_elf(units, RANGES, debug_ranges=pairs)
    with pytest.raises(MalformedError, match="address ranges"):
        read_units(elf)


def test_a_range_list_without_end_is_refused():
    info = unit(b"\x01" + bytes(4))
    with pytest.raises(MalformedError, match=r"\.debug_ranges cannot be read"):
        read_units(debug_elf(info, RANGES, debug_ranges=b"\x01" * 64))


def test_more_units_than_any_file_has_are_refused(monkeypatch):
    monkeypatch.setattr(reader, "_MAX_UNITS", 1000)
    with pytest.raises(MalformedError, match="more than 1000 units"):
        read_units(debug_elf(unit(b"") * 1001))
    assert read_units(debug_elf(unit(b"") * 1000)) == ()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Return programs and objects whose debug data the next test damages: both widths, DWARF 4 and 5, clang's forms."""
    folder: Path = tmp_path_factory.mktemp("samples")
    found = []
    for edition in ("-gdwarf-4", "-gdwarf-5", "-gdwarf-5 -gdwarf64"):
        program = compiled("x86_64", folder, SOURCES, ["-g", "-O2", "-ffunction-sections", *edition.split()])
        found += [program.read_bytes(), (folder / "half.c.o").read_bytes()]
        if shutil.which("clang"):
            run(
                ["clang", "-g", "-O2", "-ffunction-sections", *edition.split(), "-c", "-o", "c.o", "half.c"], cwd=folder
            )
            found.append((folder / "c.o").read_bytes())
    return found


@given(data=st.data())
def test_debug_data_with_any_bytes_changed_is_read_or_refused(samples, data):
    changed = bytearray(samples[data.draw(st.integers(0, len(samples) - 1))])
    names = (".debug_info", ".debug_abbrev", ".debug_addr", ".debug_rnglists", ".debug_ranges", ".debug_str_offsets",
             ".rela.debug_info", ".debug_line_str", ".debug_str")  # fmt: skip
    sections = [s for s in Elf(changed).sections if s.name in names and s.size]
    for _ in range(data.draw(st.integers(1, 6))):
        section = data.draw(st.sampled_from(sections[:4] * 3 + sections))
        # The reader reads the beginning of these sections.
        position = section.offset + data.draw(st.integers(0, min(section.size, 256) - 1))
        changed[position] = data.draw(st.integers(0, 255) | st.sampled_from([0, 0x7F, 0x80, 0xFF]))
    with contextlib.suppress(MalformedError):
        assert len(read_units(Elf(changed))) <= len(changed)
