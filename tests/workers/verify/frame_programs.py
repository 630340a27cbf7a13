"""Programs with every shape of a frame, and functions in assembler without one."""

from __future__ import annotations

from pathlib import Path

from config.models import Target
from tests.workers.verify.compilers import TARGETS, compiled, flags, target
from workers.formats.elf import Elf
from workers.formats.facts import Framing
from workers.verify.frame_pointers import framing

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
