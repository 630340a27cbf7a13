"""Frame pointers: with the flags, every function keeps its own; without them, each missing one is found by name."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.models import Target
from tests.workers.verify.compilers import TARGETS, compiled, flags, target, tool
from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats.elf import Elf
from workers.formats.facts import Framing
from workers.verify.frame_pointers import START_UP_FUNCTIONS, framing

pytestmark = pytest.mark.slow

# Every shape of a frame that compilers make. The name of each function describes it.
SHAPES = """
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
int callee(int, char *);
int callback(int (*)(int));
__attribute__((cold, noinline)) void rare(int x) { printf("%d\\n", x); }
int with_cold_partition(int *p, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) {
        if (__builtin_expect(p[i] < 0, 0)) { rare(p[i]); rare(p[i] + 1); sum += callee(sum, 0); }
        sum += p[i] * sum;
    }
    return sum;
}
int shrink_wrapped(int *p) { if (!p) return 0; int s = callee(*p, 0); return s + callee(s, 0) + *p; }
void ends_in_noreturn_call(void) { abort(); }
__attribute__((noreturn)) void never_returns(int x) { printf("%d", x); exit(x); }
int with_alloca(int n) { char *b = __builtin_alloca(n); return callee(n, b) + 1; }
int with_vla(int n) { char b[n]; callee(n, b); { char c[n * 2]; callee(n, c); } return b[0]; }
int with_big_frame(int n) { char b[100000]; return callee(n, b) + 1; }
int with_realigned_stack(int n) { int b[16] __attribute__((aligned(64))); return callee(n, (char *)b) + 1; }
int with_realigned_vla(int n) {
    int b[16] __attribute__((aligned(64)));
    char c[n];
    return callee(n, (char *)b) + callee(n, c) + 1;
}
int leaf_without_stack(int x) { return x * 3; }
int leaf_with_stack(int x) { volatile int a[80]; a[x & 7] = x; return a[3]; }
int ends_in_tail_call(int x) { return callee(x, 0); }
int variadic(const char *f, ...) { va_list l; va_start(l, f); int r = vprintf(f, l); va_end(l); return r; }
struct large { long a[20]; };
struct large returns_large(struct large s) { s.a[3] = callee(1, 0); return s; }
double with_floating_point(double a, double b) { return a * b + callee(1, 0); }
"""
OTHERS = """
int callee(int a, char *b) { return b ? b[0] : a; }
int callback(int (*f)(int)) { return f(1); }
int with_cold_partition(int *, int);
int main(int count, char **words) { return with_cold_partition(&count, 1); }
"""
# Some of them, which make a frame on every target.
FRAMED = {
    "shrink_wrapped",
    "with_big_frame",
    "returns_large",
    "with_floating_point",
    "with_cold_partition",
    "never_returns",
}
OMITTING = {
    "EM_X86_64": ["-fomit-frame-pointer"],
    "EM_AARCH64": ["-fomit-frame-pointer"],
    "EM_S390": ["-fomit-frame-pointer", "-mno-backchain"],
}  # ppc64le's ABI requires the back chain: no flag of GCC omits it. Assembler can omit it: see below.
OMITTING_TARGETS = [name for name in TARGETS if target(name).elf_machine in OMITTING]
OPTIMISATIONS = ["-O0", "-O1", "-O3", "-Os", "-O2 -fstack-clash-protection -fstack-protector-strong"]
NO_TABLES = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]

# For each machine, in assembler: a function that makes a frame without frame pointer or back chain, one that keeps the
# frame walkable, and one that makes no frame. The first one has CFI for its frame.
PROLOGUES = {
    "EM_X86_64": (
        "sub $40, %rsp; {cfi} 48; call other; add $40, %rsp; {cfi} 8; ret",
        "push %rbp; mov %rsp, %rbp; call other; pop %rbp; ret",
        "lea 1(%rdi), %eax; ret",
    ),
    "EM_AARCH64": (
        "sub sp, sp, #64; {cfi} 64; str x30, [sp]; bl other; ldr x30, [sp]; add sp, sp, #64; {cfi} 0; ret",
        "stp x29, x30, [sp, #-16]!; mov x29, sp; bl other; ldp x29, x30, [sp], #16; ret",
        "add w0, w0, #1; ret",
    ),
    "EM_PPC64": (
        "mflr 0; std 0, 16(1); addi 1, 1, -64; {cfi} 64; bl other; addi 1, 1, 64; {cfi} 0; ld 0, 16(1); mtlr 0; blr",
        "mflr 0; std 0, 16(1); stdu 1, -64(1); bl other; addi 1, 1, 64; ld 0, 16(1); mtlr 0; blr",
        "addi 3, 3, 1; blr",
    ),
    "EM_S390": (
        "stmg %r14, %r15, 112(%r15); aghi %r15, -160; {cfi} 320; brasl %r14, other; "
        "lmg %r14, %r15, 272(%r15); {cfi} 160; br %r14",
        "stmg %r14, %r15, 112(%r15); lgr %r1, %r15; aghi %r15, -160; stg %r1, 0(%r15); brasl %r14, other; "
        "lmg %r14, %r15, 272(%r15); br %r14",
        "aghi %r2, 1; br %r14",
    ),
}  # fmt: skip


def without(name: str) -> list[str]:
    of: Target = target(name)
    return ["-O2", *of.flags.isa, *OMITTING[of.elf_machine]]


def seen(path: Path, debug: Path | None = None) -> Framing:
    found, table = framing(Elf(path.read_bytes()), Elf(debug.read_bytes()) if debug else None)
    assert not found.functions or found.functions == found.framed + found.leaf + len(found.unframed)
    assert {table.at(unframed.function.address) for unframed in found.unframed} == {u.function for u in found.unframed}
    return found


def names(found: Framing) -> set[str]:
    return {str(unframed.function).removesuffix(".cold") for unframed in found.unframed}


def assembled(name: str, folder: Path, body: str, *, cfi: str = "", typed: bool = True) -> Path:
    """Return a shared object with the assembler function ``written`` and the function ``other``."""
    start = [".text", ".globl written", *([".type written, %function"] if typed else []), "written:"]
    lines = [*start, *([".cfi_startproc"] if cfi else []), *body.format(cfi=cfi or "#").split("; ")]
    lines += [".cfi_endproc"] if cfi else []
    lines += [".size written, .-written"] if typed else []
    lines = [line for line in lines if not line.startswith("#")]
    sources = {
        "a.s": "\n".join([*lines, '.section .note.GNU-stack,"",%progbits', ""]),
        "b.c": "int other(void) { return 1; }",
    }
    per_file = {"a.s": target(name).flags.isa, "b.c": [*flags(name), "-fPIC"]}
    return compiled(name, folder, sources, link=["-shared", "-nostdlib", "-Wl,-Bsymbolic"], per_file=per_file)


# ------------------------------------------------------------------------------------------------ with the flags


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("optimisation", ["-O2", *OPTIMISATIONS])
def test_with_the_flags_no_function_is_unframed(name, optimisation, tmp_path):
    options = [*flags(name), *optimisation.split()]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options))
    assert found.unframed == ()
    assert found.framed >= 13
    assert found.leaf >= 2
    assert found.evidence == "cfi and code"  # crtbegin.o has no unwind tables on Debian


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("link", [["-shared"], ["-no-pie"], ["-flto"], ["-Wl,-z,now"], ["-Wl,-s"]])
def test_result_is_the_same_however_it_is_linked(name, link, tmp_path):
    options = [*flags(name), *(["-flto"] if "-flto" in link else ["-fPIC"])]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options, link=[*flags(name), *link]))
    assert found.unframed == ()
    assert found.framed >= (2 if "-flto" in link else 13)


@pytest.mark.parametrize("name", TARGETS)
def test_an_object_file_is_judged_before_it_is_linked(name, tmp_path):
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES}, link=["-r", "-nostdlib"]))
    assert (found.evidence, found.unframed) == ("cfi", ())
    assert found.framed >= 13


def test_cpp_with_exceptions(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    source = """
    #include <stdexcept>
    #include <string>
    #include <vector>
    struct guard { std::string &s; ~guard() { s += "x"; } };
    int thrower(std::string s) { guard g{s}; if (s.size() > 3) throw std::runtime_error(s); return s.size(); }
    int main(int n, char **w) { std::vector<std::string> v(w, w + n);
      try { for (auto &s : v) n += thrower(s); } catch (const std::exception &e) { return e.what()[0]; } return n; }
    """
    (tmp_path / "a.cpp").write_text(source)
    for options, unframed in ((flags("x86_64"), False), (without("x86_64"), True)):
        run(["g++", *options, "a.cpp", "-o", "program"], cwd=tmp_path)
        found = seen(tmp_path / "program")
        assert bool(found.unframed) == unframed
        assert ("main" in names(found)) == unframed


# --------------------------------------------------------------------------------------------- without the flags


@pytest.mark.parametrize("name", OMITTING_TARGETS)
@pytest.mark.parametrize("optimisation", ["-O2", "-O1", "-O3", "-Os", "-O2 -fstack-clash-protection"])
def test_without_the_flags_functions_are_found_by_name(name, optimisation, tmp_path):
    options = [*without(name), *optimisation.split()]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options))
    assert names(found) >= FRAMED
    assert "leaf_without_stack" not in names(found)
    assert not names(found) & START_UP_FUNCTIONS
    assert len({unframed.why for unframed in found.unframed}) <= 2


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ("EM_X86_64", "moves the stack pointer, and no CFA is computed from rbp"),
        ("EM_AARCH64", "moves the stack pointer and does not save x29"),
        ("EM_S390", "lowers r15 and stores no back chain at 0(%r15)"),
    ],
)
def test_reason_of_an_unframed_function_is_reported(machine, why, tmp_path):
    name = next(name for name in TARGETS if target(name).elf_machine == machine)
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, without(name)))
    assert {u.why for u in found.unframed if str(u.function) == "with_floating_point"} == {why}


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_one_object_of_many_without_the_flags_is_found_exactly(name, tmp_path):
    stray = """
    int callee(int, char *);
    int stray(int x) { char b[300]; return callee(x, b) + 1; }
    int lone(int x) { return x + 1; }
    """
    sources = {"a.c": SHAPES, "b.c": OTHERS, "stray.c": stray}
    found = seen(compiled(name, tmp_path, sources, per_file={"stray.c": without(name)}))
    assert names(found) == {"stray"}
    assert found.framed >= 13


def test_x29_saved_as_any_other_register_is_no_frame_pointer(tmp_path):
    body = (
        "stp x29, x30, [sp, #-16]!; {cfi} 16; .cfi_offset 29, -16; .cfi_offset 30, -8; mov x29, x0; bl other; "
        "add x0, x0, x29; ldp x29, x30, [sp], #16; {cfi} 0; ret"
    )
    (unframed,) = seen(assembled("aarch64", tmp_path / "1", body, cfi=".cfi_def_cfa_offset")).unframed
    assert (str(unframed.function), unframed.why) == ("written", "saves x29 and never sets it from sp")
    kept = body.replace("mov x29, x0", "mov x29, sp")
    assert seen(assembled("aarch64", tmp_path / "2", kept, cfi=".cfi_def_cfa_offset")).unframed == ()


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_lto_without_the_flags(name, tmp_path):
    options = [*without(name), "-flto"]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options, link=[*options, "-shared", "-fPIC"]))
    assert names(found) >= {"shrink_wrapped", "with_big_frame"}


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_a_stripped_file_is_judged_by_address_and_named_by_its_debug_file(name, tmp_path):
    path = compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, [*without(name), "-g"])
    whole = seen(path)
    debug = tmp_path / "debug"
    run([tool(name, "objcopy"), "--only-keep-debug", path, debug])
    run([tool(name, "strip"), path])
    stripped = seen(path)
    ours = {u.function.address for u in whole.unframed}
    assert {u.function.address for u in stripped.unframed} == ours
    assert {str(u.function) for u in stripped.unframed} & {hex(address) for address in ours}
    assert stripped.evidence == "cfi"
    assert names(seen(path, debug)) == names(whole)


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_a_static_program_brings_the_functions_of_its_libraries(name, tmp_path):
    sources = {"a.c": SHAPES, "b.c": OTHERS}
    kept = names(seen(compiled(name, tmp_path / "with", sources, link=["-static"])))
    omitted = names(seen(compiled(name, tmp_path / "without", sources, without(name), link=["-static"])))
    assert not kept & FRAMED  # the unframed functions are those of Debian's glibc, which is built without the flags
    assert omitted >= {"with_cold_partition"}
    assert not (kept | omitted) & START_UP_FUNCTIONS


def test_a_static_position_independent_program(tmp_path):
    found = seen(
        compiled("x86_64", tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, [*flags("x86_64"), "-fPIE"], link=["-static-pie"])
    )
    assert not names(found) & FRAMED
    assert not names(found) & START_UP_FUNCTIONS
    assert "__libc_setup_tls" in names(found)  # Debian's glibc


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
    with pytest.raises(MalformedError, match="holds an entry that ends outside of it"):
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
