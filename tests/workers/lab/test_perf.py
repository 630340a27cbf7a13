"""The perf suite: parse and count stacks; in guests, stacks reach main only with frame pointers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Target
from tests.workers.lab import helpers
from tests.workers.rpms import split_debug
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.lab.suites import Request, perf
from workers.lab.suites.perf import Frame, Profile, is_inside, profiles, restrict_to, share_case, wanted_stacks

SITE = load_site("demo")

REPORT = """\
# Subtest: profile.sh
    profile framed
    status framed 0
    stack 90 leaf@/kitten/perf/framed middle@/kitten/perf/framed main@/kitten/perf/framed _start@/kitten/perf/framed
    stack 10 leaf@/kitten/perf/framed
    profile work.sh
    some words of the script
    status work.sh 3
    stack 7 [unknown]@/usr/bin/busybox
ok 1 - profile.sh
"""


def stack(*functions: str, file: str = "/usr/bin/it") -> tuple[Frame, ...]:
    """The innermost function first."""
    return tuple(Frame(function, file) for function in functions)


def test_the_report_of_the_guest_is_parsed():
    found = profiles(REPORT, ("framed", "work.sh"))
    assert list(found) == ["framed", "work.sh"]
    assert found["framed"].status == 0
    assert found["framed"].stacks[0] == (90, stack("leaf", "middle", "main", "_start", file="/kitten/perf/framed"))
    assert found["work.sh"] == Profile(3, ((7, (Frame("[unknown]", "/usr/bin/busybox"),)),))
    assert profiles("    profile cut.sh\n", ("cut.sh",))["cut.sh"].status is None


def test_a_command_that_was_not_profiled_is_left_out():
    text = "profile framed\nstatus framed 0\nprofile ../../x\nstatus ../../x 0\nstack 5 main@/x\n"
    assert profiles(text, ("framed",)) == {"framed": Profile(0, ())}
    assert profiles(f"profile framed\nstatus framed {'9' * 5000}\n", ("framed",))["framed"].status is None


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        (("leaf", "middle", "main"), True),
        (("leaf", "helper", "middle", "[unknown]", "main", "_start"), True),  # other functions may be between them
        (("leaf.constprop.0", "middle.part.1", "main"), True),
        (("main", "middle", "leaf"), False),  # the wrong order
        (("leaf", "main"), False),
        (("leaf",), False),
        ((), False),
    ],
)
def test_functions_are_found_one_inside_the_other(functions, expected):
    assert is_inside(("main", "middle", "leaf"), stack(*functions)) is expected


def test_only_stacks_in_the_given_files_count():
    mine = (5, (Frame("memcpy", "/usr/lib64/libc.so.6"), Frame("main", "/usr/bin/it")))
    profile = Profile(0, (mine, (9, stack("main", file="/usr/bin/bash"))))
    assert restrict_to(profile, {"/usr/bin/it"}) == Profile(0, (mine,))


@pytest.mark.parametrize(
    ("profile", "least", "most", "reason"),
    [
        (Profile(0, ((60, stack("leaf", "main")), (40, stack("leaf")))), 0.5, 1.0, ""),
        (Profile(0, ((49, stack("leaf", "main")), (51, stack("leaf")))), 0.5, 1.0,
         "found in 49 of 100 samples, expected: at least 50%"),
        (Profile(0, ((1, stack("leaf", "main")), (99, stack("leaf")))), 0.0, 0.0,
         "found in 1 of 100 samples, expected: at most 0%"),
        (Profile(0, ((100, stack("leaf")),)), 0.0, 0.0, ""),
        (Profile(0, ((29, stack("leaf", "main")),)), 0.5, 1.0, "only 29 samples contain"),
        (Profile(0, ()), 0.0, 0.0, "only 0 samples contain"),  # or the negative control would pass without samples
        (Profile(1, ((100, stack("leaf", "main")),)), 0.5, 1.0, "exit status 1"),
        (Profile(None, ()), 0.5, 1.0, "is not complete"),
        (None, 0.5, 1.0, "is not complete"),
    ],
)  # fmt: skip
def test_a_share_of_the_samples_decides(profile, least, most, reason):
    found = share_case("it", profile, ("main", "leaf"), least, most)
    assert found.outcome == ("failed" if reason else "passed")
    assert reason in found.reason


def test_a_script_names_the_functions_to_find():
    tests = {
        "perf/work.sh": b"#!/bin/sh\n# kitten: stack main inner leaf\n#kitten: stack main other\nwork\n",
        "perf/data/more.sh": b"",
        "perf/words.txt": b"",
        "smoke.sh": b"",
    }
    assert wanted_stacks(tests) == {"work.sh": (("main", "inner", "leaf"), ("main", "other"))}


@pytest.mark.parametrize("text", [b"work\n", b"# kitten: stack main\nwork\n"])
def test_a_script_that_names_no_stack_is_refused(text):
    with pytest.raises(CannotRun, match=r"tests/perf/work\.sh does not name the functions"):
        wanted_stacks({"perf/work.sh": text})


def test_the_demo_s_script_names_its_stack():
    folder = Path(__file__).parents[3] / "config/demo/dist-git/bzip2/tests"
    tests = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.sh")}
    assert wanted_stacks(tests) == {"compress.sh": (("main", "BZ2_bzCompress", "BZ2_compressBlock"),)}


# --------------------------------------------------------------------------------------------------- in guests


def request_for(target: Target, folder: Path, rpms: Sequence[Path] = (), tests: Mapping[str, bytes] = {}) -> Request:
    return helpers.request("perf", target, folder, rpms, tests)


@pytest.mark.guest
def test_perf_finds_main_only_with_back_chains(tmp_path):
    """On ppc64le, which has back chains. There no timer ends in a restored guest until renew-ppc64le.s wakes it."""
    report = perf.run(request_for(SITE.target("ppc64le"), tmp_path))
    assert {case.name: (case.outcome, case.reason) for case in report.cases} == {
        "with frame pointers: main → middle → leaf": ("passed", ""),
        "without frame pointers: no main → middle → leaf": ("passed", ""),
        "without frame pointers: leaf alone": ("passed", ""),
    }
    assert "main;middle" in (tmp_path / "logs/framed.folded").read_text()


# gcc gives no frame to a leaf that does not use the stack, whatever the flags are: so this leaf has a variable there.
PROGRAM = """
__attribute__((noipa)) unsigned leaf(unsigned n) { volatile unsigned left = n; while (left) left--; return left; }
__attribute__((noipa)) unsigned middle(unsigned n) { return leaf(n) + 1; }
int main(int count, char **words) { (void)words; return (int)middle(100000000u + count) - 1; }
"""


@pytest.mark.guest
def test_a_package_whose_program_has_no_frame_pointers_fails(tmp_path, build_rpm):
    """The same program twice, stripped, with its function names in the debuginfo package."""
    (tmp_path / "it.c").write_text(PROGRAM)
    built = []
    for name, flag in (("keeps", "-fno-omit-frame-pointer"), ("omits", "-fomit-frame-pointer")):
        leaf = "-mno-omit-leaf-frame-pointer" if name == "keeps" else "-momit-leaf-frame-pointer"
        run(["gcc", "-O2", "-g", flag, leaf, "-Wl,--build-id=sha1", "-o", name, "it.c"], cwd=tmp_path)
        built.append(tmp_path / name)
    debug = [split_debug(program, tmp_path / "debug") for program in built]
    for program in built:
        run(["strip", "-s", program])
    tests = {
        f"perf/{program.name}.sh": b"# kitten: stack main middle leaf\n/usr/bin/%s\n" % program.name.encode()
        for program in built
    }
    report = perf.run(request_for(SITE.target("x86_64"), tmp_path, build_rpm("walks", built, debug), tests))
    found = {case.name: case for case in report.cases}
    assert found["keeps.sh: main → middle → leaf"].outcome == "passed", found["keeps.sh: main → middle → leaf"]
    assert found["omits.sh: main → middle → leaf"].reason.startswith("found in 0 of ")
    assert {name for name, case in found.items() if case.outcome == "failed"} == {"omits.sh: main → middle → leaf"}
    assert "main;middle;leaf" in (tmp_path / "logs/keeps.sh.folded").read_text()
