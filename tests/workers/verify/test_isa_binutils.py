"""Instructions above a level on aarch64, ppc64le and s390x: real compilers make them, a scan finds them."""

from __future__ import annotations

import re
import struct

import pytest

from tests.workers.verify.compilers import compiled, flags, target, tool
from tests.workers.verify.scanning import OTHERS, PROGRAM, features, made, scanned, tools_of
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.formats.elf import Elf
from workers.formats.elf_records import Code
from workers.verify.functions import FunctionTable
from workers.verify.isa import binutils, gnu
from workers.verify.isa.levels import LEVELS, Level

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", OTHERS)
def test_a_program_built_with_the_targets_flags_has_nothing_above_its_level(name, tmp_path):
    program = compiled(
        name,
        tmp_path,
        {"main.c": PROGRAM},
        options=[*flags(name), "-mno-outline-atomics"] if name == "aarch64" else None,
    )
    elf, result = scanned(name, program)
    assert result.hits == ()
    assert len(elf.code) > 2
    assert result.undecoded < 400  # jump tables of ppc64le, padding


BUILT = [
    ("aarch64", "-march=armv8-a+lse", "long f(long *p) { return __atomic_fetch_add(p, 1, 5); }", "lse", "ldaddal"),
    ("aarch64", "-march=armv8-a+crc", "unsigned f(unsigned a, unsigned b) { return __builtin_aarch64_crc32cw(a, b); }",
     "crc", "crc32cw"),
    ("aarch64", "-march=armv8-a+crypto", "#include <arm_neon.h>\nuint8x16_t f(uint8x16_t a, uint8x16_t b)"
     "{ return vaesmcq_u8(vaeseq_u8(a, b)); }", "aes", "aese"),
    ("aarch64", "-march=armv8.2-a+dotprod",
     "#include <arm_neon.h>\nuint32x4_t f(uint32x4_t s, uint8x16_t a, uint8x16_t b)"
     "{ return vdotq_u32(s, a, b); }", "dotprod", "udot"),
    ("aarch64", "-march=armv8.2-a+fp16", "_Float16 f(_Float16 a, _Float16 b) { return a * b; }", "fp16", "fmul"),
    ("aarch64", "-march=armv8-a+sve -O3", "void f(float *restrict a, float *restrict b, int n)"
     "{ for (int i = 0; i < n; i++) a[i] += b[i]; }", "sve", "fadd"),
    ("aarch64", "-march=armv8.3-a -mbranch-protection=pac-ret", "int g(int); int f(int a) { return g(a) + 1; }",
     "pauth", "retaa"),
    ("aarch64", "-march=armv8-a", 'void f(void) { __asm__(".inst 0x9ac11000"); }', "memtag", "irg"),
    ("aarch64", "-march=armv8-a", 'long f(void) { long x; __asm__(".inst 0xd53b2400" : "=r"(x)); return x; }',
     "rng", "mrs"),
    ("aarch64", "-march=armv8-a", 'void f(void *p) { __asm__(".inst 0xd50b7c20"); }', "armv8.2-a", "dc"),
    ("ppc64le", "-mcpu=power10", "int a; int f(void) { return a + 0x12345678; }", "power10", "paddi"),
    ("ppc64le", "-mcpu=power10", "int f(long a, long b) { return a < b; }", "power10", "setbc"),
    ("ppc64le", "-mcpu=power10", "#include <altivec.h>\nvoid f(__vector_quad *q, vector unsigned char a)"
     "{ __vector_quad x; __builtin_mma_xvf32ger(&x, a, a); *q = x; }", "power10", "(dm)?xvf32ger"),
    ("ppc64le", "-mcpu=power10", "unsigned long f(unsigned long a) { return __builtin_bswap64(a); }", "power10", "brd"),
    ("s390x", "-march=z15", "long f(long a, long b, long c, long d) { return a > b ? c : d; }", "z15", "selgr"),
    ("s390x", "-march=z15", "long f(long a, long b) { return a & ~b; }", "z15", "ncgrk"),
    ("s390x", "-march=z15", "int f(unsigned long a) { return __builtin_popcountl(a); }", "z15", "popcnt"),
    ("s390x", "-march=z14", 'void f(void) { __asm__(".machine z16\\n vcfn %v1,%v2,0,1"); }', "z16", "vcfn"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options", "source", "feature", "mnemonic"), BUILT, ids=lambda v: v if len(v) < 12 else ""
)
def test_a_feature_above_the_level_is_found_and_named(name, options, source, feature, mnemonic, tmp_path):
    elf, result = scanned(name, made(name, tmp_path, source, *options.split()))
    assert feature in features(result)
    hit = next(hit for hit in result.hits if hit.features == (feature,) and re.match(rf"{mnemonic}\w*\b", hit.text))
    (code,) = [code for code in elf.code if code.address <= hit.address < code.end]
    offset = hit.address - code.address
    listing = run([tool(name, "objdump"), "-d", "-w", "--no-show-raw-insn", tmp_path / "object.o"]).output
    words = re.search(rf"^ *{offset:x}:\t(.*)$", listing, re.MULTILINE)
    assert words is not None
    assert hit.text.split()[0] == words[1].split()[0]
    around = binutils.disassembly(code, hit.address, tools_of(name), code.address)
    assert any(re.match(rf"{hit.address:x}: {mnemonic}", line) for line in around)


def test_a_level_that_has_the_feature_has_no_hit(tmp_path):
    path = made("ppc64le", tmp_path, "int f(long a, long b) { return a < b; }", "-mcpu=power10")
    assert features(scanned("ppc64le", path, "POWER9")[1]) == {"power10"}
    assert scanned("ppc64le", path, "POWER10")[1].hits == ()
    path = made("s390x", tmp_path, "long f(long a, long b) { return a & ~b; }", "-march=z15")
    assert features(scanned("s390x", path, "z13")[1]) == {"z15"}
    assert scanned("s390x", path, "z15")[1].hits == ()


def test_one_object_of_many_is_found_by_its_level(tmp_path):
    sources = {"main.c": PROGRAM, "fast.c": "long fast(long *p) { return __atomic_exchange_n(p, 1, 5); }"}
    allowed = [*flags("aarch64"), "-mno-outline-atomics"]
    program = compiled("aarch64", tmp_path, sources, options=allowed, per_file={"fast.c": ["-O2", "-march=armv8.1-a"]})
    elf, result = scanned("aarch64", program)
    functions = FunctionTable(elf)
    assert [(str(functions.at(hit.address)), hit.features) for hit in result.hits] == [("fast", ("lse",))]
    run([tool("aarch64", "strip"), program])
    stripped = Elf(program.read_bytes())
    assert not stripped.section(".symtab")
    assert binutils.scan(stripped.code, (), LEVELS["ARMv8.0-A"], tools_of("aarch64")).hits == result.hits


def test_hints_and_privileged_or_old_system_registers_are_not_above_the_level(tmp_path):
    source = "int g(int); int f(int a) { return g(a) + 1; }"
    path = made("aarch64", tmp_path, source, "-march=armv8-a", "-mbranch-protection=standard")
    assert "paciasp" in run([tool("aarch64", "objdump"), "-d", path]).output
    assert scanned("aarch64", path)[1].hits == ()
    words = """
        bti c\n pacibsp\n autiasp\n hint #0x14\n esb\n prfm #31, [x0]\n mrs x0, s3_0_c0_c6_2\n mrs x1, tpidr_el0
        msr s3_0_c4_c2_3, x0\n sys #0, c8, c1, #1, x0\n dsb #0\n dsb #4\n bfm w0, wzr, #3, #2\n
    """
    path = made("aarch64", tmp_path, f".arch armv8.2-a\n{words}", suffix=".s")
    assert scanned("aarch64", path)[1] == binutils.ScanResult((), 0)


def test_power_instructions_that_older_processors_ignore_are_not_above_the_level(tmp_path):
    path = made("ppc64le", tmp_path, "hashst 0,-16(1)\n dcbfps 0,3\n phwsync\n plwsync\n", "-mcpu=power10", suffix=".s")
    assert scanned("ppc64le", path)[1] == binutils.ScanResult((), 0)


def test_data_among_code_is_undecoded_and_no_hit(tmp_path):
    data = ".text\nf: nop\n .inst 0xffffffff\n .inst 0x00000007\n ret\n"
    assert scanned("aarch64", made("aarch64", tmp_path, data, suffix=".s"))[1] == binutils.ScanResult((), 8)
    data = ".text\n nop\n .long 0x00000010\n .long 0x04000000\n blr\n"  # zeros, and a prefix without a suffix
    assert scanned("ppc64le", made("ppc64le", tmp_path, data, suffix=".s"))[1] == binutils.ScanResult((), 8)


def test_s390x_decoding_starts_again_at_each_function(tmp_path):
    data = """
        .text\n .globl f\n .type f,@function\nf: br %r14\n .size f,.-f\n .short 0xe700
        .globl g\n .type g,@function\ng: .insn rre,0xb9e50000,%r2,%r3\n br %r14\n .size g,.-g\n
    """
    elf, result = scanned("s390x", made("s390x", tmp_path, data, "-march=z14", suffix=".s"))
    assert [(hit.features, hit.text.split()[0]) for hit in result.hits] == [(("z15",), "ncgrk")]
    assert result.undecoded == 2
    led_astray = binutils.scan(elf.code, (), LEVELS["z14"], tools_of("s390x"))
    assert led_astray.hits == ()


def jump_table(distances: list[int]) -> Code:
    """Return code of ppc64le: 40,000 nops, a bctr, a table with these distances, a blr."""
    words = [0x60000000] * 40_000 + [0x4E800420, *(distance & 0xFFFFFFFF for distance in distances), 0x4E800020]
    return Code(".text", 0x10000, memoryview(struct.pack(f"<{len(words)}I", *words)))


def test_a_jump_table_of_ppc64le_is_data_though_its_distances_read_like_instructions():
    tools = tools_of("ppc64le")
    table = [0xC, -0xFE38, -0x20]
    assert "xscmpgtqp" in next(gnu.disassemble(tools, [struct.pack("<i", -0xFE38)]))
    assert binutils.scan([jump_table(table)], (), LEVELS["POWER9"], tools) == binutils.ScanResult((), 12)
    # The same word is an instruction if no bctr and no table come before it.
    table = [0x60000000, -0xFE38]
    assert [hit.address for hit in binutils.scan([jump_table(table)], (), LEVELS["POWER9"], tools).hits] == [
        0x10000 + 160_008
    ]


def test_a_prefix_of_power10_and_its_suffix_are_one_instruction(tmp_path):
    source = ".text\n pld 3,64(4)\n pstd 3,64(4)\n blr\n"
    _, result = scanned("ppc64le", made("ppc64le", tmp_path, source, "-mcpu=power10", suffix=".s"))
    assert [(hit.size, hit.features, hit.text) for hit in result.hits] == [
        (8, ("power10",), "pld r3,64(r4)"),
        (8, ("power10",), "pstd r3,64(r4)"),
    ]


def test_prefixed_instructions_are_found_at_every_offset(tmp_path):
    """objdump decodes no prefixed instruction across a boundary of 64 bytes; the scan must find it at every offset."""
    for before in range(3):
        words = [f"mtspr {200 + number},3" for number in range(before)]
        source = "\n".join([".text", *words, *(f"pld {number},0({number + 1})" for number in range(30)), "blr\n"])
        (tmp_path / f"{before}").mkdir()
        _, result = scanned("ppc64le", made("ppc64le", tmp_path / f"{before}", source, "-mcpu=power10", suffix=".s"))
        assert [(hit.size, hit.features) for hit in result.hits] == [(8, ("power10",))] * 30
        assert [hit.text for hit in result.hits] == [f"pld r{number},0(r{number + 1})" for number in range(30)]


def test_a_prefix_without_a_suffix_is_no_instruction():
    nops = struct.pack("<2I", 0x60000000, 0x07000000)  # pnop would be these 4 bytes and 4 more
    result = binutils.scan([Code("", 0, memoryview(nops))], (), LEVELS["POWER9"], tools_of("ppc64le"))
    assert result == binutils.ScanResult((), 4)


def test_a_missing_program_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(CannotRun, match="s390x-linux-gnu-objdump is not installed") as caught:
        binutils.tools_for("EM_S390")
    assert "binutils-s390x-linux-gnu" in caught.value.hint
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(CannotRun, match=r"^objdump is not installed"):
        binutils.tools_for("EM_S390")


def test_a_fatal_line_hides_no_other(tmp_path):
    tools = tools_of("s390x")
    lines = ["dsgr %r1,%r2", "selr %r1,%r2,%r3,8", "mr %r3,%r2", "ncgrk %r1,%r2,%r3", "lgr %r1,%r2"]
    assert sorted(gnu.rejections(tools, lines, "-march=z14")) == [0, 1, 2, 3]
    assert sorted(gnu.rejections(tools, lines, "-march=z15")) == [0, 2]
    assert sorted(gnu.rejections(tools, lines, "-march=nothing")) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", OTHERS)
def test_a_level_that_is_too_new_for_the_assembler_is_named(name: str) -> None:
    tools = tools_of(name)
    level = Level("of-tomorrow", target(name).elf_machine, assembler=("-mcpu=of-tomorrow",))
    with pytest.raises(CannotRun, match=r"does not know of-tomorrow \(-mcpu=of-tomorrow\)"):
        binutils.scan([Code("", 0, memoryview(bytes(8)))], (), level, tools)


def test_code_of_a_machine_that_binutils_do_not_decode_is_refused() -> None:
    with pytest.raises(CannotRun, match="binutils decode no code of EM_RISCV"):
        binutils.tools_for("EM_RISCV")
