"""Go programs for every target, also stripped ones: their build settings and their functions."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.verify.compilers import SITE, TARGETS, target
from tests.workers.verify.elf_files import elf_file
from tests.workers.verify.judging import declared
from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats.dwarf import UnitTable, read_units
from workers.formats.elf import Elf
from workers.formats.elf_records import STT_FUNC
from workers.verify import go
from workers.verify.producers import judge_unit

pytestmark = pytest.mark.slow

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")

MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}  # machine_arch → GOARCH
MAIN = """package main

import "os"

//go:noinline
func twice(count int) int { return 2 * count }

func main() { os.Exit(twice(len(os.Args)) - 2) }
"""
CGO = """package main

// int half(int value) { return value / 2; }
import "C"

import "os"

func main() { os.Exit(int(C.half(C.int(len(os.Args))))) }
"""


def built(
    folder: Path, name: str, *options: str, source: str = MAIN, cgo: str = "0", env: dict[str, str] | None = None
) -> Elf:
    """Build a program for a target, with the target's settings or others."""
    folder.mkdir(exist_ok=True)
    (folder / "main.go").write_text(source)
    (folder / "go.mod").write_text("module example.org/twice\n\ngo 1.18\n")
    chosen = {"GOARCH": MACHINES[target(name).machine_arch], **(target(name).flags.go if env is None else env)}
    base = {key: value for key, value in os.environ.items() if not key.startswith(("GO", "CGO"))}
    base |= {"GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": cgo, "HOME": os.environ.get("HOME", "/root")}
    run(["go", "build", *options, "-o", "program", "."], cwd=folder, env=base | chosen)
    return Elf((folder / "program").read_bytes())


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Elf:
    """Return a program for x86-64."""
    return built(tmp_path_factory.mktemp("go"), "x86_64")


@needs_go
@pytest.mark.parametrize("name", TARGETS)
def test_the_target_s_settings_are_recorded_and_survive_stripping(tmp_path, name):
    whole = built(tmp_path, name)
    stripped = built(tmp_path, name, "-trimpath", "-ldflags=-s -w")
    assert not stripped.symbols
    for program in (whole, stripped):
        recorded = dict(go.build_settings(program))
        assert recorded["GOARCH"] == MACHINES[target(name).machine_arch]
        assert go.missing_settings(go.build_settings(program), target(name)) == ()
    assert dict(go.build_settings(stripped))["-trimpath"] == "true"


@needs_go
@pytest.mark.parametrize(
    ("name", "env", "words"),
    [
        ("x86_64", {}, ("GOAMD64=v3",)),
        ("x86_64", {"GOAMD64": "v2"}, ("GOAMD64=v3",)),
        ("x86_64_v2", {"GOAMD64": "v3"}, ("GOAMD64=v2",)),
        ("ppc64le", {"GOPPC64": "power8"}, ("GOPPC64=power9",)),
    ],
)
def test_another_setting_than_the_target_s_is_missing(tmp_path, name, env, words):
    assert go.missing_settings(go.build_settings(built(tmp_path, name, env=env)), target(name)) == words


def test_a_program_without_settings_lacks_every_one():
    for each in SITE.targets:
        assert go.missing_settings((), each) == tuple(f"{key}={value}" for key, value in each.flags.go.items())


@needs_go
def test_version_and_settings_are_what_go_itself_reads(tmp_path):
    program = built(tmp_path, "x86_64", "-trimpath", "-ldflags=-s -w -X main.x=y")
    lines = run(["go", "version", "-m", "program"], cwd=tmp_path).output.splitlines()
    info = go.build_info(program)
    assert info is not None
    assert lines[0] == f"program: {info.version}"
    # go quotes a value with blanks.
    theirs = [
        tuple(line.strip().split("\t")[1].replace('"', "").split("=", 1)) for line in lines if "\tbuild\t" in line
    ]
    assert list(info.settings) == theirs


@needs_go
def test_settings_are_read_without_section_headers(program):
    data = bytearray(program.data)
    data[40:48] = bytes(8)  # e_shoff
    data[60:64] = bytes(4)  # e_shnum, e_shstrndx
    assert Elf(data).sections == ()
    assert go.build_settings(Elf(data)) == go.build_settings(program)


