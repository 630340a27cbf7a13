"""The flags that real compilers record and their verdicts; then records that no compiler here writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.workers.verify.compilers import TARGETS, compiled, flags, target, tool
from tests.workers.verify.judging import declared
from workers.base.run import run
from workers.formats.dwarf import UnitTable, read_units
from workers.formats.elf import Elf
from workers.formats.facts import Unit
from workers.verify.producers import UnitVerdict, family, flags_of, judge_unit

MAIN = "int half(int); int main(int count, char **words) { (void)words; return half(count); }\n"
HALF = "int half(int value) { return value / 2; }\n"
SOURCES = {"main.c": MAIN, "half.c": HALF}
needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")


def verdicts(file: Path, name: str = "x86_64") -> dict[str, UnitVerdict]:
    """Return source file → the verdict on its unit."""
    return {unit.name: judge_unit(unit, target(name).flags.compiler) for unit in read_units(Elf(file.read_bytes()))}


def outcome(verdict: UnitVerdict) -> tuple[str, str, str]:
    return verdict.family, verdict.outcome, verdict.reason


# ----------------------------------------------------------------------------------------------------------------- GCC


@pytest.mark.parametrize("name", TARGETS)
def test_gcc_units_with_the_flags_pass(tmp_path, name):
    found = verdicts(compiled(name, tmp_path, SOURCES), name)
    assert {source: outcome(verdict) for source, verdict in found.items()} == {
        "main.c": ("gnu", "passed", ""),
        "half.c": ("gnu", "passed", ""),
    }


@pytest.mark.parametrize("name", TARGETS)
def test_each_flag_that_one_unit_of_many_lacks_is_named(tmp_path, name):
    for number, flag in enumerate(target(name).flags.compiler):
        without = [word for word in flags(name) if word != flag]
        found = verdicts(compiled(name, tmp_path / str(number), SOURCES, per_file={"half.c": without}), name)
        assert found["main.c"].outcome == "passed"
        assert found["half.c"].missing == (flag,)
        assert found["half.c"].detail.startswith(f"half.c lacks {flag}; compiled by: GNU C")


def test_unit_of_gcc_that_records_nothing_is_a_finding(tmp_path):
    file = compiled("x86_64", tmp_path, SOURCES, [*flags("x86_64"), "-gno-record-gcc-switches"])
    verdict = verdicts(file)["half.c"]
    assert (verdict.outcome, verdict.missing) == ("failed", target("x86_64").flags.compiler)
    assert verdict.detail.startswith("half.c records no flags: compile with -grecord-gcc-switches; compiled by: GNU C")


def test_split_debug_data_is_a_violation_that_names_its_file(tmp_path):
    verdict = verdicts(compiled("x86_64", tmp_path, SOURCES, [*flags("x86_64"), "-gsplit-dwarf"]))["half.c.dwo"]
    assert verdict.outcome == "failed"
    assert verdict.detail.startswith("the flags of a unit are in half.c.dwo, which is in no package")


FRONT_ENDS = [
    ("g++", "it.cpp", "int main() { return 0; }\n", "-std=c++17"),
    ("g++", "it.cpp", "int main() { return 0; }\n", "-std=c++20"),
    ("gfortran", "it.f90", "program it\nend program\n", "-O2"),
    ("gdc", "it.d", "extern(C) int main() { return 0; }\n", "-O2"),
    ("gnatmake", "it.adb", "procedure It is\nbegin\n   null;\nend It;\n", "-f"),
    ("gccgo", "it.go", "package main\nfunc main() {}\n", "-O2"),
]


@pytest.mark.parametrize(("compiler", "source", "text", "option"), FRONT_ENDS)
def test_every_front_end_of_gcc_is_asked_for_the_flags(tmp_path, compiler, source, text, option):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / source).write_text(text)
    words = flags("x86_64")
    for chosen, expected in ((words, "passed"), (words[:2], "failed")):
        run([compiler, *chosen, option, "-c", source], cwd=tmp_path)
        found = verdicts(tmp_path / "it.o")
        assert [(verdict.family, verdict.outcome) for verdict in found.values()] == [("gnu", expected)], found


# ------------------------------------------------------------------------------------------- link-time optimisation


def rules(file: Path) -> list[tuple[str, str]]:
    checks = declared("x86_64", read_units(Elf(file.read_bytes())))
    return [(check.outcome, check.reason) for check in checks]


def test_of_gcc_s_link_time_optimisation_the_units_of_the_sources_are_judged(tmp_path):
    words = [*flags("x86_64"), "-flto"]
    link = ["-flto", "-O2", "-g"]
    assert rules(compiled("x86_64", tmp_path / "a", SOURCES, words, link)) == [
        ("passed", ""),
        ("skipped", "lto-partition"),
    ]
    bad = compiled("x86_64", tmp_path / "b", SOURCES, words, link, per_file={"half.c": ["-O2", "-g", "-flto"]})
    assert rules(bad) == [("failed", ""), ("passed", ""), ("skipped", "lto-partition")]


def test_partitions_alone_prove_nothing_whatever_the_link_options(tmp_path):
    """Sources that are compiled without -g have no unit; the link has every flag."""
    file = compiled("x86_64", tmp_path, SOURCES, ["-O2", "-flto"], ["-flto", *flags("x86_64")])
    units = read_units(Elf(file.read_bytes()))
    assert {family(unit) for unit in units} == {"lto-partition"}
    assert rules(file) == [("failed", ""), ("skipped", "lto-partition")]


@needs_clang
@pytest.mark.skipif(shutil.which("ld.lld") is None, reason="lld is not installed")
def test_of_clang_s_link_time_optimisation_the_units_of_the_sources_are_judged(tmp_path):
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    good = [*flags("x86_64"), "-grecord-command-line", "-flto"]
    run(["clang", *good, "-c", "main.c", "half.c"], cwd=tmp_path)
    run(["clang", "-flto", "-fuse-ld=lld", "-o", "good", "main.o", "half.o"], cwd=tmp_path)
    assert rules(tmp_path / "good") == [("passed", "")]
    run(["clang", "-O2", "-g", "-grecord-command-line", "-flto", "-c", "half.c"], cwd=tmp_path)
    run(["clang", "-flto", "-fuse-ld=lld", *good, "-o", "bad", "main.o", "half.o"], cwd=tmp_path)
    assert rules(tmp_path / "bad") == [("failed", ""), ("passed", "")]


# --------------------------------------------------------------------------------------------------------------- clang

CLANG_TARGETS = [name for name in TARGETS if name != "ppc64le"]  # clang 14 knows no -mtune=power10


def by_clang(folder: Path, name: str, *options: str) -> UnitVerdict:
    """Compile a source with clang for a target, and return the verdict on its unit."""
    (folder / "half.c").write_text(HALF)
    run(["clang", f"--target={target(name).architecture.triplet}", "-O2", "-g", *options, "-c", "half.c"], cwd=folder)
    return verdicts(folder / "half.o", name)["half.c"]


@needs_clang
@pytest.mark.parametrize("name", CLANG_TARGETS)
def test_clang_units_pass_with_the_flags_and_each_missing_flag_is_named(tmp_path, name):
    wanted = target(name).flags.compiler
    assert outcome(by_clang(tmp_path, name, "-grecord-command-line", *wanted)) == ("clang", "passed", "")
    for flag in wanted:
        without = [word for word in wanted if word != flag]
        assert by_clang(tmp_path, name, "-grecord-command-line", *without).missing == (flag,)


@needs_clang
def test_clang_that_recorded_nothing_is_a_violation_that_says_how_to_record(tmp_path):
    verdict = by_clang(tmp_path, "x86_64", *target("x86_64").flags.compiler)
    assert (verdict.outcome, verdict.missing) == ("failed", target("x86_64").flags.compiler)
    assert verdict.detail.startswith("half.c records no flags: compile with -grecord-command-line; compiled by: ")


@needs_clang
@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (["-DTEXT=a b\\c", "-I", "some where"], ()),
        (["-D", "A=-fomit-frame-pointer", "-include", "stddef.h"], ()),
        (["-fomit-frame-pointer"], ("-fno-omit-frame-pointer",)),
        (["-fomit-frame-pointer", "-fno-omit-frame-pointer"], ()),
        (["-momit-leaf-frame-pointer"], ("-mno-omit-leaf-frame-pointer",)),
        (["-march=x86-64"], ("-march=x86-64-v3",)),
        (["-Xclang", "-mframe-pointer=none"], ("-fno-omit-frame-pointer",)),
        (["-Xclang", "-mframe-pointer=non-leaf"], ("-mno-omit-leaf-frame-pointer",)),
        (["-Xclang", "-mframe-pointer=all"], ()),
    ],
)
def test_the_command_line_that_clang_records_is_read_as_clang_reads_it(tmp_path, options, missing):
    verdict = by_clang(tmp_path, "x86_64", "-grecord-command-line", *target("x86_64").flags.compiler, *options)
    assert verdict.missing == missing


def keeps_no_frame_pointer(folder: Path, *words: str) -> bool:
    """Whether clang's own code says so: until LLVM 18 with an attribute of the value "none", since then without one."""
    code = run(["clang", "-O2", *words, "-S", "-emit-llvm", "-o", "-", "half.c"], cwd=folder).output
    assert "define " in code
    return '"frame-pointer"="none"' in code or '"frame-pointer"=' not in code


