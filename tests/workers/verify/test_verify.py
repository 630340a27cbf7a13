"""``kitten verify`` on real packages: those that pass, and for every rule a package that fails."""

from __future__ import annotations

import pytest

from config.models import Site, Target
from tests.workers.rpms import BuildRpm, compile_program, split_debug
from tests.workers.verify.verifying import checked, failures, only_finding
from workers.base.run import run


def test_a_package_that_carries_the_flags_is_proven(tmp_path, good_rpms):
    result = checked(tmp_path, "--target", "x86_64", *good_rpms)
    assert result.outcome == "passed"
    assert result.cause == ""
    assert result.summary == "1 function framed of 1, x86-64-v3 proven, 0 findings"
    (proof,) = result.files
    assert (proof.file, proof.units, proof.framed, proof.leaf > 0) == ("good:/usr/bin/good", 2, 1, True)
    assert {artifact.name for artifact in result.checked} == {path.name for path in good_rpms}


def test_the_one_object_without_a_flag_is_named(tmp_path, build_rpm: BuildRpm, target: Target):
    flags = target.flags.compiler
    without = [flag for flag in flags if flag != "-fno-omit-frame-pointer"]
    program = compile_program(tmp_path / "c", "mixed", flags, without)
    debug = split_debug(program, tmp_path / "d")
    finding = only_finding(checked(tmp_path, "--target", "x86_64", *build_rpm("mixed", [program], [debug])))
    assert (finding.rule, finding.file) == ("producer", "mixed:/usr/bin/mixed")
    assert finding.detail.startswith("half.c lacks -fno-omit-frame-pointer;")


def test_a_flag_taken_back_later_is_a_finding(tmp_path, build_rpm: BuildRpm, target: Target):
    flags = target.flags.compiler
    program = compile_program(tmp_path / "c", "back", flags, [*flags, "-fomit-frame-pointer"])
    debug = split_debug(program, tmp_path / "d")
    finding = only_finding(checked(tmp_path, "--target", "x86_64", *build_rpm("back", [program], [debug])))
    assert finding.detail.startswith("half.c lacks -fno-omit-frame-pointer;")


def test_a_program_without_debuginfo_is_not_proven(tmp_path, build_rpm: BuildRpm, good_program):
    finding = only_finding(checked(tmp_path, "--target", "x86_64", *build_rpm("bare", [good_program[0]])))
    assert finding.rule == "debuginfo"
    assert "no debuginfo package has a file with its build-id" in finding.detail


def test_debuginfo_of_another_build_proves_nothing(tmp_path, build_rpm: BuildRpm, good_program, target: Target):
    other = compile_program(tmp_path / "c", "other", [*target.flags.compiler, "-DOTHER", "-O1"])
    debug = split_debug(other, tmp_path / "d")
    finding = only_finding(checked(tmp_path, "--target", "x86_64", *build_rpm("swapped", [good_program[0]], [debug])))
    assert finding.rule == "debuginfo"


def test_unstripped_link_time_optimised_and_compressed_programs_are_read(tmp_path, build_rpm, target: Target):
    flags = target.flags.compiler
    whole = compile_program(tmp_path / "a", "whole", flags)
    lto = compile_program(tmp_path / "b", "lto", [*flags, "-flto"], link=["-flto", "-O2", "-g"])
    packed = compile_program(tmp_path / "c", "packed", flags, link=["-gz"])
    run(["objcopy", "--compress-debug-sections=zlib", packed])
    old = compile_program(tmp_path / "d", "dwarf4", [*flags, "-gdwarf-4"])
    result = checked(tmp_path, "--target", "x86_64", *build_rpm("forms", [whole, lto, packed, old]))
    assert result.outcome == "passed", result.cause
    held = {c.file: c.detail for c in result.checks if c.rule == "producer" and c.outcome == "passed"}
    assert {file: detail.split(" carry")[0] for file, detail in held.items()} == {
        f"forms:/usr/bin/{name}": "2 compile units" for name in ("whole", "lto", "packed", "dwarf4")
    }
    assert [c.file for c in result.checks if c.reason == "lto-partition"] == ["forms:/usr/bin/lto"]


def test_link_time_optimisation_does_not_hide_an_object_without_the_flags(tmp_path, build_rpm, target: Target):
    program = compile_program(tmp_path / "c", "lto", [*target.flags.compiler, "-flto"], ["-flto"], ["-flto", "-g"])
    finding = only_finding(checked(tmp_path, "--target", "x86_64", *build_rpm("badlto", [program])))
    assert finding.detail.startswith("half.c lacks -march=x86-64-v3 -fno-omit-frame-pointer")