@needs_go
@pytest.mark.parametrize("name", TARGETS)
def test_functions_are_those_of_the_symbol_table_and_survive_stripping(tmp_path, name):
    whole = built(tmp_path, name)
    found = go.functions(whole)
    # Symbols of assembler functions end with the name of their calling convention.
    symbols = {(s.name.removesuffix(".abi0"), s.address) for s in whole.symbols if s.type == STT_FUNC and s.size}
    ours = {(f.name, f.address) for f in found}
    assert {"main.main", "main.twice", "runtime.mallocgc"} <= {function.name for function in found}
    assert all(name in ("go:buildid", "go.buildid", "runtime.etext") or "..eq." in name for name, _ in symbols - ours)
    assert all(f.size >= 0 and f.section == ".text" for f in found)
    assert [f.address for f in found] == sorted(f.address for f in found)
    stripped = {f.name for f in go.functions(built(tmp_path, name, "-ldflags=-s -w"))}
    assert len(stripped & {f.name for f in found}) > 0.95 * len(found)


@needs_go
@pytest.mark.parametrize("options", [(), ("-ldflags=-s",)])
def test_functions_of_a_position_independent_program_are_found(tmp_path, options):
    found = {f.name: f for f in go.functions(built(tmp_path, "x86_64", "-buildmode=pie", *options))}
    whole = built(tmp_path, "x86_64", "-buildmode=pie")
    (address,) = {s.address for s in whole.symbols if s.name == "main.twice"}
    assert found["main.twice"].address == address or options


@needs_go
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("options", [(), ("-buildmode=pie",)])
def test_parts_of_a_program_with_go_and_c_are_judged_separately(tmp_path, options):
    flags = " ".join(["-O2", "-g", *target("x86_64").flags.compiler])
    program = built(tmp_path, "x86_64", *options, source=CGO, cgo="1", env={"CGO_CFLAGS": flags, "GOAMD64": "v3"})
    units = read_units(program)
    # Go makes gcc record no flags, whatever CGO_CFLAGS has, so such C is judged by its code.
    verdicts = Counter(
        v.reason or v.outcome
        for v in (judge_unit(unit, target("x86_64").flags.compiler, beside_go=True) for unit in units)
    )
    assert set(verdicts) == {"language-go", "language-assembler", "cgo"}
    assert any(unit.name == "main.cgo2.c" for unit in units)
    (check,) = (c for c in declared("x86_64", units) if c.reason == "cgo")
    assert check.detail == f"{verdicts['cgo']} compile units"
    table = UnitTable(units)
    addresses = {s.name: s.address for s in program.symbols}
    half = next(
        address for name, address in addresses.items() if name.endswith("_Cfunc_half") and name.startswith("_cgo")
    )
    assert table.at(half).language == ""
    assert table.at(addresses["main.main"]).language == "go"
    go_functions = {f.name: f.address for f in go.functions(program)}
    assert go_functions["main.main"] == addresses["main.main"]
    assert half not in go_functions.values()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_other_programs_have_neither(good_program):
    elf = Elf(good_program[0].read_bytes())
    assert (go.build_info(elf), go.build_settings(elf), go.functions(elf)) == (None, (), ())


# ----------------------------------------------------------------- formats that the go of this host no longer writes


MODULES = b"0" * 16 + b"path\tx\nbuild\tGOAMD64=v2\nbuild\tCGO_ENABLED=1\n" + b"1" * 16


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_format_of_pointers_is_read(order):
    """Go 1.13 to 1.17: the header points at Go strings, which are pointers and lengths."""
    texts = b"go1.17.1".ljust(16, b"\0") + MODULES
    strings = struct.pack(order + "QQQQ", 0x2040, 8, 0x2050, len(MODULES))
    blob = b"\xff Go buildinf:" + bytes([8, order == ">"]) + struct.pack(order + "QQ", 0x2020, 0x2030)
    elf = elf_file((".go.buildinfo", 3, 0x2000, blob + strings + texts), order=order)
    info = go.build_info(elf)
    assert info == go.BuildInfo("go1.17.1", (("GOAMD64", "v2"), ("CGO_ENABLED", "1")))


