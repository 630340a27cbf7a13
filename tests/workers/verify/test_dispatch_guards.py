"""Run-time dispatch on x86: guards, functions that only allowed code reaches, kernel code and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.verify.compilers import tool
from tests.workers.verify.dispatching import (
    ASKS,
    AVX2,
    NOINLINE,
    OPTIONS,
    assembled,
    explained,
    program,
    reasons,
    stripped,
)
from workers.base.run import run

# ------------------------------------------------------------------------------------------------- guards and reach


def test_function_that_tests_the_stored_answer_is_allowed(tmp_path: Path) -> None:
    body = (
        f"{NOINLINE} void work(void) {{ if (flags & 32) {{ {AVX2} }} }} int main(void) {{ ask(); work(); return 0; }}"
    )
    assert "where ask stores the answer of CPUID" in reasons(program(tmp_path, ASKS + body))["work"]
    wrong = body.replace("flags & 32", "wrong & 32")
    assert reasons(program(tmp_path, f"{ASKS} volatile unsigned wrong; {wrong}"))["work"] == ""


def test_guard_must_come_before_the_instruction(tmp_path: Path) -> None:
    ask = "unsigned a, b, c, d; __cpuid_count(7, 0, a, b, c, d);"
    after = f"{NOINLINE} int work(void) {{ {ask} if (b & 32) {{ {AVX2} return 1; }} return 0; }}"
    before = f"{NOINLINE} int work(void) {{ {AVX2} {ask} return b & 32 ? 1 : 0; }}"
    head, tail = "#include <cpuid.h>\n", "int main(void) { return work(); }"
    assert reasons(program(tmp_path, head + after + tail))["work"].startswith("guard: tests the processor at 0x")
    assert reasons(program(tmp_path, head + before + tail))["work"] == ""


def test_guard_explains_what_the_name_does_not(tmp_path: Path) -> None:
    inner = '__asm__ volatile("vpxorq %zmm2, %zmm1, %zmm2");'
    source = f"""{ASKS}
    {NOINLINE} void work_avx2(void) {{ {AVX2} if (flags & 65536) {{ {inner} }} }}
    int main(void) {{ ask(); work_avx2(); return 0; }}"""
    found = reasons(program(tmp_path, source))["work_avx2"]
    assert found.startswith("guard: tests flags")
    assert found.endswith("; the name contains avx2")
    assert reasons(program(tmp_path, source.replace("flags & 65536", "1")))["work_avx2"] == ""


def test_code_behind_both_sides_of_a_test_is_not_guarded(tmp_path: Path) -> None:
    source = f"""{ASKS}
    volatile int count;
    {NOINLINE} void work(void) {{ if (flags & 32) count++; {AVX2} count++; }}
    int main(void) {{ ask(); work(); return 0; }}"""
    assert reasons(program(tmp_path, source))["work"] == ""


def test_either_of_two_tests_may_guard_the_code(tmp_path: Path) -> None:
    source = f"""{ASKS}
    volatile int count;
    {NOINLINE} void work(void) {{ if (flags & 32 || (flags & 65536 && flags & 8)) {{ {AVX2} }} count++; }}
    int main(void) {{ ask(); work(); return 0; }}"""
    assert reasons(program(tmp_path, source))["work"].startswith("guard: tests flags")


def test_pointer_that_a_guard_chooses_is_allowed(tmp_path: Path) -> None:
    source = f"""{ASKS}
    static void plain(void) {{}}
    static void fast(void) {{ {AVX2} }}
    void (*volatile chosen)(void);
    {NOINLINE} void choose(void) {{ chosen = flags & 32 ? fast : plain; }}
    int main(void) {{ ask(); choose(); chosen(); return 0; }}"""
    assert reasons(program(tmp_path, source))["fast"].startswith("reached: only from choose")
    always = source.replace("flags & 32 ? fast : plain", "fast")
    assert reasons(program(tmp_path, always))["fast"] == ""


def test_helpers_that_only_allowed_code_reaches_are_allowed(tmp_path: Path) -> None:
    source = f"""
    {NOINLINE} static void deep(void) {{ {AVX2} }}
    {NOINLINE} static void helper(void) {{ __asm__ volatile(""); deep(); __asm__ volatile(""); }}
    {NOINLINE} void work_avx2(void) {{ {AVX2} helper(); __asm__ volatile(""); }}
    int main(void) {{ work_avx2(); return 0; }}"""
    assert reasons(program(tmp_path, source))["deep"] == "reached: only from helper"
    leak = source.replace("return 0", "helper(); return 0")
    assert reasons(program(tmp_path, leak))["deep"] == ""


def test_exported_function_may_be_called_from_other_files(tmp_path: Path) -> None:
    source = f"{NOINLINE} void deep(void) {{ {AVX2} }} {NOINLINE} void work_avx2(void) {{ {AVX2} deep(); }}"
    options = [*OPTIONS, "-fPIC", "-fno-semantic-interposition"]
    path = program(tmp_path, source, options, ["-shared"])
    assert reasons(path) == {"deep": "", "work_avx2": "name: it contains avx2"}
    hidden = program(
        tmp_path,
        source.replace("void deep", 'void __attribute__((visibility("hidden"))) deep', 1),
        options,
        ["-shared"],
    )
    assert reasons(hidden)["deep"] == "reached: only from work_avx2"


def test_rdssp_guards_shadow_stack_instructions(tmp_path: Path) -> None:
    use = '__asm__ volatile("incsspq %0" :: "r"(1L));'
    ask = 'long s = 0; __asm__ volatile("rdsspq %0" : "+r"(s));'
    tail = "int main(void) { return work(); }"
    asked = f"{NOINLINE} int work(void) {{ {ask} if (s) {{ {use} }} return 0; }} {tail}"
    assert reasons(program(tmp_path, asked, [*OPTIONS, "-fcf-protection=none"]))["work"].startswith(
        "guard: RDSSP shows"
    )
    assert reasons(program(tmp_path, f"{NOINLINE} int work(void) {{ {use} return 0; }} {tail}"))["work"] == ""


# ------------------------------------------------------------------------------------------------- kernel and tables

MODULE = """
    .section .modinfo,"a"
    .asciz "license=GPL"
    .text
    .globl vmx_on
    .type vmx_on,@function
