"""Frame pointers of functions without unwind tables, in kernel modules and in assembler."""

from __future__ import annotations

import contextlib
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workers.verify.compilers import TARGETS, compiled, flags, target, tool
from tests.workers.verify.frame_programs import (
    FRAMED,
    NO_TABLES,
    OMITTING,
    OMITTING_TARGETS,
    OTHERS,
    PROLOGUES,
    SHAPES,
    assembled,
    names,
    seen,
    without,
)
from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats.elf import Elf
from workers.formats.facts import Framing
from workers.verify.frame_pointers import framing

pytestmark = pytest.mark.slow


# ----------------------------------------------------------------------------------------- without unwind tables


@pytest.mark.parametrize("name", TARGETS)
def test_without_unwind_tables_code_is_read(name, tmp_path):
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES}, [*flags(name), *NO_TABLES, "-g0"], link=["-r", "-nostdlib"]))
    assert (found.evidence, found.unframed) == ("code", ())
    assert found.framed >= 13


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_without_unwind_tables_and_flags_functions_are_found_by_name(name, tmp_path):
    options = [*without(name), *NO_TABLES]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES}, options, link=["-r", "-nostdlib"]))
    assert found.evidence == "code"
    assert names(found) >= FRAMED
    assert "leaf_without_stack" not in names(found)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("options", [[], ["-fomit-frame-pointer"]])
def test_stripped_and_without_unwind_tables_nothing_is_proven(name, options, tmp_path):
    options = [*flags(name), *options, *NO_TABLES, "-g0"]
    path = compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options, link=["-Wl,-s"])
    assert seen(path) == Framing("", 0, 0, 0)


# Targets whose crtbegin.o has no unwind tables on Debian, so a stripped program has no trace of its functions.
@pytest.mark.parametrize("name", [n for n in TARGETS if target(n).elf_machine in ("EM_X86_64", "EM_PPC64")])
def test_start_up_code_alone_proves_nothing(name, tmp_path):
    """Start-up files may have unwind tables although the program has none."""
    path = compiled(name, tmp_path, {"a.c": "int main(void) { return 0; }"}, [*flags(name), *NO_TABLES, "-g0"])
    assert seen(path).functions > 1
    run([tool(name, "strip"), path])
    assert seen(path) == Framing("", 0, 0, 0)


def test_a_go_program_is_judged_by_its_code(tmp_path):
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    (tmp_path / "main.go").write_text('package main\nimport ("fmt"; "os")\nfunc main() { fmt.Println(os.Args) }\n')
    for architecture, keeps in (("amd64", True), ("arm64", True), ("s390x", False)):
        run(
            ["env", f"GOARCH={architecture}", "CGO_ENABLED=0", "go", "build", "-o", architecture, "main.go"],
            cwd=tmp_path,
        )
        found = seen(tmp_path / architecture)
        assert found.evidence == "code"
        # Go keeps a frame pointer on two of them. On s390x, its return address takes the place of the back chain.
        assert found.framed > 1000 if keeps else found.framed == 0
        assert ("main.main" in names(found)) != keeps
    # In a stripped program, Go's function table has their addresses.
    run(["env", "GOARCH=s390x", "CGO_ENABLED=0", "go", "build", "-ldflags=-s -w", "main.go"], cwd=tmp_path)
    stripped = seen(tmp_path / "main")
    assert stripped.evidence == "code"
    assert "main.main" in names(stripped)


# ------------------------------------------------------------------------------------- kernel modules, assembler


@pytest.mark.parametrize("name", TARGETS)
def test_a_kernel_module_and_its_tracer(name, tmp_path):
    machine = target(name).elf_machine
    tracing = {"EM_X86_64": ["-pg", "-mfentry", "-fno-pic", "-mcmodel=kernel"], "EM_S390": ["-pg", "-mfentry"]}
    source = """
    int printk(const char *, int);
    int untouched(int x) { return x * 3; }
    int probed(int x) { return printk("", x) + 1; }
    __attribute__((section(".init.text"))) int init_module(void) { return printk("", 1) + 2; }
    __attribute__((section(".exit.text"))) void cleanup_module(void) { printk("", 1); printk("", 2); }
    """
    kernel = ["-O2", "-g0", "-ffreestanding", *NO_TABLES, *tracing.get(machine, [])]
    if machine in OMITTING:
        options = [*(o for o in without(name) if "-pg" not in kernel or o != "-fomit-frame-pointer"), *kernel]
        found = seen(compiled(name, tmp_path / "without", {"a.c": source}, options, link=["-r", "-nostdlib"]))
        assert {"probed", "init_module", "cleanup_module"} == names(found)
        assert {u.function.section for u in found.unframed} == {".text", ".init.text", ".exit.text"}
        assert found.leaf == 1  # the tracer's call makes no frame
    options = [*flags(name), *kernel]
    found = seen(compiled(name, tmp_path / "with", {"a.c": source}, options, link=["-r", "-nostdlib"]))
    assert (found.evidence, found.functions, found.unframed) == ("code", 4, ())
    assert found.framed >= 3


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("how", ["cfi", "code", "untyped"])
def test_assembler_that_makes_a_frame_is_found(name, how, tmp_path):
    unframed, framed, leaf = PROLOGUES[target(name).elf_machine]
    directive = ".cfi_def_cfa_offset" if how == "cfi" else ""
    found = seen(assembled(name, tmp_path / "1", unframed, cfi=directive, typed=how != "untyped"))
    assert names(found) == {"written"}
    assert (found.functions, found.evidence) == (2, "cfi" if how == "cfi" else "cfi and code")
    if how != "cfi":
        assert "(code)" in found.unframed[0].why
        for number, body in enumerate((framed, leaf)):
            found = seen(assembled(name, tmp_path / f"{number + 2}", body, typed=how != "untyped"))
            assert (found.functions, found.unframed) == (2, ())