@needs_clang
def test_options_of_the_compiler_itself_count_at_any_position(tmp_path):
    """-Xclang comes after all options of the driver, so no later flag overrules it."""
    words = ["-Xclang", "-mframe-pointer=none", *target("x86_64").flags.compiler]
    assert by_clang(tmp_path, "x86_64", "-grecord-command-line", *words).missing == ("-fno-omit-frame-pointer",)
    assert keeps_no_frame_pointer(tmp_path, *words)


@needs_clang
def test_a_leaf_flag_alone_keeps_no_frame_pointer_on_x86_64(tmp_path):
    verdict = by_clang(tmp_path, "x86_64", "-grecord-command-line", "-march=x86-64-v3", "-mno-omit-leaf-frame-pointer")
    assert verdict.missing == ("-fno-omit-frame-pointer",)
    assert keeps_no_frame_pointer(tmp_path, "-mno-omit-leaf-frame-pointer")


# ------------------------------------------------------------------------------------------------------ other languages


@pytest.mark.parametrize("assembler", ["gcc", "clang"])
@pytest.mark.parametrize("source", ["it.s", "it.S"])
def test_assembler_is_skipped(tmp_path, assembler, source):
    if shutil.which(assembler) is None:
        pytest.skip(f"{assembler} is not installed")
    (tmp_path / source).write_text(".text\n.globl it\nit: ret\n")
    run([assembler, "-g", "-c", source, "-o", "it.o"], cwd=tmp_path)
    assert [outcome(v) for v in verdicts(tmp_path / "it.o").values()] == [
        ("assembler", "skipped", "language-assembler")
    ]


