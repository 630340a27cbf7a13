"""Programs with run-time dispatch, Go and Rust programs, and the verdicts of ``kitten verify`` on them."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.workers.verify.compilers import TARGETS, compiled, target
from tests.workers.verify.proving import ABOVE, broken, functions, proven, reasons
from workers.base.run import run
from workers.results import Check

pytestmark = pytest.mark.slow


CHOICE = {
    "x86_64": ('target_clones("arch=x86-64-v4", "default")', "long"),
    "x86_64_v2": ('target_clones("avx2", "default")', "long"),
    "ppc64le": ('target_clones("cpu=power10", "default")', "unsigned short"),
}
LOOP = """
__attribute__((ATTRIBUTE, noinline, optimize("O3")))
long total(const TYPE *v, int n) { long s = 0; for (int i = 0; i < n; i++) s += VALUE; return s; }
static TYPE v[512];
int main(int c, char **w) { v[c] = !w; return (int)total(v, 512); }
"""


@pytest.mark.parametrize("name", CHOICE)
def test_clones_that_the_compiler_dispatches_are_allowed(tmp_path, name):
    attribute, kind = CHOICE[name]
    # POWER10 swaps the bytes of a halfword in one instruction; the other targets add in wider vectors.
    value = "__builtin_bswap16(v[i])" if kind == "unsigned short" else "v[i]"
    text = LOOP.replace("ATTRIBUTE", attribute).replace("TYPE", kind).replace("VALUE", value)
    result = proven(tmp_path, name, compiled(name, tmp_path / "c", {"main.c": text}))
    assert broken(result) == {}
    assert result.files[0].dispatched >= 1


@pytest.mark.parametrize("name", TARGETS)
def test_choice_of_a_resolver_is_allowed_and_a_direct_call_is_not(tmp_path, name):
    statement, _ = ABOVE[name]
    text = f"""
extern int wanted;
static void plain(void) {{ asm volatile(""); }}
static void quick(void) {{ {statement} }}
static void (*choose(void))(void) {{ return wanted ? quick : plain; }}
void work(void) __attribute__((ifunc("choose")));
int wanted;
int main(void) {{ work(); return 0; }}
"""
    allowed = compiled(name, tmp_path / "a", {"main.c": text})
    result = proven(tmp_path, name, allowed)
    assert broken(result) == {}
    assert result.files[0].dispatched == 1
    outright = compiled(name, tmp_path / "b", {"main.c": text.replace("work(); return", "quick(); return")})
    assert functions(broken(proven(tmp_path, name, outright))["isa-level"]) <= {"quick", "main"}


def test_function_with_a_target_attribute_is_allowed_only_behind_a_test(tmp_path):
    text = """
__attribute__((target("avx2"), noinline))
void fast(int *v) { asm volatile("vpaddd %%ymm0, %%ymm1, %%ymm2" : : "r"(v)); }
int main(int c, char **w) { int v[8] = {c, !w}; QUESTION fast(v); return v[1]; }
"""
    for question, rules in (("", {"isa-level"}), ('if (__builtin_cpu_supports("avx2"))', set())):
        program = compiled("x86_64_v2", tmp_path / str(len(question)), {"main.c": text.replace("QUESTION", question)})
        assert set(broken(proven(tmp_path, "x86_64_v2", program))) == rules


GO = "package main\n\n//go:noinline\nfunc twice(v int) int { return v + v }\n\nfunc main() { println(twice(21)) }\n"
GO_ARCHITECTURES = {"x86_64": "amd64", "x86_64_v2": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}


@pytest.mark.parametrize("flags", ["", "-s -w"], ids=["whole", "stripped"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_go_program_is_judged_by_go_s_own_rules(tmp_path, name, flags):
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    (tmp_path / "main.go").write_text(GO)
    settings = {
        "GOARCH": GO_ARCHITECTURES[name],
        "CGO_ENABLED": "0",
        "GOFLAGS": "",
        "GO111MODULE": "off",
        **target(name).flags.go,
    }
    link = f"-ldflags={flags} -B 0x0123456789abcdef"
    for part, more in (("good", {}), ("bad", dict.fromkeys(target(name).flags.go, ""))):
        run(["go", "build", link, "-o", part, "main.go"], cwd=tmp_path, env={**os.environ, **settings, **more})
    good = proven(tmp_path, name, tmp_path / "good")
    assert set(broken(good)) <= {"pie", "relro"}
    assert good.files[0].functions > 900
    if target(name).flags.go:
        assert "go-settings" in broken(proven(tmp_path, name, tmp_path / "bad"))


RUST = """
#[inline(never)]
pub fn twice(v: &[u64]) -> u64 { v.iter().map(|x| x * 3).sum() }
fn main() { println!("{}", twice(&[1, 2])); }
"""


@pytest.mark.parametrize("name", ["x86_64", "x86_64_v2"])
def test_rust_program_is_judged_by_its_code(tmp_path, name):
    if shutil.which("rustc") is None:
        pytest.skip("rustc is not installed")
    (tmp_path / "main.rs").write_text(RUST)
    common = ["rustc", "-g", "-O", "-Clink-arg=-Wl,-z,relro,-z,now,--build-id"]
    (tmp_path / "avx.rs").write_text(
        RUST.replace("fn main() {", 'fn main() { unsafe { std::arch::asm!("vpaddd zmm0, zmm1, zmm2"); }')
    )
    run([*common, *target(name).flags.rust, "-o", "good", "main.rs"], cwd=tmp_path)
    run([*common, "-Cforce-frame-pointers=no", "-o", "bad", "main.rs"], cwd=tmp_path)
    run([*common, *target(name).flags.rust, "-o", "above", "avx.rs"], cwd=tmp_path)
    own = {part: proven(tmp_path, name, tmp_path / part) for part in ("good", "bad", "above")}
    assert "language-rust" in reasons(own["good"], "producer")
    # rustc's precompiled library may lack frame pointers; only the code that is compiled here is checked.
    assert not any(
        "main::" in symbol or "twice" in symbol for symbol in functions(broken(own["good"]).get("frame-pointers", NONE))
    )
    assert own["good"].files[0].framed > own["bad"].files[0].framed
    assert any("main" in place.function for place in broken(own["above"])["isa-level"].places)


NONE = Check(rule="none", file="", outcome="passed")
