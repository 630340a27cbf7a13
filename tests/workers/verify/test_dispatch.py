"""Run-time dispatch: ifuncs, clones and names; for each kind of evidence, a program that only seems to have it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workers.verify.compilers import compiled
from tests.workers.verify.dispatching import (
    ASKS,
    AVX2,
    NOINLINE,
    OPTIONS,
    V2,
    assembled,
    explained,
    program,
    reasons,
    stripped,
)
from workers.base.errors import MalformedError
from workers.formats.elf import Elf
from workers.formats.facts import Hit
from workers.verify.functions import FunctionTable
from workers.verify.isa import x86
from workers.verify.isa.dispatch import explain
from workers.verify.isa.levels import LEVELS
from workers.verify.isa.names import clone_of, features_named

# ------------------------------------------------------------------------------------------------------- no reason

SMUGGLED = f"""
{NOINLINE} void work(void) {{ {AVX2} }}
int main(void) {{ work(); return 0; }}
"""
SUPPORTED = f"""
{NOINLINE} static void work(void) {{ {AVX2} }}
int main(void) {{ if (__builtin_cpu_supports("avx2")) work(); return 0; }}
"""


def test_function_above_the_level_called_from_main_is_not_allowed(tmp_path: Path) -> None:
    (above,) = explained(program(tmp_path, SMUGGLED))
    assert (above.function.name, above.features, above.count, above.dispatch) == ("work", ("AVX2",), 1, "")
    assert above.hits[0].text == "vpaddd %ymm1,%ymm2,%ymm3"


def test_same_function_behind_a_test_of_the_processor_is_allowed(tmp_path: Path) -> None:
    found = reasons(program(tmp_path, SUPPORTED))
    assert found["work"].startswith("reached: only from main, which tests __cpu_model")
    del found["work"]  # the others are functions of libgcc that execute CPUID
    assert set(found.values()) == {"guard: XGETBV beside CPUID is a part of the test"}


@pytest.mark.parametrize(
    "link", [["-pie"], ["-no-pie"], ["-static", "-Wl,--eh-frame-hdr"]], ids=["pie", "fixed", "static"]
)
def test_guard_is_found_in_a_stripped_program(tmp_path: Path, link: list[str]) -> None:
    options = [*OPTIONS, "-fPIE"] if link == ["-pie"] else [*OPTIONS, "-fno-pie"]
    path = program(tmp_path, SUPPORTED, options, link)
    (work,) = (above.function.address for above in explained(path) if above.function.name == "work")
    found = {above.function.address: above.dispatch for above in explained(stripped(path))}
    assert found[work].startswith("reached: only from")


def test_second_call_without_the_test_is_a_finding(tmp_path: Path) -> None:
    source = SUPPORTED.replace("int main", f"{NOINLINE} void other(void) {{ work(); }}\nint main").replace(
        "return 0", "other(); return 0"
    )
    assert reasons(program(tmp_path, source))["work"] == ""


def test_a_test_of_some_other_word_is_no_guard(tmp_path: Path) -> None:
    source = SUPPORTED.replace('__builtin_cpu_supports("avx2")', "verbose").replace(
        "int main", "volatile int verbose;\nint main"
    )
    assert reasons(program(tmp_path, source))["work"] == ""


# ------------------------------------------------------------------------------------------------ ifunc and clones

IFUNC = f"""
static int plain(void) {{ return 1; }}
static int fast(void) {{ {AVX2} return 2; }}
static int other(void) {{ {AVX2} return 3; }}
static int (*choose(void))(void) {{ __builtin_cpu_init(); return __builtin_cpu_supports("avx2") ? fast : plain; }}
int work(void) __attribute__((ifunc("choose")));
int (*volatile pointer)(void) = other;
int main(void) {{ return work() + pointer(); }}
"""
CLONES = """
__attribute__((target_clones("avx2", "default"), optimize("O3")))
int total(const int *x, int n) { int s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }
int main(int c, char **v) { (void)v; int x[64] = {c}; return total(x, 64); }
"""


@pytest.mark.parametrize(
    "link", [["-pie"], ["-no-pie"], ["-static", "-Wl,--eh-frame-hdr"]], ids=["pie", "fixed", "static"]
)
@pytest.mark.parametrize("strip", [False, True], ids=["symbols", "stripped"])
def test_choice_of_a_resolver_is_allowed_and_target_of_a_pointer_is_not(
    tmp_path: Path, link: list[str], strip: bool
) -> None:
    options = [*OPTIONS, "-fPIE"] if link == ["-pie"] else [*OPTIONS, "-fno-pie"]
    path = program(tmp_path, IFUNC, options, link)
    at = {above.function.name: above.function.address for above in explained(path)}
    found = {above.function.address: above.dispatch for above in explained(stripped(path) if strip else path)}
    assert found[at["fast"]].startswith("ifunc: the resolver ")
    assert found[at["other"]] == ""


def test_a_resolver_that_can_only_choose_above_the_level_chooses_nothing(tmp_path: Path) -> None:
    source = IFUNC.replace("{ return 1; }", f"{{ {AVX2} return 1; }}")
    found = reasons(program(tmp_path, source))
    assert (found["fast"], found["plain"]) == ("", "")


@pytest.mark.parametrize("strip", [False, True], ids=["symbols", "stripped"])
def test_clones_for_a_target_are_allowed(tmp_path: Path, strip: bool) -> None:
    path = program(tmp_path, CLONES)
    found = explained(stripped(path) if strip else path)
    clones = [above for above in found if "AVX2" in above.features]
    assert clones
    assert all(above.dispatch.startswith("ifunc: the resolver") for above in clones)


def test_the_default_clone_of_a_file_built_too_high_is_a_finding(tmp_path: Path) -> None:
    found = reasons(program(tmp_path, CLONES, ["-O2", "-march=x86-64-v3"]))
    assert found["total.default.1" if "total.default.1" in found else "total.default"] == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("total.avx2", "avx2"), ("total.avx2.0", "avx2"), ("total.arch_haswell.1", "haswell"),
        ("total.arch_x86_64_v3", "x86_64_v3"), ("f.avx2.part.0", "avx2"), ("f.avx2.constprop.0.cold", "avx2"),
        ("f.cpu_power10", "cpu_power10"), ("total", ""), ("total.part.0", ""), ("total.cold", ""), ("avx2", ""),
        (".avx2", ""), ("total.resolver", ""), ("f.default", ""),
    ],
)  # fmt: skip
def test_suffix_names_the_feature_of_a_clone(name: str, expected: str) -> None:
    assert clone_of(name) == expected


# ----------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("memcpy_avx2", "AVX2", "AVX512F"), ("avx2_sum", "BMI2", "AES"), ("sum_avx512bw", "AVX512BW", "AES"),
        ("HUF_decompress_bmi2", "BMI2", "AVX"), ("_ZN4simd4avx23sumEv", "AVX2", "AVX512F"),
        ("dgemm_HASWELL", "FMA", "AVX512F"),
        ("x86_64_v3_sum", "AVX2", "AVX512F"), ("sha256_ni_transform", "", "SHA"), ("sha_ni_transform", "SHA", "AVX"),
        ("foo_ssse3", "SSSE3", "AVX"), ("favx2x", "", "AVX2"), ("protocol_v3", "", "AVX2"), ("zenith", "", "AVX2"),
        ("_ZN5avx2x3sumEv", "", "AVX2"), ("sgemm_SKYLAKEX", "AVX512F", "AVX512_4FMAPS"),
        ("f_znver2", "AVX2", "AVX512F"),
    ],
)  # fmt: skip
def test_name_covers_certain_features(name: str, has: str, lacks: str) -> None:
    features, words = features_named(name)
    assert bool(words) == bool(has)
    assert not has or has in features
    assert lacks not in features


def test_name_with_the_feature_is_a_reason(tmp_path: Path) -> None:
    assert reasons(program(tmp_path, SMUGGLED.replace("work", "work_avx2")))["work_avx2"] == "name: it contains avx2"


def test_name_that_covers_less_than_the_function_uses_is_no_reason(tmp_path: Path) -> None:
    source = SMUGGLED.replace("work", "work_avx2").replace(
        AVX2, AVX2 + '__asm__ volatile("vpxorq %zmm2, %zmm1, %zmm2");'
    )
    assert reasons(program(tmp_path, source))["work_avx2"] == ""


def test_initialiser_is_never_allowed_whatever_its_name(tmp_path: Path) -> None:
    source = f"__attribute__((constructor)) static void init_avx2(void) {{ {AVX2} }} int main(void) {{ return 0; }}"
    assert reasons(program(tmp_path, source))["init_avx2"] == ""


def test_main_is_never_allowed_even_behind_its_own_test(tmp_path: Path) -> None:
    source = f'int main(void) {{ if (__builtin_cpu_supports("avx2")) {AVX2} return 0; }}'
    assert reasons(program(tmp_path, source))["main"] == ""
    assert [above.dispatch for above in explained(stripped(program(tmp_path, source))) if "AVX2" in above.features] == [
        ""
    ]


def test_in_a_program_built_too_high_names_explain_nothing(tmp_path: Path) -> None:
    many = "".join(f"{NOINLINE} void f{i}(void) {{ {AVX2} }}\n" for i in range(8))
    calls = "".join(f"f{i}();" for i in range(8))
    source = f"{many}{NOINLINE} void g_avx2(void) {{ {AVX2} }} int main(void) {{ {calls} g_avx2(); return 0; }}"
    assert set(reasons(program(tmp_path, source)).values()) == {""}


# ----------------------------------------------------------------------------------------------- other architectures

FOREIGN = """
__attribute__((noinline)) static int plain(void) { return 1; }
__attribute__((noinline)) static int fast(void) { return 2; }
__attribute__((noinline)) int other(int x) { return x + 3; }
extern int flag;
static int (*choose(void))(void) { return (unsigned long)&plain & 4096 ? fast : plain; }
int work(void) __attribute__((ifunc("choose")));
int main(int c, char **v) { (void)v; return work() + other(c); }
"""


@pytest.mark.parametrize(("target", "feature", "level"), [
    ("aarch64", "sve", "ARMv8.0-A"), ("ppc64le", "power10", "POWER9"), ("s390x", "z15", "z14"),
])  # fmt: skip
@pytest.mark.parametrize("link", [["-pie"], ["-static"]], ids=["pie", "static"])
def test_resolvers_of_other_architectures_are_read(
    tmp_path: Path, target: str, feature: str, level: str, link: list[str]
) -> None:
    options = ["-O2", "-fPIE"] if link == ["-pie"] else ["-O2", "-fno-pie"]
    elf = Elf(compiled(target, tmp_path, {"main.c": FOREIGN}, options, link).read_bytes())
    table = FunctionTable(elf)
    address = {symbol.name: symbol.address for symbol in elf.symbols if symbol.section}
    hits = [Hit(address[name], 4, (feature,), "") for name in ("fast", "other")]
    found = {
        above.function.name: above.dispatch
        for above in explain(elf, table, sorted(hits, key=lambda h: h.address), LEVELS[level])
    }
    assert found["fast"].startswith("ifunc: the resolver ")
    assert found["other"] == ""


def test_outline_atomics_test_the_processor_themselves(tmp_path: Path) -> None:
    source = "int x; int main(void) { return __atomic_fetch_add(&x, 1, __ATOMIC_SEQ_CST); }"
    elf = Elf(compiled("aarch64", tmp_path, {"main.c": source}, ["-O2", "-moutline-atomics"]).read_bytes())
    (atomic,) = (symbol for symbol in elf.symbols if symbol.name.startswith("__aarch64_ldadd4"))
    level = LEVELS["ARMv8.0-A"]
    (lse,) = explain(elf, FunctionTable(elf), [Hit(atomic.address + 12, 4, ("lse",), "ldaddal")], level)
    (sve,) = explain(elf, FunctionTable(elf), [Hit(atomic.address + 12, 4, ("sve",), "ptrue")], level)
    assert lse.dispatch.startswith("guard: libgcc's outline atomics")
    assert sve.dispatch == ""


# -------------------------------------------------------------------------------------------------------- hostile input


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return program(tmp_path_factory.mktemp("specimen"), IFUNC + ASKS.replace("#include", "\n#include")).read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)), max_size=6), st.integers(0, 1 << 20)
)
def test_a_damaged_file_is_explained_or_refused_in_one_line(
    specimen: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(specimen)
    for place, change in changes:
        at = place % (len(data) - len(change))
        data[at : at + len(change)] = change
    try:
        elf = Elf(bytes(data[: len(data) - cut % (len(data) // 2) * (cut % 3 == 0)]))
        table = FunctionTable(elf)
        hits = x86.scan(elf.code, table.starts, V2).hits
        found = explain(elf, table, hits, V2)
    except MalformedError as error:
        refusal = str(error)
        assert "\n" not in refusal
    else:
        assert sum(above.count for above in found) == len(hits)


def test_nothing_above_the_level_needs_no_reason(tmp_path: Path) -> None:
    elf = Elf(assembled(tmp_path, ".text\nret\n").read_bytes())
    assert explain(elf, FunctionTable(elf), [], V2) == ()