@pytest.mark.parametrize("name", TARGETS)
def test_assembler_of_every_target_is_skipped(tmp_path, name):
    (tmp_path / "it.s").write_text(".text\n.globl it\nit: nop\n")
    run([tool(name, "gcc"), "-g", "-c", "it.s"], cwd=tmp_path)
    assert [outcome(v) for v in verdicts(tmp_path / "it.o", name).values()] == [
        ("assembler", "skipped", "language-assembler")
    ]


@pytest.mark.skipif(shutil.which("rustc") is None, reason="rustc is not installed")
@pytest.mark.parametrize("with_flags", [True, False])
def test_rust_is_skipped_and_hides_no_c_beside_it(tmp_path, with_flags):
    words = flags("x86_64") if with_flags else ["-O2", "-g"]
    (tmp_path / "half.c").write_text(HALF)
    run(["gcc", *words, "-c", "half.c"], cwd=tmp_path)
    (tmp_path / "main.rs").write_text(
        'extern "C" { fn half(value: i32) -> i32; }\n'
        "fn main() { std::process::exit(unsafe { half(std::env::args().count() as i32) }); }\n"
    )
    run(["rustc", "-g", "-O", "-Clink-arg=half.o", "main.rs"], cwd=tmp_path)
    elf = Elf((tmp_path / "main").read_bytes())
    units = read_units(elf)
    found = {outcome(judge_unit(unit, target("x86_64").flags.compiler)) for unit in units}
    assert ("rust", "skipped", "language-rust") in found
    table = UnitTable(units)
    addresses = {symbol.name: symbol.address for symbol in elf.symbols}
    c = table.at(addresses["half"])
    rust = next(address for name, address in addresses.items() if "4main" in name and "main" in name and name != "main")
    assert c is not None
    assert outcome(judge_unit(c, target("x86_64").flags.compiler)) == ("gnu", "passed" if with_flags else "failed", "")
    assert table.at(rust).language == "rust"


def test_program_of_c_and_assembler_passes_by_its_c(tmp_path):
    assembly = ".globl half\n.type half,@function\nhalf: mov %edi,%eax\n sar %eax\n ret\n.size half,.-half\n"
    note = '.section .note.GNU-stack,"",@progbits\n'
    file = compiled("x86_64", tmp_path, {"main.c": MAIN, "half.s": assembly + note})
    assert rules(file) == [("passed", ""), ("skipped", "language-assembler")]


