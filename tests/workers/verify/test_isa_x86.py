"""x86 instructions above a level: hits, exceptions, and a search before the decoder that misses nothing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iced_x86 import CpuidFeature, Decoder, EncodingKind, OpCodeInfo, OpCodeTableKind

from tests.workers.verify.compilers import compiled
from workers.base.run import run
from workers.formats.elf import Elf
from workers.formats.elf_records import Code
from workers.formats.facts import Hit
from workers.verify.functions import FunctionTable
from workers.verify.isa import x86
from workers.verify.isa.levels import LEVELS, Level

V1, V2, V3, V4 = (LEVELS[name] for name in ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"))
VPADDD = b"\xc5\xed\xfe\xd9"  # vpaddd %ymm1,%ymm2,%ymm3
VPXORQ = b"\x62\xf1\xf5\x48\xef\xd2"  # vpxorq %zmm2,%zmm1,%zmm2
RET = b"\xc3"

SUM = """
int total(const int *x, int n) { int s = 0; for (int i = 0; i < n; i++) s += x[i] * i; return s; }
"""
MAIN = "int total(const int *, int); int main(int c, char **v) { (void)v; int x[64] = {c}; return total(x, 64); }"


def code(data: bytes, address: int = 0x1000) -> list[Code]:
    return [Code(".text", address, memoryview(data))]


def features(data: bytes, level: Level = V2, bits: int = 64) -> list[tuple[str, ...]]:
    return [hit.features for hit in x86.scan(code(data), [0x1000], level, bits).hits]


def found(path: Path, level: Level = V2) -> dict[str, set[str]]:
    """Return function → features above the level."""
    elf = Elf(path.read_bytes())
    table = FunctionTable(elf)
    result: dict[str, set[str]] = {}
    for hit in x86.scan(elf.code, table.starts, level).hits:
        result.setdefault(table.at(hit.address).name, set()).update(hit.features)
    return result


def plainly(data: bytes, address: int, cuts: Sequence[int], level: Level) -> set[int]:
    """Return the hits of a plain decoding of every stretch from its start, without a search before it."""
    table = x86._table(level.features, 64)
    return {
        each.ip
        for start, end in itertools.pairwise(cuts)
        for each in Decoder(64, data[start:end], table.options, ip=address + start)
        if each.code in table.beyond
    }


# ---------------------------------------------------------------------------------------------- compiled programs


def test_a_program_of_the_level_holds_nothing_above_it(tmp_path: Path) -> None:
    program = compiled("x86_64_v2", tmp_path, {"total.c": SUM, "main.c": MAIN})
    names = {name for name in found(program) if name in ("total", "main")}
    assert names == set()


def test_code_of_level_3_is_found_at_level_2_and_not_at_level_3(tmp_path: Path) -> None:
    program = compiled("x86_64", tmp_path, {"total.c": SUM, "main.c": MAIN}, ["-O3", "-march=x86-64-v3"])
    assert "AVX2" in found(program, V2)["total"]
    assert "total" not in found(program, V3)


def test_one_object_of_many_is_found(tmp_path: Path) -> None:
    sources = {f"f{i}.c": f"int f{i}(const int *x) {{ int s = 0; for (int i = 0; i < 64; i++) s += x[i]; return s; }}"
               for i in range(6)}  # fmt: skip
    calls = "".join(f"int f{i}(const int *);" for i in range(6))
    sources["main.c"] = (
        calls + "int main(void) { int x[64] = {0}; return " + "+".join(f"f{i}(x)" for i in range(6)) + ";}"
    )
    options = ["-O3", "-march=x86-64-v2"]
    program = compiled("x86_64_v2", tmp_path, sources, options, per_file={"f3.c": ["-O3", "-march=x86-64-v3"]})
    assert set(found(program)) == {"f3"}


def test_inline_assembler_is_found_with_its_text(tmp_path: Path) -> None:
    source = 'int main(void) { __asm__ volatile("vpaddd %ymm1, %ymm2, %ymm3"); return 0; }'
    elf = Elf(compiled("x86_64_v2", tmp_path, {"main.c": source}).read_bytes())
    (hit,) = x86.scan(elf.code, FunctionTable(elf).starts, V2).hits
    assert (hit.features, hit.text, hit.size) == (("AVX2",), "vpaddd %ymm1,%ymm2,%ymm3", 4)
    assert bytes(elf.at(hit.address, hit.size)) == VPADDD


# ------------------------------------------------------------------------------------------------------- the levels


@pytest.mark.parametrize(
    ("instruction", "level", "expected"),
    [
        (b"\xf3\x0f\xbc\xc1", V2, []),  # rep bsf, which GCC writes
        (b"\xf3\x0f\xbd\xc1", V2, [("LZCNT",)]),  # counts what bsr does not
        (b"\xf3\x0f\xbd\xc1", V3, []),
        (b"\xf3\x0f\xb8\xc1", V1, [("POPCNT",)]),
        (b"\xf3\x0f\xb8\xc1", V2, []),
        (b"\x9f", V1, [("LAHF_SAHF",)]),
        (b"\x9f", V2, []),
        (b"\xf3\x0f\x1e\xfa", V1, []),  # endbr64
        (b"\xf3\x48\x0f\x1e\xc8", V1, []),  # rdsspq %rax
        (b"\x0f\x0d\x08", V1, []),  # prefetchw (%rax)
        (b"\x0f\x1c\x00", V1, []),  # cldemote (%rax)
        (b"\xf3\x90", V1, []),  # pause
        (b"\x0f\x01\xd0", V2, [("XSAVE",)]),  # xgetbv
        (b"\x0f\x01\xd0", V3, []),
        (b"\x0f\xc7\x20", V3, [("XSAVEC",)]),
        (b"\xc4\xe2\xf3\xf6\xc2", V2, [("BMI2",)]),  # mulx
        (b"\x66\x0f\x38\xf6\xc1", V3, [("ADX",)]),
        (b"\x66\x0f\x38\xdc\xc1", V4, [("AES",)]),
        (b"\xc4\xe2\x71\xdc\xc2", V2, [("AES", "AVX")]),
        (b"\xc4\xe2\x71\xdc\xc2", V3, [("AES",)]),
        (b"\x66\x0f\x3a\x44\xc1\x00", V4, [("PCLMULQDQ",)]),
        (b"\x0f\x38\xc8\xc1", V4, [("SHA",)]),
        (b"\x0f\xc7\xf0", V4, [("RDRAND",)]),
        (b"\x0f\x01\xf9", V4, [("RDTSCP",)]),
        (b"\xf3\x0f\xae\xc0", V4, [("FSGSBASE",)]),
        (b"\x0f\x0f\xc1\x9e", V4, [("D3NOW",)]),  # pfadd
        (b"\x0f\x0e", V4, [("D3NOW",)]),  # femms
        (b"\x8f\xe9\x78\x01\xc8", V4, [("TBM",)]),
        (b"\xc7\xf8\x00\x00\x00\x00", V4, [("RTM",)]),  # xbegin
        (b"\xc4\xe2\x69\x50\xd9", V4, [("AVX_VNNI",)]),
        (b"\xc5\xf5\x41\xd2", V3, [("AVX512DQ",)]),  # kandb
        (VPADDD, V2, [("AVX2",)]),
        (VPADDD, V3, []),
        (VPXORQ, V3, [("AVX512F",)]),
        (VPXORQ, V4, []),
    ],
)
def test_instruction_counts_by_its_level(instruction: bytes, level: Level, expected: list[object]) -> None:
    assert features(instruction + RET, level) == expected


def test_the_levels_name_features_that_the_decoder_knows() -> None:
    known = {name for name, value in vars(CpuidFeature).items() if isinstance(value, int)}
    assert V4.features - known == {"LAHF_SAHF"}
    assert V1.features < V2.features < V3.features < V4.features


def test_32_bit_code_is_decoded_as_32_bit_code() -> None:
    lds, bound = b"\xc5\x08", b"\x62\x08"  # lds (%eax),%ecx and bound %ecx,(%eax): VEX and EVEX in 64-bit code
    assert features(lds + bound + RET, V1, bits=32) == []
    assert features(VPADDD + RET, V2, bits=32) == [("AVX2",)]
    assert features(b"\x41\x40" + VPADDD, V2, bits=32) == [("AVX2",)]  # inc, which are REX prefixes in 64-bit code


# -------------------------------------------------------------------------------------------- where decoding begins


def test_data_before_a_function_does_not_hide_its_code() -> None:
    data = b"\x48\xb8" + VPADDD + RET * 8  # the two bytes of data begin a movabs, which covers the function
    assert [hit.address for hit in x86.scan(code(data), [0x1002], V2).hits] == [0x1002]
    assert x86.scan(code(data), [], V2).hits == ()


def test_a_label_within_an_instruction_does_not_hide_it() -> None:
    result = x86.scan(code(b"\x90" + VPADDD + RET), [0x1000, 0x1003], V2)
    assert 0x1001 in {hit.address for hit in result.hits}


def test_a_prefix_before_a_label_belongs_to_its_instruction() -> None:
    result = x86.scan(code(b"\xf3\x0f\xbd\xc1\xc3"), [0x1000, 0x1001], V2)  # lzcnt, or bsr after a jump to it
    assert [(hit.address, hit.features) for hit in result.hits] == [(0x1000, ("LZCNT",))]


def test_jump_into_an_instruction_is_followed() -> None:
    hidden = b"\xeb\x01\xe8" + VPADDD + RET  # jmp over the op code of a call, whose distance is the vpaddd
    (hit,) = x86.scan(code(hidden), [0x1000], V2).hits
    assert (hit.address, hit.text) == (0x1003, "vpaddd %ymm1,%ymm2,%ymm3")
    assert features(b"\xeb\x05\xe8" + VPADDD + RET) == []  # jumps behind it, so no processor reads it


def test_several_stretches_of_code_are_scanned_each_at_its_address() -> None:
    codes = [*code(VPADDD + RET, 0x1000), *code(RET + VPADDD, 0x8000)]
    assert [hit.address for hit in x86.scan(codes, [0x1000, 0x8001], V2).hits] == [0x1000, 0x8001]


def test_cutting_a_file_between_functions_changes_nothing() -> None:
    rng = random.Random(1)  # noqa: S311 - the same in each run
    data = b"".join(rng.choice([VPADDD, VPXORQ, b"\x48\x89\xc5", RET]) for _ in range(4000))
    starts = list(range(0x1000, 0x1000 + len(data), 64))
    whole = x86.scan(code(data), starts, V2)
    parts = [x86.scan(code(data[i : i + 1024], 0x1000 + i), starts, V2) for i in range(0, len(data), 1024)]
    found = {hit.address for part in parts for hit in part.hits}
    assert len(whole.hits) > 1000
    # An instruction across a cut may be found only in the whole file.
    assert all(hit.address in found or -hit.address % 1024 < hit.size for hit in whole.hits)


def test_bytes_that_are_no_instruction_are_counted() -> None:
    assert x86.scan(code(VPADDD + b"\x06\x06" + RET), [0x1000], V2).undecoded == 2
    assert x86.scan(code(VPADDD + RET), [0x1000], V2).undecoded == 0


# ------------------------------------------------------------------------------------- the search misses nothing


def some_encoding(code: int, rng: random.Random) -> bytes:
    """Return sixteen bytes that may be an instruction: its op code in its map; random prefixes, fields and operands."""
    info = OpCodeInfo(code)  # type: ignore[arg-type]
    opcode = info.op_code.to_bytes(info.op_code_len, "big")
    tables = OpCodeTableKind
    place = {
        tables.T0F: 1,
        tables.T0F38: 2,
        tables.T0F3A: 3,
        tables.MAP5: 5,
        tables.MAP6: 6,
        tables.MAP8: 8,
        tables.MAP9: 9,
    }
    number = place.get(info.table, 10)
    fields = rng.randrange(256) | 0x78 * rng.randrange(2)  # W vvvv L pp; an absent operand needs vvvv 1111
    if info.encoding == EncodingKind.VEX:
        head = bytes([0xC4, 0xE0 | number, fields]) if number > 1 or rng.randrange(2) else bytes([0xC5, fields])
    elif info.encoding == EncodingKind.XOP:
        head = bytes([0x8F, 0xE0 | number, fields])
    elif info.encoding == EncodingKind.EVEX:
        head = bytes([0x62, 0xF0 | number, fields | 4, rng.choice([8, 9, 0x18, 0x28, 0x29, 0x48, 0x49, 0x58, 0xC9])])
    else:
        escape = {tables.NORMAL: b"", tables.T0F: b"\x0f", tables.T0F38: b"\x0f\x38", tables.T0F3A: b"\x0f\x3a"}[
            info.table
        ]
        prefixes = [b"", b"\x66", b"\xf2", b"\xf3"]
        rex = [b"", b"", b"\x48", b"\x41"]
        head = rng.choice([b"", b"", b"\x67"]) + rng.choice(prefixes) + rng.choice(rex) + escape
        if info.encoding == EncodingKind.D3NOW:
            return (head + b"\x0f\xc1" + opcode).ljust(16, b"\x90")
    return (head + opcode + rng.randbytes(8)).ljust(16, b"\x90")


@pytest.mark.parametrize("level", [V1, V2, V3, V4], ids=["v1", "v2", "v3", "v4"])
def test_the_search_knows_every_instruction_above_a_level(level: Level) -> None:
    rng = random.Random(0)  # noqa: S311 - the same in each run
    table = x86._table(level.features, 64)
    seen = set()
    for code_ in table.beyond:
        for _ in range(400):
            data = some_encoding(code_, rng)
            instruction = Decoder(64, data, table.options).decode()
            if instruction.code in table.beyond:
                seen.add(instruction.code)
                match = table.search.search(data)
                assert match, data.hex(" ")
                assert match.start() < instruction.len
            if instruction.code == code_:
                break
    missed = {OpCodeInfo(code_).op_code_string for code_ in set(table.beyond) - seen}
    assert len(seen) >= 0.98 * len(table.beyond), missed


@pytest.mark.parametrize("path", ["/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "/usr/lib/x86_64-linux-gnu/libc.so.6"])
def test_search_changes_nothing_in_installed_files(path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"{path} does not exist")
    elf = Elf(Path(path).read_bytes())
    starts = FunctionTable(elf).starts
    for level in (V2, V3):
        hits = {hit.address for hit in x86.scan(elf.code, starts, level).hits}
        for each in elf.code:
            cuts = [0, *(s - each.address for s in starts if each.address < s < each.end), len(each.data)]
            assert plainly(bytes(each.data), each.address, cuts, level) <= hits
        assert hits


@given(st.binary(max_size=400), st.sampled_from([V1, V2, V3, V4]), st.sampled_from([32, 64]), st.data())
def test_any_bytes_are_scanned_to_their_end(data: bytes, level: Level, bits: int, draw: st.DataObject) -> None:
    starts = sorted(draw.draw(st.sets(st.integers(0x0F00, 0x1200), max_size=8)))
    result = x86.scan(code(data), starts, level, bits)
    assert all(0x1000 <= hit.address < hit.address + hit.size <= 0x1000 + len(data) for hit in result.hits)
    assert len({hit.address for hit in result.hits}) == len(result.hits)
    assert 0 <= result.undecoded <= len(data)
    if bits == 64:
        cuts = [0, *(s - 0x1000 for s in starts if 0x1000 < s < 0x1000 + len(data)), len(data)]
        assert plainly(data, 0x1000, cuts, level) <= {hit.address for hit in result.hits}


# ---------------------------------------------------------------------------------------------------- disassembly


def test_the_disassembly_marks_the_hit_among_its_neighbours() -> None:
    data = b"\x55\x48\x89\xe5" + VPADDD + b"\x5d" + RET
    (hit,) = x86.scan(code(data), [0x1000], V2).hits
    lines = x86.disassembly(data, 0x1000, hit)
    assert [line.split(":")[0] for line in lines] == ["   1000", "   1001", "=> 1004", "   1008", "   1009"]
    assert lines[2].endswith("vpaddd %ymm1,%ymm2,%ymm3")
    assert "c5 ed fe d9" in lines[2]
    assert [line[:2] for line in x86.disassembly(data, 0x1000, hit, before=1, after=0)] == ["  ", "=>"]


@given(st.binary(max_size=64), st.integers(-8, 80))
def test_a_disassembly_of_any_bytes_ends(data: bytes, offset: int) -> None:
    lines = x86.disassembly(data, 0x1000, Hit(0x1000 + offset, 4, ("AVX2",), ""))
    assert len(lines) <= 9
    assert bool(lines) == (0 <= offset < len(data))


def test_objdump_reads_the_same_instructions(tmp_path: Path) -> None:
    program = compiled("x86_64", tmp_path, {"total.c": SUM, "main.c": MAIN}, ["-O3", "-march=x86-64-v3"])
    elf = Elf(program.read_bytes())
    hits = {hit.address for hit in x86.scan(elf.code, FunctionTable(elf).starts, V2).hits}
    listing = run(["objdump", "-d", "--no-show-raw-insn", program]).output
    vectors = {int(line.split(":")[0], 16) for line in listing.splitlines() if "\tv" in line}
    assert vectors
    assert vectors <= hits
