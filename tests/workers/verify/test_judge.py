"""The verdicts, purely: what GCC records for each target, and what does not count as carrying a flag."""

from __future__ import annotations

import pytest

from config.loading import load_site
from workers.results import Check
from workers.verify import report
from workers.verify.facts import Unit
from workers.verify.judge import CodeFile, ElfFile, Evidence, judge, judge_file, judge_units, missing_flags

SITE = load_site("demo")
TARGETS = [target.name for target in SITE.targets]

# As GCC 14.2 writes them with -grecord-gcc-switches and each target's flags.
PRODUCERS = {
    "x86_64": "-march=x86-64-v3 -mno-omit-leaf-frame-pointer -g -O2 -fno-omit-frame-pointer",
    "x86_64_v2": "-march=x86-64-v2 -mno-omit-leaf-frame-pointer -g -O2 -fno-omit-frame-pointer",
    "aarch64": "-march=armv8-a -mno-omit-leaf-frame-pointer -mlittle-endian -mabi=lp64 -g -O2 -fno-omit-frame-pointer",
    "ppc64le": "-msecure-plt -mcpu=power9 -mtune=power10 -g -O2 -fno-omit-frame-pointer",
    "s390x": "-march=z14 -mtune=z15 -mbackchain -m64 -mzarch -g -O2 -fno-omit-frame-pointer",
}
# The same compilers without any of the targets' flags.
PLAIN = {
    "x86_64": "-mtune=generic -march=x86-64 -g -O2 -fasynchronous-unwind-tables",
    "x86_64_v2": "-mtune=generic -march=x86-64 -g -O2 -fasynchronous-unwind-tables",
    "aarch64": "-mlittle-endian -mabi=lp64 -g -O2",
    "ppc64le": "-msecure-plt -mcpu=power8 -g -O2",
    "s390x": "-march=z196 -mtune=zEC12 -m64 -mzarch -g -O2",
}


def unit(switches: str, compiler: str = "GNU C17 14.2.0") -> Unit:
    return Unit("a.c", f"{compiler} {switches}")


def outcomes(name: str, *units: Unit) -> list[tuple[str, str]]:
    return [(check.outcome, check.reason) for check in judge_units(SITE.target(name), "f", units)]


@pytest.mark.parametrize("name", TARGETS)
def test_what_gcc_records_of_the_target_s_flags_is_recognised(name):
    assert outcomes(name, unit(PRODUCERS[name]), unit(PRODUCERS[name], "GNU C++17 14.2.0")) == [("held", "")]


@pytest.mark.parametrize("name", TARGETS)
def test_without_the_flags_every_one_of_them_is_missed(name):
    (check,) = judge_units(SITE.target(name), "f", [unit(PLAIN[name])])
    assert check.outcome == "violated"
    assert all(flag in check.detail for flag in SITE.target(name).flags.compiler)


@pytest.mark.parametrize("name", TARGETS)
def test_each_single_flag_is_missed(name):
    for flag in SITE.target(name).flags.compiler:
        without = " ".join(word for word in PRODUCERS[name].split() if word != flag)
        (check,) = judge_units(SITE.target(name), "f", [unit(without)])
        assert f"lacks {flag};" in check.detail


@pytest.mark.parametrize("name", TARGETS)
def test_one_target_s_flags_do_not_prove_another_s(name):
    for other in TARGETS:
        if other != name:
            assert outcomes(name, unit(PRODUCERS[other])) == [("violated", "")]


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("-march=z14", ()),
        ("-march=z14 -march=z13", ("-march=z14",)),
        ("-march=z13 -march=z14", ()),
        ("-march=z14 -mno-backchain", ()),
        ("-march=z14x", ("-march=z14",)),
        ("march=z14", ("-march=z14",)),
        ("", ("-march=z14",)),
    ],
)
def test_the_last_of_contradicting_flags_is_in_force(words, missing):
    assert missing_flags(words.split(), ["-march=z14"]) == missing


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("-fno-omit-frame-pointer -fomit-frame-pointer", "-fno-omit-frame-pointer"),
        ("-mbackchain -mno-backchain", "-mbackchain"),
        ("-mno-omit-leaf-frame-pointer -momit-leaf-frame-pointer", "-mno-omit-leaf-frame-pointer"),
        ("-O2 -O0", "-O2"),
    ],
)
def test_a_flag_taken_back_is_missing(words, flag):
    assert missing_flags(words.split(), [flag]) == (flag,)
    assert missing_flags(words.split()[::-1], [flag]) == ()