V3 = "-march=x86-64-v3 -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (Unit("a", f"GNU C++17 14.2.1 20250110 (Red Hat 14.2.1-7) {V3}"), ("gnu", "passed", "")),
        (Unit("a", f"GNU Go 14.2.1 {V3}", "go"), ("gnu", "passed", "")),
        (Unit("a", "GNU Go 14.2.1 -O2", "go"), ("gnu", "failed", "")),
        (Unit("a", f"GNU D 14.2.1 {V3}", "d"), ("gnu", "passed", "")),
        (Unit("a", f"GNU GIMPLE 14.2.1 {V3}"), ("lto-partition", "skipped", "lto-partition")),
        (Unit("a", "GNU AS 2.41.0", "assembler"), ("assembler", "skipped", "language-assembler")),
        (Unit("a", "GNU AS 2.41.0"), ("assembler", "skipped", "language-assembler")),
        (Unit("a", "NASM 2.16.03", "assembler"), ("assembler", "skipped", "language-assembler")),
        (Unit("a", "yasm 1.3.0"), ("assembler", "skipped", "language-assembler")),
        (Unit("a", f"clang version 19.1.7 (Red Hat, Inc. 19.1.7-1.el10) /usr/bin/clang {V3}"), ("clang", "passed", "")),
        (Unit("a", f"Debian clang version 14.0.6 /usr/lib/llvm-14/bin/clang -D A=a\\ b {V3}"), ("clang", "passed", "")),
        (Unit("a", "clang version 19.1.7 (Red Hat, Inc. 19.1.7-1.el10)"), ("clang", "failed", "")),
        (Unit("a", f"flang version 19.1.7 /usr/bin/flang {V3}"), ("clang", "passed", "")),
        (
            Unit("a", "clang LLVM (rustc version 1.84.1 (e71f9a9a9 2025-01-27))", "rust"),
            ("rust", "skipped", "language-rust"),
        ),
        (Unit("a", "clang LLVM (rustc version 1.84.1 (e71f9a9a9 2025-01-27))"), ("rust", "skipped", "language-rust")),
        (Unit("a", "Go cmd/compile go1.23.4; regabi", "go"), ("go", "skipped", "language-go")),
        (Unit("a", "zig 0.13.0"), ("zig", "skipped", "language-zig")),
        (
            Unit("a", "The Glorious Glasgow Haskell Compilation System 9.4.7"),
            ("haskell", "skipped", "language-haskell"),
        ),
        (Unit("a", "ocamlopt 5.1", "ocaml"), ("ocaml", "skipped", "language-ocaml")),
        (Unit("a", "Swift version 5.9", "swift"), ("swift", "skipped", "language-swift")),
        (Unit("a", "LDC 1.39.0 (LLVM 19.1.3)", "d"), ("d", "skipped", "language-d")),
        (Unit("a", f"tcc 0.9.28 {V3}"), ("", "passed", "")),
        (Unit("a", "tcc 0.9.28"), ("", "failed", "")),
        (Unit("a", ""), ("", "failed", "")),
    ],
)  # fmt: skip
def test_each_compiler_has_its_rule(unit, expected):
    assert outcome(judge_unit(unit, target("x86_64").flags.compiler)) == expected


def test_c_without_recorded_flags_is_skipped_only_beside_go():
    bare, flagged = Unit("a.c", "GNU C17 14.2.1"), Unit("a.c", "GNU C17 14.2.1 -O2")
    assert outcome(judge_unit(bare, target("x86_64").flags.compiler, beside_go=True)) == ("gnu", "skipped", "cgo")
    assert outcome(judge_unit(bare, target("x86_64").flags.compiler)) == ("gnu", "failed", "")
    assert outcome(judge_unit(flagged, target("x86_64").flags.compiler, beside_go=True)) == ("gnu", "failed", "")


def test_the_arguments_of_clang_s_options_are_no_flags():
    recorded = "/usr/bin/clang -D -fno-omit-frame-pointer -o -march=x86-64-v3 -mllvm -x -Xlinker -y -O2 a\\ -b"
    assert flags_of(Unit("a", f"clang version 19.1.7 {recorded}")) == ("-D", "-o", "-mllvm", "-Xlinker", "-O2")
