"""Scan code of aarch64, ppc64le and s390x for instructions above a level."""

from __future__ import annotations

from pathlib import Path

from tests.workers.verify.compilers import target, tool
from workers.base.run import run
from workers.formats.elf import Elf
from workers.verify.functions import FunctionTable
from workers.verify.isa import binutils
from workers.verify.isa.levels import LEVELS

OTHERS = ["aarch64", "ppc64le", "s390x"]

PROGRAM = """
#include <stdio.h>
#include <string.h>
#include <stdatomic.h>
static _Atomic long counter;
double scale(const double *v, int n, double by) { double s = 0; for (int i = 0; i < n; i++) s += v[i] * by; return s; }
unsigned hash(const unsigned char *p, int n) { unsigned h = 5381; while (n--) h = h * 33 ^ *p++; return h; }
int pick(int k, int x) {
    switch (k) {
    case 0: return x * 3; case 1: return x / 7; case 2: return hash((void *)&x, 4);
    case 3: return ~x; case 4: return x << 3;
    case 5: return puts("five"); case 6: return x % 11; case 7: return -x; case 8: return x & 0xff; default: return 0;
    }
}
int main(int argc, char **argv) {
    double v[64];
    for (int i = 0; i < 64; i++) v[i] = i * argc;
    counter++;
    unsigned sum = hash((void *)argv[0], strlen(argv[0]));
    printf("%f %u %d %ld\\n", scale(v, 64, 0.5), sum, pick(argc, argc), (long)counter);
}
"""


def tools_of(name: str) -> binutils.Tools:
    for program in ("objdump", "as"):
        tool(name, program)
    return binutils.tools_for(target(name).elf_machine)


def scanned(name: str, path: Path, level: str = "") -> tuple[Elf, binutils.ScanResult]:
    elf = Elf(path.read_bytes())
    starts = FunctionTable(elf).starts
    return elf, binutils.scan(elf.code, starts, LEVELS[level or target(name).isa_level], tools_of(name))


def features(result: binutils.ScanResult) -> set[str]:
    return {feature for hit in result.hits for feature in hit.features}


def made(name: str, folder: Path, source: str, *options: str, suffix: str = ".c") -> Path:
    """Compile one source to an object file."""
    (folder / f"source{suffix}").write_text(source)
    run([tool(name, "gcc"), "-O2", *options, "-c", f"source{suffix}", "-o", "object.o"], cwd=folder)
    return folder / "object.o"
