"""``kitten verify``: exceptions, reports, debug data, earlier builds, the cache, and stored builds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from config.models import Target
from tests.workers.rpms import BuildRpm, compile_program, split_debug
from tests.workers.verify.verifying import checked, failures, only_finding
from workers.artifacts.subject import artifact
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.results import BuildResult, VerifyResult

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