def test_other_languages_are_skipped_by_name_and_never_hide_c():
    rust = Unit("lib.rs", "clang LLVM (rustc version 1.84.0)", "rust")
    go = Unit("main.go", "Go cmd/compile go1.23", "go")
    assembler = Unit("s.S", "GNU AS 2.44")
    assert outcomes("x86_64", rust, go, assembler) == [
        ("skipped", "language-assembler"), ("skipped", "language-go"), ("skipped", "language-rust")
    ]  # fmt: skip
    assert outcomes("x86_64", rust, unit(PLAIN["x86_64"])) == [("violated", ""), ("skipped", "language-rust")]


def test_a_unit_of_an_unknown_compiler_is_a_finding():
    assert outcomes("x86_64", Unit("a.c", "")) == [("violated", "")]
    assert outcomes("x86_64", Unit("a.c", "clang version 19.1.0")) == [("violated", "")]


def test_link_time_partitions_alone_prove_nothing():
    assert outcomes("x86_64", unit(PRODUCERS["x86_64"], "GNU GIMPLE 14.2.0")) == [
        ("violated", ""), ("skipped", "lto-partition")
    ]  # fmt: skip


def code(**changes: object) -> CodeFile:
    fields: dict[str, object] = {
        "machine": "EM_S390", "type": "ET_DYN", "build_id": "ab", "has_code": True, "has_debug_info": False, **changes
    }  # fmt: skip
    return CodeFile("p:/usr/bin/p", ElfFile(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "debug", "outcome", "words"),
    [
        (code(), None, "violated", "no debuginfo package holds"),
        (code(), (), "violated", "holds no compile unit"),
        (code(build_id=""), None, "violated", "no build-id"),
        (code(type="ET_REL", build_id="ab"), None, "violated", "no debuginfo package holds"),
        (code(type="ET_REL", build_id=""), None, "skipped", "stripped-object"),
        (code(has_code=False), None, "skipped", "no-code"),
    ],
)
def test_code_without_debug_data_is_never_a_pass(file, debug, outcome, words):
    machine, check = judge_file(SITE.target("s390x"), file, debug)
    assert machine.outcome == "held"
    assert check.outcome == outcome
    assert words in check.detail + check.reason


def test_code_for_another_machine_is_a_finding():
    checks = judge_file(SITE.target("s390x"), code(machine="EM_X86_64"), (unit(PRODUCERS["s390x"]),))
    assert [(check.rule, check.outcome) for check in checks] == [("elf-machine", "violated"), ("producer", "held")]


def test_no_package_is_no_proof():
    (check,) = judge(SITE, SITE.target("x86_64"), Evidence({}, (), {}))
    assert (check.outcome, check.detail) == ("violated", "nothing was checked")


def test_the_report_begins_with_the_file_that_has_a_finding():
    checks = [
        Check(rule="producer", file="a", outcome="held", detail="23 compile units"),
        Check(rule="elf-machine", file="a", outcome="held"),
        Check(rule="producer", file="b", outcome="violated", detail="x.c lacks -mbackchain"),
        Check(rule="producer", file="b", outcome="skipped", reason="language-rust"),
    ]
    text = report.text(checks)
    assert text.startswith("b\n  VIOLATED producer: x.c lacks -mbackchain\n  skipped  producer (language-rust)\na\n")
    assert report.summary("p", 1, SITE.target("s390x"), checks) == (
        "p: 1 package, 1 ELF file, 23 compile units carry -march=z14 -mtune=z15 -fno-omit-frame-pointer -mbackchain, "
        "1 finding, 1 skipped"
    )
