"""Sources of programs with known properties, and the result of ``kitten verify`` on them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from workers.base.errors import CheckFailed
from workers.results import Check, VerifyResult
from workers.verify.cli import verify

# walk and twice make a frame on every target: they call through a pointer, and need a value after the call.
WALK = """
extern int (*hook)(int);
__attribute__((noinline)) int twice(int value) { return hook(value) + hook(value + 1); }
__attribute__((noinline)) int walk(int count) { int sum = 0; while (count > 0) sum += twice(count--); return sum; }
"""
MAIN = """
int walk(int);
static int plus(int value) { return value + 3; }
int (*hook)(int) = plus;
int main(int count, char **words) { (void)words; return walk(count); }
"""
# A loop that adds bytes or words may become vector code; inline assembler is certain.
ABOVE = {
    "x86_64": ('asm volatile("vpaddd %zmm0, %zmm1, %zmm2");', "AVX512F"),
    "x86_64_v2": ('asm volatile("vpaddd %ymm0, %ymm1, %ymm2");', "AVX2"),
    "aarch64": ('asm volatile(".arch_extension lse\\n ldadd w0, w1, [x2]");', "lse"),
    "ppc64le": ('asm volatile(".machine power10\\n brh 3, 4");', "power10"),
    "s390x": ('asm volatile(".machine z15\\n selgrh %r1, %r2, %r3");', "z15"),
}
SOURCES = {"main.c": MAIN, "walk.c": WALK}


def proven(tmp_path: Path, name: str, *paths: object) -> VerifyResult:
    """Run the command once, without its cache, and return the result."""
    out = tmp_path / "result.json"
    words = [
        "--target",
        name,
        "--site",
        "demo",
        "--state",
        str(tmp_path / "state"),
        "--json",
        str(out),
        "--jobs",
        "1",
        "--fresh",
    ]
    done = CliRunner().invoke(verify, [*words, *map(str, paths)])
    result = VerifyResult.read(out.read_text())
    assert (done.exception is None) if result.outcome == "passed" else isinstance(done.exception, CheckFailed), (
        done.output
    )
    return result


def broken(result: VerifyResult) -> dict[str, Check]:
    return {check.rule: check for check in result.checks if check.outcome == "failed"}


def functions(check: Check) -> set[str]:
    return {place.function for place in check.places}


def reasons(result: VerifyResult, rule: str) -> set[str]:
    return {check.reason for check in result.checks if check.rule == rule and check.outcome == "skipped"}
