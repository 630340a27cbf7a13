"""The verdicts, without real files: declared flags, observed code, skips, and what is no proof."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from config.exemptions import Exemptions
from config.loading import load_site
from config.models import Exemption
from workers.formats.facts import AboveLevel, FileFacts, Framing, Function, Hit, IsaFacts, Traits, Unframed, Unit
from workers.results import Check, FileProof
from workers.verify.evidence import Evidence, Item
from workers.verify.judge import judge, judge_file
from workers.verify.producers import missing_flags
from workers.verify.promise import LISTED, Observed, Promise
from workers.verify.rules.declared import judge_declared, verdicts

SITE = load_site("demo")
TARGETS = [target.name for target in SITE.targets]

# The records of GCC 14.2 with -grecord-gcc-switches and each target's flags.
PRODUCERS = {
    "x86_64": "-march=x86-64-v3 -mno-omit-leaf-frame-pointer -g -O2 -fno-omit-frame-pointer",
    "x86_64_v2": "-march=x86-64-v2 -mno-omit-leaf-frame-pointer -g -O2 -fno-omit-frame-pointer",
    "aarch64": "-march=armv8-a -mno-omit-leaf-frame-pointer -mlittle-endian -mabi=lp64 -g -O2 -fno-omit-frame-pointer",
    "ppc64le": "-msecure-plt -mcpu=power9 -mtune=power10 -g -O2 -fno-omit-frame-pointer",
    "s390x": "-march=z14 -mtune=z15 -mbackchain -m64 -mzarch -g -O2 -fno-omit-frame-pointer",
}
# The same compilers without the targets' flags.
PLAIN = {
    "x86_64": "-mtune=generic -march=x86-64 -g -O2 -fasynchronous-unwind-tables",
    "x86_64_v2": "-mtune=generic -march=x86-64 -g -O2 -fasynchronous-unwind-tables",
    "aarch64": "-mlittle-endian -mabi=lp64 -g -O2",
    "ppc64le": "-msecure-plt -mcpu=power8 -g -O2",
    "s390x": "-march=z196 -mtune=zEC12 -m64 -mzarch -g -O2",
}


def unit(switches: str, compiler: str = "GNU C17 14.2.0") -> Unit:
    return Unit("a.c", f"{compiler} {switches}")


def promise(name: str = "x86_64", *entries: tuple[str, str, str], opted_out: str = "") -> Promise:
    made = [
        Exemption(rule=rule, where=where, reason="a reason of some length", until=until)
        for rule, where, until in entries
    ]
    return Promise(SITE, SITE.target(name), Exemptions("p", made, date(2026, 11, 24)), opted_out)


MACHINES = {target.name: target.elf_machine for target in SITE.targets}
ITEM = Item("p:/usr/bin/p", "/usr/bin/p", Path("p"), "p")
GOOD = FileFacts(
    "elf", "EM_X86_64", "ET_DYN", True,
    traits=Traits(build_id="ab", executable_stack=False, relro="full", pie=True, text_relocations=False),
    units=(Unit("a.c", "GNU C17 14.2.0 " + PRODUCERS["x86_64"]),),
    framing=Framing("cfi", 10, 7, 3),
    isa=IsaFacts("x86-64-v3", 1000, 0),
)  # fmt: skip


def observed(facts: FileFacts = GOOD, *, has_debug: bool = True, item: Item = ITEM) -> Observed:
    return Observed(item, facts, "x86-64-v3", has_debug)


def answers(facts: FileFacts = GOOD, promised: Promise | None = None) -> tuple[dict[str, str], FileProof]:
    """Return rule → outcome, or the reason of a skip; all of them if a rule has several checks."""
    checks, proof = judge_file(promised or promise(), observed(facts))
    found: dict[str, list[str]] = {}
    for check in checks:
        found.setdefault(check.rule, []).append(check.reason or check.outcome)
    return {rule: " ".join(sorted(words)) for rule, words in found.items()}, proof


def declared(name: str, *units: Unit) -> list[Check]:
    promised = promise(name)
    file = observed(replace(GOOD, machine=MACHINES[name], units=units))
    return list(judge_declared(promised, file, verdicts(promised, file)))


def outcomes(name: str, *units: Unit) -> list[tuple[str, str]]:
    return [(check.outcome, check.reason) for check in declared(name, *units)]


@pytest.mark.parametrize("name", TARGETS)
def test_what_gcc_records_of_the_target_s_flags_is_recognised(name):
    assert outcomes(name, unit(PRODUCERS[name]), unit(PRODUCERS[name], "GNU C++17 14.2.0")) == [("passed", "")]


@pytest.mark.parametrize("name", TARGETS)
def test_without_the_flags_every_one_of_them_is_missed(name):
    (check,) = declared(name, unit(PLAIN[name]))
    assert check.outcome == "failed"
    assert all(flag in check.detail for flag in SITE.target(name).flags.compiler)


@pytest.mark.parametrize("name", TARGETS)
def test_each_single_flag_is_missed(name):
    for flag in SITE.target(name).flags.compiler:
        without = " ".join(word for word in PRODUCERS[name].split() if word != flag)
        (check,) = declared(name, unit(without))
        assert f"lacks {flag};" in check.detail


@pytest.mark.parametrize("name", TARGETS)
def test_one_target_s_flags_do_not_prove_another_s(name):
    for other in TARGETS:
        if other != name:
            assert outcomes(name, unit(PRODUCERS[other])) == [("failed", "")]


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
    assert outcomes("x86_64", rust, unit(PLAIN["x86_64"])) == [("failed", ""), ("skipped", "language-rust")]


def test_a_unit_of_an_unknown_compiler_is_a_finding():
    assert outcomes("x86_64", Unit("a.c", "")) == [("failed", "")]
    assert outcomes("x86_64", Unit("a.c", "clang version 19.1.0")) == [("failed", "")]


def test_link_time_partitions_alone_prove_nothing():
    assert outcomes("x86_64", unit(PRODUCERS["x86_64"], "GNU GIMPLE 14.2.0")) == [
        ("failed", ""), ("skipped", "lto-partition")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "has_debug", "outcome", "words"),
    [
        ({}, False, "failed", "no debuginfo package has"),
        ({}, True, "failed", "has no compile unit"),
        ({"traits": Traits()}, False, "failed", "no build-id"),
        ({"type": "ET_REL"}, False, "failed", "no debuginfo package has"),
        ({"type": "ET_REL", "traits": Traits()}, False, "skipped", "stripped-object"),
        ({"has_code": False}, False, "skipped", "no-code"),
        ({"format": "efi"}, False, "skipped", "efi"),
    ],
)
def test_code_without_debug_data_is_never_a_pass(changes, has_debug, outcome, words):
    file = observed(replace(GOOD, units=(), **changes), has_debug=has_debug)
    (check,) = judge_declared(promise(), file, ())
    assert check.outcome == outcome
    assert words in check.detail + check.reason


def test_single_file_needs_no_debug_data():
    file = observed(replace(GOOD, units=()), item=replace(ITEM, package=""), has_debug=False)
    assert [check.reason for check in judge_declared(promise(), file, ())] == ["no-debuginfo"]


def test_a_file_that_keeps_every_promise_is_proven():
    found, proof = answers()
    assert set(found.values()) == {"passed"}
    assert (proof.framed, proof.leaf, proof.units, proof.unframed, proof.above) == (7, 3, 1, 0, 0)


def test_code_for_another_machine_is_a_finding():
    assert answers(replace(GOOD, machine="EM_S390"))[0]["elf-machine"] == "failed"


def test_no_package_is_no_proof():
    checks, _ = judge(promise(), Evidence(), ())
    assert [(check.outcome, check.detail) for check in checks] == [("failed", "nothing was checked")]


WALK, JUMP = Function(0x100, 20, "walk", ".text"), Function(0x200, 8, "", ".text")
UNFRAMED = replace(GOOD, framing=Framing("cfi", 10, 5, 3, (Unframed(WALK, "why"), Unframed(JUMP, "why"))))


def test_each_function_without_a_frame_pointer_is_a_finding():
    checks, proof = judge_file(promise(), observed(UNFRAMED))
    (check,) = (check for check in checks if check.rule == "frame-pointers")
    assert check.outcome == "failed"
    assert check.detail == "2 of 7 functions that make a frame keep no frame pointer: walk, 0x200"
    assert [(place.function, place.address) for place in check.places] == [("walk", 0x100), ("0x200", 0x200)]
    assert (proof.framed, proof.unframed, proof.excused) == (5, 2, 0)


def test_functions_of_assembler_and_go_units_are_excused_by_name_and_others_not():
    units = (*GOOD.units, Unit("s.S", "GNU AS 2.44", "assembler", ranges=((0x100, 0x114),)))
    found, proof = answers(replace(UNFRAMED, units=units))
    assert found["frame-pointers"] == "failed language-assembler"
    assert (proof.unframed, proof.excused) == (1, 1)
    rust = (*GOOD.units, Unit("l.rs", "clang LLVM (rustc version 1.84.0)", "rust", ranges=((0x100, 0x300),)))
    assert answers(replace(UNFRAMED, units=rust))[1].unframed == 2


def test_an_exception_covers_the_functions_it_names_until_its_day():
    both = ("frame-pointers", "/usr/bin/p", "2027-01-01")
    assert answers(UNFRAMED, promise("x86_64", both))[0]["frame-pointers"] == "exception passed"
    one = ("frame-pointers", "/usr/bin/p:walk", "2027-01-01")
    found, proof = answers(UNFRAMED, promise("x86_64", one))
    assert found["frame-pointers"] == "exception failed"
    assert (proof.unframed, proof.excused) == (1, 1)
    expired = ("frame-pointers", "/usr/bin/p", "2026-01-01")
    checks, _ = judge(promise("x86_64", expired), Evidence(), [observed(UNFRAMED)])
    assert {check.rule for check in checks if check.outcome == "failed"} == {"frame-pointers", "exception"}


def test_an_opt_out_of_the_spec_is_shown_as_such_and_the_flags_for_it_are_not_asked_for():
    isa_only = " ".join(word for word in PRODUCERS["x86_64"].split() if "frame-pointer" not in word)
    facts = replace(UNFRAMED, units=(unit(isa_only),))
    assert answers(facts)[0]["producer"] == "failed"
    found, _ = answers(facts, promise(opted_out="line 12: %undefine _include_frame_pointers"))
    assert found["producer"] == "passed"
    assert found["frame-pointers"] == "opted-out-in-spec passed"


@pytest.mark.parametrize("framing", [None, Framing("", 0, 0, 0)])
def test_code_without_a_function_is_not_proven(framing):
    assert answers(replace(GOOD, framing=framing))[0]["frame-pointers"] == "failed"


def above(dispatch: str = "") -> FileFacts:
    hits = (Hit(0x104, 4, ("AVX512F",), "vpaddd"),)
    return replace(GOOD, isa=IsaFacts("x86-64-v3", 1000, 0, (AboveLevel(WALK, ("AVX512F",), 3, hits, dispatch),)))


def test_a_function_above_the_level_is_a_finding_with_its_instruction():
    checks, proof = judge_file(promise(), observed(above()))
    (check,) = (check for check in checks if check.rule == "isa-level")
    assert check.detail == "1 function above x86-64-v3: walk (AVX512F)"
    assert check.places[0].detail == "3 instructions above x86-64-v3: AVX512F; the first at 0x104: vpaddd"
    assert (check.places[0].function_address, check.places[0].address, check.places[0].size) == (0x100, 0x104, 4)
    assert (proof.above, proof.dispatched) == (1, 0)


def test_dispatch_is_allowed_and_shown():
    checks, proof = judge_file(promise(), observed(above("ifunc: the resolver pick chooses it")))
    assert [(check.outcome, check.grade) for check in checks if check.rule == "isa-level"] == [
        ("passed", "INFO"),
        ("passed", "OK"),
    ]
    assert any(place.detail.startswith("ifunc") for check in checks for place in check.places)
    assert (proof.above, proof.dispatched) == (0, 1)


def test_an_exception_for_an_instruction_names_its_function():
    named = ("isa-level", "/usr/bin/p:w*", "2027-01-01")
    assert answers(above(), promise("x86_64", named))[0]["isa-level"] == "exception passed"
    other = ("isa-level", "/usr/bin/p:x*", "2027-01-01")
    assert answers(above(), promise("x86_64", other))[0]["isa-level"] == "failed"


def test_unknown_level_and_undecoded_code_are_not_proven():
    assert answers(replace(GOOD, isa=None))[0]["isa-level"] == "failed"
    found = answers(replace(GOOD, isa=IsaFacts("x86-64-v3", 100_000, 12_000)))[0]
    assert (found["isa-level"], found["isa-decoded"]) == ("passed", "failed")


def test_a_compressed_kernel_is_skipped_by_name():
    image = replace(GOOD, format="efi", units=(), framing=None, isa=None, is_kernel_image=True)
    found, _ = answers(image)
    assert found["isa-level"] == "kernel-image"


def test_32_bit_firmware_of_a_64_bit_target_is_allowed_and_other_code_is_not():
    assert answers(replace(GOOD, format="efi", machine="EM_386"))[0]["elf-machine"] == "passed"
    assert answers(replace(GOOD, machine="EM_386"))[0]["elf-machine"] == "failed"


def test_damage_is_a_finding_and_an_exception_may_cover_it():
    damaged = replace(GOOD, problems=("frames: damaged",))
    assert answers(damaged)[0]["elf"] == "failed"
    assert answers(damaged, promise("x86_64", ("elf", "/usr/bin/*", "2027-01-01")))[0]["elf"] == "exception"


def test_many_functions_are_counted_and_the_first_are_listed():
    many = tuple(Unframed(Function(n, 1), "why") for n in range(LISTED + 5))
    checks, proof = judge_file(promise(), observed(replace(GOOD, framing=Framing("cfi", len(many), 0, 0, many))))
    (check,) = (check for check in checks if check.rule == "frame-pointers")
    assert len(check.places) == LISTED
    assert proof.unframed == LISTED + 5
    assert check.detail.startswith("1,005 of 1,005 functions")


def test_bad_findings_come_first_and_frame_pointers_before_other_rules():
    facts = replace(UNFRAMED, traits=replace(GOOD.traits, relro="none"), machine="EM_S390")
    checks, _ = judge(promise(), Evidence(), [observed(facts)])
    rules = [check.rule for check in checks if check.outcome == "failed"]
    assert rules[0] == "frame-pointers"
    assert "elf-machine" in rules