def table(magic: int, order: str, names: bytes = b"main.main\0main.twice\0", text: int = 0x1000) -> bytes:
    """Return a function table with two functions of 32 bytes each."""
    old = magic == 0xFFFFFFFA
    cell, size = ("Q", 8) if old else ("I", 4)
    base = text if old else 0
    head_size = 8 + 8 * (7 if old else 8)
    functions_at = head_size + len(names)
    record = 5 * size  # behind the cells
    cells = struct.pack(order + cell * 5, base, record, base + 32, record + size + 4, base + 64)
    records = b"".join(
        struct.pack(order + cell + "i", base + 32 * index, names.index(name))
        for index, name in ((0, b"main.main"), (1, b"main.twice"))
    )
    words = [2, 1, *([] if old else [text]), head_size, 0, 0, 0, functions_at]
    return (
        struct.pack(order + "IBBBB", magic, 0, 0, 1, 8)
        + struct.pack(order + "Q" * len(words), *words)
        + names
        + cells
        + records
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xFFFFFFFA, 0xFFFFFFF0, 0xFFFFFFF1], ids=["1.16", "1.18", "1.20"])
def test_every_edition_of_the_function_table_is_read(magic, order):
    elf = elf_file((".text", 6, 0x1000, bytes(64)), (".gopclntab", 2, 0x3000, table(magic, order)), order=order)
    assert [(f.name, f.address, f.size, f.section) for f in go.functions(elf)] == [
        ("main.main", 0x1000, 32, ".text"), ("main.twice", 0x1020, 32, ".text")
    ]  # fmt: skip


def test_since_go_1_26_the_module_says_where_the_code_begins():
    bare = table(0xFFFFFFF1, "<", text=0)
    code = (".text", 6, 0x1000, bytes(64))
    module = (".go.module", 3, 0x4000, struct.pack("<23Q", *[0] * 22, 0x1000))
    assert [f.address for f in go.functions(elf_file(code, (".gopclntab", 2, 0x3000, bare), module))] == [
        0x1000,
        0x1020,
    ]
    assert go.functions(elf_file(code, (".gopclntab", 2, 0x3000, bare))) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:8] + struct.pack("<Q", 1 << 60) + data[16:], "too small for"),
        (lambda data: data[:24] + struct.pack("<Q", 0x9000) + data[32:], "which is no code"),
        (lambda data: data[:-4] + struct.pack("<i", 1 << 20), "a name is outside"),
        (lambda data: data[:-4] + struct.pack("<i", -1), "a name is outside"),
        (lambda data: data[:-8], "ends too early"),
        (lambda data: data[:20], "ends too early"),
    ],
)
def test_a_damaged_function_table_is_refused(change, words):
    data = change(table(0xFFFFFFF1, "<"))
    with pytest.raises(MalformedError, match=words):
        go.functions(elf_file((".text", 6, 0x1000, bytes(64)), (".gopclntab", 2, 0x3000, data)))


def test_names_that_overlap_do_not_fill_the_memory():
    count = 4000
    names = b"n" * 60_000 + b"\0"
    cells = b"".join(struct.pack("<II", index, 8 * count + 4) for index in range(count)) + struct.pack("<I", count)
    data = struct.pack("<IBBBB8Q", 0xFFFFFFF1, 0, 0, 1, 8, count, 1, 0x1000, 72, 0, 0, 0, 72 + len(names))
    elf = elf_file((".text", 6, 0x1000, bytes(count)), (".gopclntab", 2, 0x3000, data + names + cells + bytes(8)))
    with pytest.raises(MalformedError, match="names overlap"):
        go.functions(elf)


@pytest.mark.parametrize(
    "blob",
    [
        b"\xff Go buildinf:",
        b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\x7fgo1.20",
        b"\xff Go buildinf:\x05\x00" + bytes(16),
        b"\xff Go buildinf:\x08\x00" + struct.pack("<QQ", 0x999999, 0x999999),
        b"\xff Go buildinf:\x08\x00" + struct.pack("<QQQQ", 0x2020, 0x2020, 0x2000, 1 << 40),
    ],
)
def test_damaged_build_information_is_refused(blob):
    with pytest.raises(MalformedError, match="damaged Go build information"):
        go.build_info(elf_file((".go.buildinfo", 3, 0x2000, blob)))


@given(st.data())
def test_a_table_with_any_bytes_changed_is_read_or_refused(data):
    whole = bytearray(table(data.draw(st.sampled_from([0xFFFFFFFA, 0xFFFFFFF0, 0xFFFFFFF1])), "<"))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    blob = bytearray(b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\x06go1.20" + bytes([len(MODULES)]) + MODULES)
    blob[data.draw(st.integers(14, len(blob) - 1))] = data.draw(st.integers(0, 255))
    elf = elf_file(
        (".text", 6, 0x1000, bytes(64)), (".gopclntab", 2, 0x3000, whole), (".go.buildinfo", 3, 0x2000, blob)
    )
    with contextlib.suppress(MalformedError):
        assert len(go.functions(elf)) <= 2
    with contextlib.suppress(MalformedError):
        go.build_info(elf)