vmx_on: vmxon (%rdi)
    ret
    .size vmx_on,.-vmx_on
    .globl leak
    .type leak,@function
leak: vpaddd %ymm1,%ymm2,%ymm3
    ret
    .size leak,.-leak
    .section .altinstr_replacement,"ax"
    clac
    vpaddd %ymm1,%ymm2,%ymm3
"""


def test_kernel_code_has_alternatives_and_privileged_instructions(tmp_path: Path) -> None:
    found = {
        above.function.name or above.function.section: above.dispatch
        for above in explained(assembled(tmp_path, MODULE))
    }
    assert found["vmx_on"].startswith("kernel: privileged")
    assert found[".altinstr_replacement"].startswith("kernel: .altinstr_replacement")
    assert found["leak"] == ""


def test_privileged_instructions_are_no_reason_outside_the_kernel(tmp_path: Path) -> None:
    found = reasons(assembled(tmp_path, MODULE.replace(".modinfo", ".comment2")))
    assert found["vmx_on"] == ""


TABLE = """
    .text
    .globl main
    .type main,@function
main: .cfi_startproc
    CALL
    lea table(%rip),%rax
    xor %eax,%eax
    ret
    .cfi_endproc
    .size main,.-main
    .p2align 4
table: .byte 0xc5,0xed,0xfe,0xd9,0x06,0x06,0xc3
    .p2align 4
    .globl last
    .type last,@function
last: .cfi_startproc
    ret
    .cfi_endproc
    .size last,.-last
"""


@pytest.mark.parametrize(("call", "allowed"), [("nop", True), ("call table", False)])
def test_a_table_between_functions_is_no_code_unless_something_calls_it(
    tmp_path: Path, call: str, allowed: bool
) -> None:
    path = assembled(tmp_path, TABLE.replace("CALL", call))
    run([tool("x86_64_v2", "gcc"), "-o", "program", path.name], cwd=tmp_path)
    (found,) = (above.dispatch for above in explained(stripped(tmp_path / "program")) if above.features == ("AVX2",))
    assert found.startswith("data: ") == allowed