def test_a_return_address_is_no_back_chain(tmp_path):
    """Go stores the return address at the lowest place of a frame on these two."""
    for name, body in (
        ("s390x", "aghi %r15, -160; stg %r14, 0(%r15); brasl %r14, other; lg %r14, 0(%r15); aghi %r15, 160; br %r14"),
        ("ppc64le", "mflr 31; stdu 31, -64(1); bl other; ld 31, 0(1); mtlr 31; addi 1, 1, 64; blr"),
    ):
        assert names(seen(assembled(name, tmp_path / name, body))) == {"written"}


def test_naked_function_is_judged_by_its_table(tmp_path):
    source = '__attribute__((naked)) void bare(void) { __asm__("mov $1, %eax; ret"); } int main(void) { return 0; }'
    assert seen(compiled("x86_64", tmp_path, {"a.c": source})).unframed == ()


def test_another_machine_is_not_judged(tmp_path):
    data = bytearray(compiled("x86_64", tmp_path, {"a.c": OTHERS, "b.c": SHAPES}).read_bytes())
    data[18:20] = (243).to_bytes(2, "little")  # EM_RISCV
    assert framing(Elf(data))[0] == Framing("", 0, 0, 0)


def test_damaged_table_is_reported_and_not_counted(tmp_path):
    data = bytearray(compiled("x86_64", tmp_path, {"a.c": OTHERS, "b.c": SHAPES}).read_bytes())
    section = Elf(data).section(".eh_frame")
    data[section.offset : section.offset + 4] = b"\xf0\xff\xff\x7f"
    with pytest.raises(MalformedError, match="has an entry that ends outside the section"):
        framing(Elf(data))


@pytest.mark.parametrize(
    ("name", "program"),
    [("aarch64", "stp x29, x30, [sp, #-16]!"), ("ppc64le", "nop"), ("s390x", "nopr %r0"), ("x86_64", "nop")],
)
def test_a_partition_is_judged_where_its_function_begins(name, program, tmp_path):
    """The CFA of a partition has moved before its first instruction: its function did that, and is judged for it."""
    saved = {"aarch64": ".cfi_offset 29, -16", "x86_64": ".cfi_def_cfa 6, 16"}.get(name, program)
    body = f"{{cfi}} 320; {saved}; {program}; {PROLOGUES[target(name).elf_machine][2]}"
    assert seen(assembled(name, tmp_path / "1", body, cfi=".cfi_def_cfa_offset")).unframed == ()
    if name in ("aarch64", "x86_64"):  # here the table alone shows that its function keeps no frame pointer
        found = seen(assembled(name, tmp_path / "2", body.replace(saved, program), cfi=".cfi_def_cfa_offset"))
        assert names(found) == {"written"}


def test_code_sections_that_overlap_are_refused(tmp_path):
    data = bytearray(compiled("x86_64", tmp_path, {"a.c": SHAPES, "b.c": OTHERS}).read_bytes())
    elf = Elf(data)
    table = int.from_bytes(data[40:48], "little")
    text = elf.section(".text")
    assert text is not None
    row = data[table + 64 * text.index : table + 64 * text.index + 64]
    row[32:40] = (len(data) - text.offset).to_bytes(8, "little")
    for index in range(1, len(elf.sections) - 1):
        data[table + 64 * index : table + 64 * index + 64] = row
    with pytest.raises(MalformedError, match="its code sections overlap"):
        framing(Elf(data))


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("objects")
    found = []
    for name in TARGETS:
        for number, options in enumerate(([], NO_TABLES)):
            path = compiled(
                name, folder / f"{name}-{number}", {"a.c": SHAPES}, [*flags(name), "-g0", *options], link=["-r"]
            )
            found.append(path.read_bytes())
    return found


# 500 inputs for each run of the tests. Once, a run tried 150,000.
@given(
    st.integers(0, 9),
    st.lists(
        st.tuples(st.sampled_from(["head", "tables", "body"]), st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8
    ),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_file_is_judged_or_refused(objects, number, changes):
    data = bytearray(objects[number % len(objects)])
    for part, place, value in changes:
        data[{"head": place % 64, "tables": -1 - place % 1500, "body": place % len(data)}[part]] = value
    with contextlib.suppress(MalformedError):
        found, _ = framing(Elf(data))
        assert found.functions <= len(data)
