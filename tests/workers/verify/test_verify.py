"""``kitten verify`` on real packages: those that pass, and for every rule a package that fails."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.models import Site, Target
from tests.workers.rpms import BuildRpm, compile_program, split_debug
from workers.artifacts.subject import artifact
from workers.base.errors import CannotRun, CheckFailed
from workers.base.run import run
from workers.results import BuildResult, Check, VerifyResult
from workers.verify.cli import verify


def checked(tmp_path: Path, *words: object, site: str = "demo") -> VerifyResult:
    """Run the command once, and return the result."""
    out = tmp_path / "result.json"
    arguments = ["--site", site, "--state", str(tmp_path / "state"), "--json", str(out), *map(str, words)]
    done = CliRunner().invoke(verify, arguments)
    result = VerifyResult.read(out.read_text())
    expected = {"passed": None, "failed": CheckFailed, "cannot-run": CannotRun}[result.outcome]
    assert isinstance(done.exception, expected) if expected else done.exception is None, done.output
    return result


def failures(result: VerifyResult) -> list[Check]:
    return [check for check in result.checks if check.outcome == "failed"]


def only_finding(result: VerifyResult) -> Check:
    findings = failures(result)
    assert result.outcome == "failed"
    assert len(findings) == 1, findings
    assert findings[0].detail in result.cause
    return findings[0]


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


LEAK = 'void leak(void) { asm volatile("vpaddd %zmm0, %zmm1, %zmm2"); }\nint main(void) { leak(); return 0; }\n'


@pytest.fixture
def leaking(tmp_path: Path, target: Target) -> Path:
    """Return a program with one instruction above the level."""
    (tmp_path / "leak.c").write_text(LEAK)
    flags = ["-O2", "-g", "-fno-inline", *target.flags.compiler, "-Wl,-z,relro,-z,now,--build-id"]
    run(["gcc", *flags, "-o", "leak", "leak.c"], cwd=tmp_path)
    return tmp_path / "leak"


def test_an_exception_lets_its_function_pass_and_one_of_another_day_does_not(tmp_path, leaking):
    assert only_finding(checked(tmp_path, "--target", "x86_64", leaking)).rule == "isa-level"
    entry = "- {rule: isa-level, where: '*/leak:leak', reason: called behind cpuid, until: %s}\n"
    exceptions = tmp_path / "exceptions.yaml"
    exceptions.write_text(entry % "2999-01-01")
    result = checked(tmp_path, "--target", "x86_64", "--exceptions", exceptions, leaking)
    assert result.outcome == "passed"
    assert [c.detail for c in result.checks if c.rule == "exception"] == [
        "in force until 2999-01-01: called behind cpuid"
    ]
    exceptions.write_text(entry % "2020-01-01")
    expired = failures(checked(tmp_path, "--target", "x86_64", "--exceptions", exceptions, leaking))
    assert {check.rule for check in expired} == {"isa-level", "exception"}
    exceptions.write_text((entry % "2999-01-01").replace(":leak'", ":other'"))
    unused = checked(tmp_path, "--target", "x86_64", "--exceptions", exceptions, leaking)
    assert [(c.outcome, c.grade) for c in unused.checks if c.rule == "exception"] == [("passed", "INFO")]


def test_the_report_shows_the_function_and_its_instruction(tmp_path, leaking):
    checked(tmp_path, "--target", "x86_64", "--html", tmp_path / "report.html", leaking)
    shown = (tmp_path / "report.html").read_text()
    assert "<mark>=&gt; " in shown
    assert "vpaddd" in shown
    assert "leak.c: GNU C17" in shown


def test_debug_data_may_be_given_apart(tmp_path, build_rpm: BuildRpm, good_program):
    program, debug = good_program
    (package,) = [rpm for rpm in build_rpm("apart", [program]) if "debuginfo" not in rpm.name]
    assert only_finding(checked(tmp_path, "--target", "x86_64", package)).rule == "debuginfo"
    for place in (debug, debug.parent):
        assert checked(tmp_path, "--target", "x86_64", "--debuginfo", place, package).outcome == "passed"
    single = checked(tmp_path, "--target", "x86_64", program)
    assert [c.reason for c in single.checks if c.rule == "producer"] == ["no-debuginfo"]
    with_debug = checked(tmp_path, "--target", "x86_64", "--debuginfo", debug, program)
    assert with_debug.files[0].units == 2


def test_loss_since_an_earlier_build_is_named(tmp_path, build_rpm: BuildRpm, target: Target):
    packages = {}
    for part, link in (("old", ()), ("new", ("-no-pie", "-Wl,-z,norelro"))):
        program = compile_program(tmp_path / part, "it", [*target.flags.compiler, "-fPIE"], link=link)
        packages[part] = build_rpm("it", [program])
    same = checked(tmp_path, "--target", "x86_64", "--against", packages["old"][0], *packages["old"])
    assert [c.detail for c in same.checks if c.rule == "regression"] == [
        "1 files lost nothing since the published build"
    ]
    worse = checked(tmp_path, "--target", "x86_64", "--against", packages["old"][0], *packages["new"])
    lost = [c.detail for c in failures(worse) if c.rule == "regression"]
    assert any("PIE" in detail for detail in lost)
    assert any("RELRO" in detail for detail in lost)


def test_an_opt_out_of_the_spec_is_read_from_the_source_package(tmp_path, build_rpm: BuildRpm, target: Target):
    without = [flag for flag in target.flags.compiler if "frame-pointer" not in flag]
    program = compile_program(tmp_path / "c", "it", [*without, "-fomit-frame-pointer"])
    debug = split_debug(program, tmp_path / "d")
    packages = build_rpm("it", [program], [debug])
    assert "producer" in {check.rule for check in failures(checked(tmp_path, "--target", "x86_64", *packages))}
    spec = packages[0].parents[2] / "it.spec"
    spec.write_text("%undefine _include_frame_pointers\n" + spec.read_text())
    run(["rpmbuild", "-bs", "--define", f"_topdir {tmp_path}", "--nodeps", spec])
    result = checked(tmp_path, "--target", "x86_64", *packages, *tmp_path.glob("SRPMS/*"))
    assert result.outcome == "passed", result.cause
    opted = [c.detail for c in result.checks if c.reason == "opted-out-in-spec"]
    assert any("line 1: %undefine _include_frame_pointers" in detail for detail in opted)


def test_a_decoder_that_fails_or_is_missing_is_one_clear_line(tmp_path, monkeypatch):
    from workers.verify.isa import gnu

    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("aarch64-linux-gnu-gcc is not installed")
    run(["aarch64-linux-gnu-gcc", "-o", "it", "main.c"], cwd=tmp_path)
    tools = gnu.tools_for("EM_AARCH64")
    monkeypatch.setattr("workers.verify.isa.binutils.tools_for", lambda _: replace(tools, objdump="/bin/false"))
    failed = checked(tmp_path, "--target", "aarch64", "--fresh", "--jobs", 1, tmp_path / "it")
    assert failed.outcome == "cannot-run"
    assert "/bin/false exited with 1" in failed.summary
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("workers.verify.isa.gnu.require", lambda tool, package: _missing(tool, package))
    missing = checked(tmp_path, "--target", "aarch64", "--fresh", "--jobs", 1, tmp_path / "it")
    assert "binutils-aarch64-linux-gnu" in missing.hint


def _missing(tool: str, package: str) -> str:
    raise CannotRun(f"{tool} is not installed", f"apt-get install {package}")


def test_spec_with_conditions_that_do_not_match_is_a_finding(tmp_path, good_program, monkeypatch):
    from workers.verify import prove
    from workers.verify.evidence import gather

    def with_spec(*arguments: object) -> object:
        return replace(gather(*arguments), spec="%if 1\n%endif\n%endif\n")  # type: ignore[arg-type]

    monkeypatch.setattr(prove, "gather", with_spec)
    assert only_finding(checked(tmp_path, "--target", "x86_64", good_program[0])).rule == "spec"


def test_a_folder_is_looked_through_and_a_link_in_it_is_not_followed(tmp_path, good_program):
    folder = tmp_path / "tree" / "usr" / "bin"
    folder.mkdir(parents=True)
    (folder / "it").write_bytes(good_program[0].read_bytes())
    (folder / "text").write_text("no program")
    (folder / "link").symlink_to("/bin/ls")
    result = checked(tmp_path, "--target", "x86_64", tmp_path / "tree")
    assert [proof.file for proof in result.files] == [str(folder / "it")]


def test_the_same_content_is_read_once(tmp_path, good_program, monkeypatch):
    from workers.verify import look

    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path / "cache"))
    first = checked(tmp_path, "--target", "x86_64", "--jobs", 1, good_program[0])
    monkeypatch.setattr(look, "observe", None)  # a second observation would fail
    again = checked(tmp_path, "--target", "x86_64", "--jobs", 1, good_program[0])
    assert (first.checks, first.files) == (again.checks, again.files)
    fresh = checked(tmp_path, "--target", "x86_64", "--jobs", 1, "--fresh", good_program[0])
    assert (fresh.outcome, "internal error: TypeError" in fresh.summary) == ("cannot-run", True)


def test_file_below_glibc_hwcaps_must_not_exceed_the_level_of_its_folder(tmp_path, leaking):
    for level, held in (("x86-64-v4", True), ("x86-64-v3", False)):
        folder = tmp_path / "usr" / "lib64" / "glibc-hwcaps" / level
        folder.mkdir(parents=True)
        (folder / "libx.so").write_bytes(leaking.read_bytes())
        result = checked(tmp_path, "--target", "x86_64", folder / "libx.so")
        assert ("isa-level" in {check.rule for check in failures(result)}) != held
        assert result.files[0].level == level


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


def test_proof_of_a_build_is_stored_in_its_folder(tmp_path, good_rpms):
    folder = build_folder(tmp_path, good_rpms)
    result = checked(tmp_path, "--target", "x86_64", "--build", folder)
    stored = VerifyResult.read((folder / "verify.json").read_text())
    assert stored == result
    assert stored.summary.startswith("1 function framed of 1")
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
        (["--target", "x86_64", "/nowhere.rpm"], "/nowhere.rpm does not exist"),
        (["--target", "x86_64", "--build", "nowhere"], "there is no build at"),
        (["--target", "x86_64", "config"], "no package, ELF or EFI file in config"),
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