def test_assembler_is_skipped_with_its_reason_and_alone_proves_no_c(tmp_path, build_rpm, target: Target):
    (tmp_path / "s.S").write_text(".globl half\n.type half,@function\nhalf: mov %edi,%eax\n sar %eax\n ret\n"
                                  '.section .note.GNU-stack,"",@progbits\n')  # fmt: skip
    (tmp_path / "main.c").write_text("int half(int); int main(int c, char **v) { return half(c) + !v; }\n")
    run(["gcc", "-g", "-O2", *target.flags.compiler, "-Wl,--build-id", "-o", "mixed", "main.c", "s.S"], cwd=tmp_path)
    result = checked(tmp_path, "--target", "x86_64", *build_rpm("asm", [tmp_path / "mixed"]))
    assert result.outcome == "passed", result.cause
    assert [(c.rule, c.detail) for c in result.checks if c.reason == "language-assembler"] == [
        ("producer", "1 compile units")
    ]


def test_each_member_of_a_static_library_is_judged(tmp_path, build_rpm, target: Target):
    compile_program(tmp_path / "c", "unused", target.flags.compiler, ())
    long_name = tmp_path / "c" / "an-object-with-a-long-name.o"
    (tmp_path / "c" / "half.o").rename(long_name)
    run(["ar", "rc", "libhalf.a", "main.o", long_name.name], cwd=tmp_path / "c")
    library = tmp_path / "c" / "libhalf.a"
    finding = only_finding(checked(tmp_path, "--target", "x86_64", *build_rpm("static", [library])))
    assert finding.file == "static:/usr/bin/libhalf.a(an-object-with-a-long-name.o)"
    assert "half.c lacks -march=x86-64-v3" in finding.detail

    run(["strip", "-g", library])
    stripped = checked(tmp_path, "--target", "x86_64", *build_rpm("stripped", [library]))
    assert {c.reason for c in stripped.checks if c.rule == "producer"} == {"stripped-object"}
    assert {c.reason for c in stripped.checks if c.rule == "relro"} == {"static-library"}


def test_a_file_without_code_is_skipped_with_its_reason(tmp_path, build_rpm):
    (tmp_path / "data.c").write_text("const int table[] = {1, 2, 3};\n")
    run(["gcc", "-c", "data.c"], cwd=tmp_path)
    run(["objcopy", "-R", ".text", "data.o"], cwd=tmp_path)
    result = checked(tmp_path, "--target", "x86_64", *build_rpm("data", [tmp_path / "data.o"]))
    rules = ("producer", "frame-pointers", "isa-level")
    assert [c.reason for c in result.checks if c.rule in rules] == ["no-code"] * 3


def test_optflags_that_lack_a_flag_are_a_finding(tmp_path, build_rpm, good_program, site: Site, target: Target):
    flags = [*site.build.optflags, *target.flags.isa]
    result = checked(tmp_path, "--target", "x86_64", *build_rpm("lax", *([f] for f in good_program), optflags=flags))
    assert {(c.rule, c.file.split("-1-1")[0]) for c in failures(result)} == {
        ("header-optflags", "lax"), ("header-optflags", "lax-debuginfo")
    }  # fmt: skip
    assert "OPTFLAGS lacks -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer" in result.cause


def test_another_target_s_package_is_a_finding(tmp_path, good_rpms):
    result = checked(tmp_path, "--target", "aarch64", *good_rpms)
    rules = {check.rule for check in failures(result)}
    assert rules == {"header-arch", "header-platform", "header-optflags", "elf-machine", "producer"}
    v2 = {check.rule for check in failures(checked(tmp_path, "--target", "x86_64_v2", *good_rpms))}
    assert v2 == {"header-arch", "header-optflags", "producer"}


def test_a_noarch_package_is_asked_for_no_flags(tmp_path, build_rpm):
    (tmp_path / "script").write_text("#!/bin/sh\n")
    rpms = build_rpm("plain", [tmp_path / "script"], arch="noarch", head="BuildArch: noarch", optflags=())
    result = checked(tmp_path, "--target", "s390x", *rpms)
    assert result.outcome == "passed"
    assert {check.reason for check in result.checks if check.outcome == "skipped"} == {"noarch"}


@pytest.mark.parametrize("payload", ["w9.gzdio", "w2.xzdio", "w9.bzdio"])
def test_every_payload_compression_is_read(tmp_path, build_rpm, good_program, payload):
    program, debug = good_program
    assert (
        checked(tmp_path, "--target", "x86_64", *build_rpm("z", [program], [debug], payload=payload)).outcome
        == "passed"
    )


@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.9])
def test_a_truncated_package_is_one_line(tmp_path, good_rpms, part):
    whole = good_rpms[0].read_bytes()
    cut = tmp_path / good_rpms[0].name
    cut.write_bytes(whole[: int(len(whole) * part)])
    result = checked(tmp_path, "--target", "x86_64", cut)
    assert result.outcome == "failed"
    assert [check.rule for check in failures(result)] == ["payload"]
    assert "\n" not in result.cause


def test_a_changed_byte_in_the_payload_is_found(tmp_path, good_rpms):
    data = bytearray(good_rpms[0].read_bytes())
    data[-200] ^= 0xFF
    (tmp_path / good_rpms[0].name).write_bytes(data)
    assert failures(checked(tmp_path, "--target", "x86_64", tmp_path / good_rpms[0].name))
