"""The cpu-level suite: programs that run or end with SIGILL on three CPUs; a CPU with more or fewer features fails."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from config.architecture import Place, Programs
from config.loading import load_site
from config.models import Target
from tests.workers.lab import helpers
from workers.base.errors import CannotRun
from workers.lab.guest import programs
from workers.lab.machine import console
from workers.lab.suites import Request, cpu_level, packages
from workers.lab.suites.cpu_level import LEVELS, SIGILL, cases, console_cases, expectations

SITE = load_site("demo")
PLACES = ("own", "below", "above")
V3 = LEVELS["x86-64-v3"]


def request_for(target: Target, folder: Path, rpms: Sequence[Path] = (), tests: Mapping[str, bytes] = {}) -> Request:
    return helpers.request("cpu-level", target, folder, rpms, tests)


def correct_statuses(level: Programs, place: Place) -> dict[str, int]:
    """The exit statuses of the programs on a correct CPU."""
    return {name: 0 if does == "runs" else SIGILL for name, does in expectations(level, place).items()}


def outcomes(level: Programs, place: Place, statuses: Mapping[str, int]) -> dict[str, str]:
    return {case.name: case.outcome for case in cases(level, place, statuses)}


# ------------------------------------------------------------------------------------------------ the programs


def test_every_target_has_programs_for_its_level_and_they_are_all_used():
    used: dict[str, set[str]] = {}
    for target in SITE.targets:
        level = LEVELS[target.isa_level]
        used.setdefault(target.machine_arch, set()).update((*level.under, *level.own, *level.above))
    for arch, features in used.items():
        text = (Path(programs.__file__).parent / f"level-{arch}.s").read_text()
        assert set(re.findall(r"^\.ifdef (\w+)$", text, re.MULTILINE)) == features


def test_each_target_names_a_cpu_above_or_below():
    for target in SITE.targets:
        machine = target.machine
        assert machine.cpu_below or machine.cpu_above
        assert machine.cpu not in (machine.cpu_below, machine.cpu_above)


def test_each_excuse_is_about_a_feature_that_is_tried():
    for level in LEVELS.values():
        for place, feature in level.excuses:
            assert feature in expectations(level, place)


def test_a_target_whose_level_has_no_programs_is_refused(tmp_path):
    target = SITE.target("aarch64").model_copy(update={"isa_level": "ARMv9.0-A"})
    with pytest.raises(CannotRun, match=r"no programs for ARMv9\.0-A"):
        cpu_level.run(request_for(target, tmp_path))


# ------------------------------------------------------------------------------------------------------- cases


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("place", PLACES)
def test_a_correct_cpu_passes(name, place):
    assert set(outcomes(LEVELS[name], place, correct_statuses(LEVELS[name], place)).values()) <= {"passed"}


def test_v3_code_runs_on_its_own_cpu_and_is_refused_below_where_v2_code_runs():
    assert expectations(V3, "own")["AVX2"] == "runs"
    assert expectations(V3, "own")["ADX"] == "is refused"
    assert expectations(V3, "below")["AVX2"] == "is refused"
    assert expectations(V3, "below")["SSE4_2"] == "runs"
    assert expectations(V3, "above")["ADX"] == "runs"


def test_a_cpu_below_that_runs_the_level_s_code_fails():
    found = outcomes(V3, "below", dict.fromkeys(correct_statuses(V3, "below"), 0))
    assert {name for name, outcome in found.items() if outcome == "failed"} == {f"{name} is refused" for name in V3.own}


def test_a_cpu_that_lacks_a_feature_of_the_level_is_named():
    found = cases(V3, "own", {**correct_statuses(V3, "own"), "MOVBE": SIGILL})
    assert [(case.name, case.reason) for case in found if case.outcome == "failed"] == [
        ("MOVBE runs", "killed by SIGILL: an instruction that this CPU does not have")
    ]


def test_a_cpu_that_has_more_than_the_level_is_named():
    found = cases(V3, "own", {**correct_statuses(V3, "own"), "ADX": 0})
    assert [(case.name, case.reason) for case in found if case.outcome == "failed"] == [
        ("ADX is refused", "it runs: this CPU has more than it should")
    ]


def test_only_known_differences_of_the_emulator_are_skipped_with_a_code():
    found = {case.name: case for case in cases(V3, "own", {**correct_statuses(V3, "own"), "AES": 0, "RDRAND": 139})}
    assert (found["AES is refused"].outcome, found["AES is refused"].code) == ("skipped", "emulates-more")
    assert (found["RDRAND is refused"].outcome, found["RDRAND is refused"].reason) == ("failed", "killed by SIGSEGV")
    z14 = LEVELS["z14"]
    lacking = {case.name: case for case in cases(z14, "own", {**correct_statuses(z14, "own"), "VLIP": SIGILL})}
    assert lacking["VLIP runs"].code == "no-emulation"
    assert "VLIP" not in expectations(z14, "below")  # a refusal there would prove nothing


def test_another_result_counts_as_refused_only_if_older_cpus_decode_another_instruction():
    statuses = correct_statuses(V3, "below")
    assert outcomes(V3, "below", {**statuses, "LZCNT": 1, "TZCNT": 1})["LZCNT is refused"] == "passed"
    assert outcomes(V3, "below", {**statuses, "AVX": 1})["AVX is refused"] == "failed"
    assert outcomes(V3, "own", {**correct_statuses(V3, "own"), "LZCNT": 1})["LZCNT runs"] == "failed"


def test_a_program_that_did_not_run_fails():
    found = cases(V3, "own", {})
    assert found
    assert {(case.outcome, case.reason) for case in found} == {("failed", "its program did not run")}


@pytest.mark.parametrize(
    "line",
    [
        "traps: AVX[147] trap invalid opcode ip:401000 sp:7ffc93ae0ec0 error:0 in AVX[1000,401000+1000]",
        "RDM[155]: unhandled exception: undefined instruction in RDM[7c,400000+1000]",
        "brd[141]: illegal instruction (4) at 1000007c nip 1000007c lr 0 code 1 in brd[7c,10000000+1000]",
        "User process fault: interruption code 0001 ilc:3 in VLIP[86,1000000+1000]",
        "User process fault: interruption code 0006 ilc:3 in WFAXB[8c,1000000+1000]",
    ],
)
def test_the_console_reports_sigill_in_the_words_of_each_architecture(line):
    assert [hit.rule.name for hit in console.hits(f"[    2.627860] {line}")] == ["sigill"]
    assert [case.outcome for case in console_cases(line, [0, SIGILL])] == ["passed"]


def test_sigill_without_a_report_on_the_console_fails():
    assert [case.outcome for case in console_cases("nothing\n", [0, SIGILL])] == ["failed"]
    assert console_cases("nothing\n", [0, 1]) == ()


# --------------------------------------------------------------------------------------------------- in guests


@pytest.mark.guest
def test_code_above_armv8_0_is_refused_by_the_target_s_cpu_and_runs_on_a_newer_one(tmp_path):
    target = SITE.target("aarch64")
    report = cpu_level.run(request_for(target, tmp_path))
    found = {case.name: case for case in report.cases}
    assert report.accelerator == "tcg"
    assert [case.name for case in report.cases if case.outcome == "failed"] == []
    for name in ("cortex-a57: LSE is refused", "cortex-a57: SIGILL shows on the console", "neoverse-n1: LSE runs"):
        assert found[name].outcome == "passed"
    assert found["below"].code == "no-cpu-below"
    assert {"own-console.log", "above-console.log"} <= {path.name for path in (tmp_path / "logs").iterdir()}


@pytest.mark.guest
@pytest.mark.parametrize(
    ("name", "level", "wrong"),
    [
        ("x86_64", "x86-64-v2", {f"Haswell-noTSX: {feature} is refused" for feature in V3.own}),
        ("x86_64_v2", "x86-64-v3", {f"Nehalem: {feature} runs" for feature in V3.own}),
    ],
)
def test_a_guest_with_more_or_fewer_features_than_its_target_fails(tmp_path, name, level, wrong):
    target = SITE.target(name)
    machine = target.machine.model_copy(update={"cpu_below": None, "cpu_above": None})
    report = cpu_level.run(request_for(target.model_copy(update={"isa_level": level, "machine": machine}), tmp_path))
    assert {case.name for case in report.cases if case.outcome == "failed"} == wrong


@pytest.mark.guest
def test_the_tests_of_a_v2_package_find_a_v3_program(tmp_path, build_rpm):
    target = SITE.target("x86_64_v2")
    program = tmp_path / "v3"
    program.write_bytes(programs.assemble(target, "level", "--defsym=AVX2=1"))
    program.chmod(0o755)
    rpms = build_rpm("v3", [program])  # of arch x86_64: the host's rpmbuild need not know x86_64_v2
    target = target.model_copy(update={"rpm_arch": "x86_64"})
    report = packages.run(request_for(target, tmp_path, rpms, {"smoke.sh": b"/usr/bin/v3\n"}))
    found = {case.name: case.reason for case in report.cases if case.outcome == "failed"}
    assert found["smoke.sh"].startswith("killed by SIGILL")
    assert "trap invalid opcode" in found["console: sigill"]
