"""Stacks as perf tells them are read and counted; in a guest they reach from the leaf to main, and without frame pointers do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Target
from tests.workers.lab import asking
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


def test_what_the_guest_told_is_read():
    told = profiles(REPORT)
    assert list(told) == ["framed", "work.sh"]
    assert told["framed"].status == 0
    assert told["framed"].stacks[0] == (90, stack("leaf", "middle", "main", "_start", file="/kitten/perf/framed"))
    assert told["work.sh"] == Profile(3, ((7, (Frame("[unknown]", "/usr/bin/busybox"),)),))
    assert profiles("    profile cut.sh\n")["cut.sh"].status is None


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        (("leaf", "middle", "main"), True),
        (("leaf", "helper", "middle", "[unknown]", "main", "_start"), True),  # others may lie between
        (("leaf.constprop.0", "middle.part.1", "main"), True),
        (("main", "middle", "leaf"), False),  # the wrong way round
        (("leaf", "main"), False),
        (("leaf",), False),
        ((), False),
    ],
)
def test_functions_are_found_one_inside_the_other(functions, expected):
    assert is_inside(("main", "middle", "leaf"), stack(*functions)) is expected


def test_only_the_files_in_question_count():
    mine = (5, (Frame("memcpy", "/usr/lib64/libc.so.6"), Frame("main", "/usr/bin/it")))
    profile = Profile(0, (mine, (9, stack("main", file="/usr/bin/bash"))))
    assert restrict_to(profile, {"/usr/bin/it"}) == Profile(0, (mine,))


@pytest.mark.parametrize(
    ("profile", "least", "most", "reason"),
    [
        (Profile(0, ((60, stack("leaf", "main")), (40, stack("leaf")))), 0.5, 1.0, ""),
        (Profile(0, ((49, stack("leaf", "main")), (51, stack("leaf")))), 0.5, 1.0,
         "found in 49 of 100 samples; it should be at least 50%"),
        (Profile(0, ((1, stack("leaf", "main")), (99, stack("leaf")))), 0.0, 0.0,
         "found in 1 of 100 samples; it should be at most 0%"),
        (Profile(0, ((100, stack("leaf")),)), 0.0, 0.0, ""),
        (Profile(0, ((29, stack("leaf", "main")),)), 0.5, 1.0, "29 samples meet the code in question"),
        (Profile(0, ()), 0.0, 0.0, "0 samples meet the code in question"),  # else the negative control would pass on nothing
        (Profile(1, ((100, stack("leaf", "main")),)), 0.5, 1.0, "exit status 1"),
        (Profile(None, ()), 0.5, 1.0, "not profiled to its end"),
        (None, 0.5, 1.0, "not profiled to its end"),
    ],
)  # fmt: skip
def test_a_share_of_the_samples_decides(profile, least, most, reason):
    found = share_case("it", profile, ("main", "leaf"), least, most)
    assert found.outcome == ("failed" if reason else "passed")
    assert reason in found.reason


def test_a_script_names_the_functions_to_be_found():
    tests = {
        "perf/work.sh": b"#!/bin/sh\n# kitten: stack main inner leaf\n#kitten: stack main other\nwork\n",
        "perf/data/more.sh": b"",
        "perf/words.txt": b"",
        "smoke.sh": b"",
    }
    assert wanted_stacks(tests) == {"work.sh": (("main", "inner", "leaf"), ("main", "other"))}


@pytest.mark.parametrize("text", [b"work\n", b"# kitten: stack main\nwork\n"])
def test_a_script_that_names_no_stack_is_refused(text):
    with pytest.raises(CannotRun, match=r"tests/perf/work\.sh does not say which functions"):
        wanted_stacks({"perf/work.sh": text})


def test_the_demo_s_script_names_its_stack():
    folder = Path(__file__).parents[3] / "config/demo/dist-git/bzip2/tests"
    tests = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.sh")}
    assert wanted_stacks(tests) == {"compress.sh": (("main", "BZ2_bzCompress", "BZ2_compressBlock"),)}


# --------------------------------------------------------------------------------------------------- in guests


def request_for(target: Target, folder: Path, rpms: Sequence[Path] = (), tests: Mapping[str, bytes] = {}) -> Request:
    return asking.request("perf", target, folder, rpms, tests)


@pytest.mark.guest
def test_by_back_chains_perf_finds_main_and_without_them_it_does_not(tmp_path):
    """On ppc64le, where it is a back chain, and where no timer ends in a restored guest unless it is waked (renew-ppc64le.s)."""
    report = perf.run(request_for(SITE.target("ppc64le"), tmp_path))
    assert {case.name: (case.outcome, case.reason) for case in report.cases} == {
        "with frame pointers: main → middle → leaf": ("passed", ""),
        "without frame pointers: no main → middle → leaf": ("passed", ""),
        "without frame pointers: leaf alone": ("passed", ""),
    }
    assert "main;middle" in (tmp_path / "logs/framed.folded").read_text()


# A leaf that leaves the stack alone gets no frame from gcc, whatever the flags: this one has a variable there.
PROGRAM = """
__attribute__((noipa)) unsigned leaf(unsigned n) { volatile unsigned left = n; while (left) left--; return left; }
__attribute__((noipa)) unsigned middle(unsigned n) { return leaf(n) + 1; }
int main(int count, char **words) { (void)words; return (int)middle(100000000u + count) - 1; }
"""


@pytest.mark.guest
def test_a_package_whose_program_has_no_frame_pointers_fails(tmp_path, build_rpm):
    """The same program twice, by gcc, stripped, its names in the debuginfo package."""
    (tmp_path / "it.c").write_text(PROGRAM)
    made = []
    for name, flag in (("keeps", "-fno-omit-frame-pointer"), ("omits", "-fomit-frame-pointer")):
        leaf = "-mno-omit-leaf-frame-pointer" if name == "keeps" else "-momit-leaf-frame-pointer"
        run(["gcc", "-O2", "-g", flag, leaf, "-Wl,--build-id=sha1", "-o", name, "it.c"], cwd=tmp_path)
        made.append(tmp_path / name)
    debug = [split_debug(program, tmp_path / "debug") for program in made]
    for program in made:
        run(["strip", "-s", program])
    tests = {
        f"perf/{program.name}.sh": b"# kitten: stack main middle leaf\n/usr/bin/%s\n" % program.name.encode()
        for program in made
    }
    report = perf.run(request_for(SITE.target("x86_64"), tmp_path, build_rpm("walks", made, debug), tests))
    found = {case.name: case for case in report.cases}
    assert found["keeps.sh: main → middle → leaf"].outcome == "passed", found["keeps.sh: main → middle → leaf"]
    assert found["omits.sh: main → middle → leaf"].reason.startswith("found in 0 of ")
    assert {name for name, case in found.items() if case.outcome == "failed"} == {"omits.sh: main → middle → leaf"}
    assert "main;middle;leaf" in (tmp_path / "logs/keeps.sh.folded").read_text()
