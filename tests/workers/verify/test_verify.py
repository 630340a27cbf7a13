"""``kitten verify`` on real packages: what holds, and for every rule a package that breaks it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.models import Site, Target
from tests.workers.rpms import BuildRpm, compile_program, split_debug
from workers.errors import CannotRun, DidNotHold
from workers.results import BuildResult, Check, VerifyResult
from workers.run import run
from workers.subject import artifact
from workers.verify.cli import verify


def checked(tmp_path: Path, *words: object, site: str = "demo") -> VerifyResult:
    """The result of one call of the command."""
    out = tmp_path / "result.json"
    arguments = ["--site", site, "--state", str(tmp_path / "state"), "--json", str(out), *map(str, words)]
    done = CliRunner().invoke(verify, arguments)
    result = VerifyResult.read(out.read_text())
    expected = {"held": None, "not-held": DidNotHold, "cannot-run": CannotRun}[result.outcome]
    assert isinstance(done.exception, expected) if expected else done.exception is None, done.output
    return result


def violated(result: VerifyResult) -> list[Check]:
    return [check for check in result.checks if check.outcome == "violated"]


def only_finding(result: VerifyResult) -> Check:
    findings = violated(result)
    assert result.outcome == "not-held"
    assert len(findings) == 1, findings
    assert findings[0].detail in result.cause
    return findings[0]


def test_a_package_that_carries_the_flags_is_proven(tmp_path, good_rpms):
    result = checked(tmp_path, "--target", "x86_64", *good_rpms)
    assert result.outcome == "held"
    assert result.cause == ""
    assert "2 packages, 1 ELF file, 2 compile units carry -march=x86-64-v3" in result.summary
    assert "0 findings" in result.summary
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
    assert "no debuginfo package holds a file of its build-id" in finding.detail


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
    assert result.outcome == "held", result.cause
    held = {c.file: c.detail for c in result.checks if c.rule == "producer" and c.outcome == "held"}
    assert held == {f"forms:/usr/bin/{name}": "2 compile units" for name in ("whole", "lto", "packed", "dwarf4")}
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
    assert result.outcome == "held", result.cause
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
    assert {c.reason for c in stripped.checks if c.outcome == "skipped"} == {"stripped-object"}
    assert "2 skipped" in stripped.summary


def test_a_file_without_code_is_skipped_with_its_reason(tmp_path, build_rpm):
    (tmp_path / "data.c").write_text("const int table[] = {1, 2, 3};\n")
    run(["gcc", "-c", "data.c"], cwd=tmp_path)
    run(["objcopy", "-R", ".text", "data.o"], cwd=tmp_path)
    result = checked(tmp_path, "--target", "x86_64", *build_rpm("data", [tmp_path / "data.o"]))
    assert [c.reason for c in result.checks if c.outcome == "skipped"] == ["no-code"]


def test_optflags_that_lack_a_flag_are_a_finding(tmp_path, build_rpm, good_program, site: Site, target: Target):
    flags = [*site.build.optflags, *target.flags.isa]
    result = checked(tmp_path, "--target", "x86_64", *build_rpm("lax", *([f] for f in good_program), optflags=flags))
    assert {(c.rule, c.file.split("-1-1")[0]) for c in violated(result)} == {
        ("header-optflags", "lax"), ("header-optflags", "lax-debuginfo")
    }  # fmt: skip
    assert "OPTFLAGS lacks -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer" in result.cause


def test_another_target_s_package_is_a_finding(tmp_path, good_rpms):
    result = checked(tmp_path, "--target", "aarch64", *good_rpms)
    rules = {check.rule for check in violated(result)}
    assert rules == {"header-arch", "header-platform", "header-optflags", "elf-machine", "producer"}
    v2 = {check.rule for check in violated(checked(tmp_path, "--target", "x86_64_v2", *good_rpms))}
    assert v2 == {"header-arch", "header-optflags", "producer"}


def test_a_noarch_package_is_asked_for_no_flags(tmp_path, build_rpm):
    (tmp_path / "script").write_text("#!/bin/sh\n")
    rpms = build_rpm("plain", [tmp_path / "script"], arch="noarch", head="BuildArch: noarch", optflags=())
    result = checked(tmp_path, "--target", "s390x", *rpms)
    assert result.outcome == "held"
    assert {check.reason for check in result.checks if check.outcome == "skipped"} == {"noarch"}


@pytest.mark.parametrize("payload", ["w9.gzdio", "w2.xzdio", "w9.bzdio"])
def test_every_payload_compression_is_read(tmp_path, build_rpm, good_program, payload):
    program, debug = good_program
    assert (
        checked(tmp_path, "--target", "x86_64", *build_rpm("z", [program], [debug], payload=payload)).outcome == "held"
    )


@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.9])
def test_a_truncated_package_is_one_line(tmp_path, good_rpms, part):
    whole = good_rpms[0].read_bytes()
    cut = tmp_path / good_rpms[0].name
    cut.write_bytes(whole[: int(len(whole) * part)])
    result = checked(tmp_path, "--target", "x86_64", cut)
    assert result.outcome == "not-held"
    assert [check.rule for check in violated(result)] == ["payload"]
    assert "\n" not in result.cause


def test_a_changed_byte_in_the_payload_is_found(tmp_path, good_rpms):
    data = bytearray(good_rpms[0].read_bytes())
    data[-200] ^= 0xFF
    (tmp_path / good_rpms[0].name).write_bytes(data)
    assert violated(checked(tmp_path, "--target", "x86_64", tmp_path / good_rpms[0].name))


def build_folder(tmp_path: Path, rpms: list[Path], **changes: object) -> Path:
    folder = tmp_path / "build"
    folder.mkdir()
    artifacts = []
    for rpm in rpms:
        (folder / rpm.name).write_bytes(rpm.read_bytes())
        artifacts.append(artifact(rpm, str(folder / rpm.name)))
    fields = {"target": "x86_64", "package": "good", "nevr": "good-1-1", "rpms": tuple(artifacts), "summary": ""}
    BuildResult.model_validate({**fields, **changes}).write(folder / "build.json")
    return folder


def test_the_proof_of_a_build_lies_in_its_folder(tmp_path, good_rpms):
    folder = build_folder(tmp_path, good_rpms)
    result = checked(tmp_path, "--target", "x86_64", "--build", folder)
    stored = VerifyResult.read((folder / "verify.json").read_text())
    assert stored == result
    assert stored.summary.startswith("good-1-1: 2 packages")
    assert {a.sha256 for a in stored.checked} == {
        a["sha256"] for a in json.loads((folder / "build.json").read_text())["rpms"]
    }
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_a_build_that_was_changed_cannot_be_proven(tmp_path, good_rpms):
    folder = build_folder(tmp_path, good_rpms)
    with (folder / good_rpms[0].name).open("ab") as file:
        file.write(b"x")
    result = checked(tmp_path, "--target", "x86_64", "--build", folder)
    assert result.outcome == "cannot-run"
    assert "is not what build.json says" in result.cause
    assert not (folder / "verify.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "x86_64"], "name either packages or a build"),
        (["--target", "vax", "."], "unknown target 'vax'; there are: x86_64, x86_64_v2, aarch64, ppc64le, s390x"),
        (["--target", "x86_64", "/nowhere.rpm"], "/nowhere.rpm is not there"),
        (["--target", "x86_64", "--build", "nowhere"], "there is no build at"),
        (["--target", "x86_64", "config"], "no packages in config"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path, words, message):
    result = checked(tmp_path, *words)
    assert result.outcome == "cannot-run"
    assert message in result.summary


def test_a_build_without_packages_and_one_of_another_target_are_refused(tmp_path, good_rpms):
    empty = build_folder(tmp_path, [])
    assert "holds no packages" in checked(tmp_path, "--target", "x86_64", "--build", empty).summary
    assert "was built for x86_64, not s390x" in checked(tmp_path, "--target", "s390x", "--build", empty).summary
