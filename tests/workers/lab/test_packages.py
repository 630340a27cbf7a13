"""The packages suite without a guest: dependencies, the order of steps, and the cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from config.loading import load_site
from tests.workers.lab import helpers
from workers.base.run import run
from workers.formats.rpm_header import Dependency
from workers.lab import dependencies, lifecycle
from workers.lab.guest import rpmtools
from workers.lab.machine.launch import Talk
from workers.lab.suites import Request, package_cases, packages
from workers.repository.buildroot import Solvable, read_solvable
from workers.results import Case

SITE = load_site("demo")


def package(name: str, evr: str = "1-1", *, files: tuple[str, ...] = (), source: str = "", **needs: str) -> Solvable:
    """A package; ``requires``, ``provides`` and ``conflicts`` are lists separated by blanks."""
    words = {kind: tuple(Dependency(word) for word in text.split()) for kind, text in needs.items()}
    checksum = f"{name}-{evr}".encode().hex()
    path = Path(f"/s/{name}-{evr}.s390x.rpm")
    source = source or name
    return Solvable(name, evr, "s390x", path, checksum, files=files, source=source, **words)  # type: ignore[arg-type]


BASE = package("kitten-guest", provides="libc.so.6()(64bit) /bin/sh")
PIGZ = package("pigz", requires="libz.so.1()(64bit) libc.so.6()(64bit) /bin/sh", files=("/usr/bin/pigz",))
ZLIB = package("zlib", provides="libz.so.1()(64bit)", requires="libdeep.so.2()(64bit)", files=("/lib64/libz.so.1",))
DEEP = package("deep", provides="libdeep.so.2()(64bit)")
OTHER = package("other")


def names(found: tuple[Solvable, ...]) -> list[str]:
    return [package.name for package in found]


def test_only_the_needed_staged_packages_are_added():
    found = dependencies.resolve([PIGZ], [ZLIB, DEEP, OTHER], [BASE], "s390x")
    assert names(found.packages) == ["deep", "pigz", "zlib"]
    assert not found.impossible
    assert names(dependencies.resolve([PIGZ], [OTHER], [BASE, ZLIB, DEEP], "s390x").packages) == ["pigz"]


def test_a_missing_dependency_is_named_and_the_other_packages_are_installed():
    found = dependencies.resolve([PIGZ, OTHER], [ZLIB], [BASE], "s390x")
    assert names(found.packages) == ["other"]
    ((which, why),) = found.impossible
    assert which is PIGZ
    assert "libz.so.1()(64bit)" in why or "libdeep.so.2()(64bit)" in why


def test_of_packages_that_conflict_one_is_installed():
    one, two = package("one", conflicts="two"), package("two")
    found = dependencies.resolve([one, two, OTHER], [], [BASE], "s390x")
    assert len(found.packages) == 2
    assert OTHER in found.packages
    ((which, why),) = found.excluded
    assert which in (one, two)
    assert "conflicts with" in why
    assert not found.impossible


def test_an_upgrade_replaces_an_installed_package():
    new = replace(ZLIB, evr="2-1")
    found = dependencies.resolve([new], [], [BASE, ZLIB, DEEP], "s390x")
    assert found.packages == (new,)


def test_dependents_need_a_library_a_file_or_a_name():
    by_file, by_name = package("by-file", requires="/usr/bin/pigz"), package("by-name", requires="pigz")
    everything = [ZLIB, DEEP, OTHER, by_file, by_name]
    assert names(dependencies.dependents([PIGZ], everything, "s390x")) == ["by-file", "by-name"]
    assert names(dependencies.dependents([DEEP], everything, "s390x")) == ["zlib"]


# ------------------------------------------------------------------------------------------------ the order of steps

PLAIN = {"smoke.sh": b"", "b.sh": b"", "helper.py": b"", "data/x.sh": b"", "README": b""}
ALTS = {
    "test_b.py": b"", "a.bats": b"", "c.sh": b"", "0_install": b"#!/bin/bash\n", "0_init.sh": b"", "notes.txt": b"",
    "d": b"#!/usr/bin/env bats\n", "e": b"#!/usr/bin/perl\n", "play.yml": b"",
}  # fmt: skip


def test_plain_tests_are_the_shell_scripts_at_the_top():
    assert lifecycle.scripts_of(PLAIN) == (("b.sh", ("bash",)), ("smoke.sh", ("bash",)))


def test_alts_tests_begin_with_init_and_install():
    assert lifecycle.scripts_of(ALTS) == (
        ("0_init.sh", ("bash",)),
        ("0_install", ("bash",)),
        ("a.bats", ("bats", "--tap")),
        ("c.sh", ("bash",)),
        ("d", ("bats", "--tap")),
        ("test_b.py", ("python3",)),
    )


def labels(plan: lifecycle.Plan) -> list[str]:
    return [step.label for step in lifecycle.life(plan, "/ld", 60).steps]


OWN = lifecycle.Tests("package", {"smoke.sh": b"exit 0\n"})
OLD = package("pigz", "0-1", files=("/usr/bin/pigz", "/usr/share/gone"))
PLAN = lifecycle.Plan((PIGZ,), (ZLIB, DEEP), OWN)


def test_a_life_without_a_published_version():
    assert labels(PLAN) == ["install", "verify", "files", "libraries", "smoke.sh", "uninstall"]


def test_a_life_with_an_upgrade_and_a_dependent():
    dependent = lifecycle.Dependent(lifecycle.Tests("user", {"a.sh": b""}), (package("user"),))
    plan = replace(PLAN, published=(OLD,), upgrade=(PIGZ, ZLIB, DEEP), dependents=(dependent,))
    assert labels(plan) == [
        *("install", "verify", "files", "libraries", "smoke.sh"),
        *("dependent user: install", "dependent user: a.sh", "dependent user: uninstall", "uninstall"),
        *("install published", "upgrade", "verify after upgrade", "after upgrade: smoke.sh"),
    ]
    life = lifecycle.life(plan, "/ld", 60)
    assert list(life.scripts()) == sorted(life.scripts())
    assert life.files["/kitten/life/gone"] == b"/usr/share/gone\n"
    assert life.files["/kitten/life/dependent-user-names"] == b"user\n"
    paths = life.files["/kitten/life/published"].decode().split()  # type: ignore[union-attr]
    assert life.files[paths[0]] == OLD.path
    assert "/kitten/own/user/a.sh" in life.files


def test_packages_that_the_guest_needs_are_not_removed():
    plan = replace(PLAN, published=(OLD,), upgrade=(PIGZ,), kept="/usr/bin/bash")
    assert labels(plan) == ["install", "verify", "files", "libraries", "smoke.sh"]


def test_paths_are_those_of_a_merged_usr_and_shared_paths_are_not_owned():
    assert lifecycle.installed_paths([ZLIB]) == {"/usr/lib64/libz.so.1"}
    shared = replace(PIGZ, files=("/usr/bin/pigz", "/lib64/libz.so.1"))
    life = lifecycle.life(replace(PLAN, tested=(shared,)), "/ld", 60)
    assert life.files["/kitten/life/owned"] == b"/usr/bin/pigz\n"


def test_two_packages_with_one_file_name_have_different_paths():
    signed = replace(ZLIB, sha256="ff" * 32)
    life = lifecycle.life(replace(PLAN, published=(OLD, signed), upgrade=(PIGZ,)), "/ld", 60)
    assert life.files["/kitten/life/published"] != life.files["/kitten/life/install"]
    assert sum(path.endswith(f"/{ZLIB.path.name}") for path in life.files) == 2


# ------------------------------------------------------------------------------------------------------------- cases

TAP = b"""TAP version 14
1..3
# Subtest: 001-install.sh
ok 1 - 001-install.sh
# from 1.00 to 1.50
# Subtest: 002-verify.sh
    S.5....T.  /usr/bin/pigz
not ok 2 - 002-verify.sh
# exit status 1
# from 1.50 to 2.00
# Subtest: 003-smoke.sh.sh
    1..0 # skip no-interpreter: bats is not in the guest
ok 3 - 003-smoke.sh.sh
# from 2.00 to 2.25
# END
"""


def life_of(*steps: lifecycle.Step) -> lifecycle.Life:
    return lifecycle.Life(steps, {})


def test_cases_have_the_names_of_the_steps_and_their_output():
    life = life_of(*(lifecycle.Step(label, "") for label in ("install", "verify", "smoke.sh")))
    found = {
        case.name: case for case in package_cases.cases_of_life(life, Talk(bytearray(), bytearray(TAP), "end"), 60)
    }
    assert found["install"].outcome == "passed"
    assert found["verify"].reason == "S.5....T.  /usr/bin/pigz"
    skipped = found["smoke.sh: all"]
    assert (skipped.code, skipped.reason) == ("no-interpreter", "bats is not in the guest")
    timings = package_cases.step_seconds(life, Talk(bytearray(), bytearray(TAP), "end"))
    assert timings == {"install": 0.5, "verify": 0.5, "smoke.sh": 0.25}


def life_of_scripts(*scripts: bytes) -> lifecycle.Life:
    return life_of(*(lifecycle.Step(f"{n}.sh", "", lifecycle.expectations(text)) for n, text in enumerate(scripts)))


EXPECTS = b"#!/bin/sh\n# kitten: expects core-dump\n"
DUMP = "<3>lab: core dump: p by signal 6\n"


def console_cases(life: lifecycle.Life, *texts: str) -> dict[str, str]:
    console = "".join(f"lab: begin {name}\n{text}" for name, text in zip(life.names(), texts, strict=True))
    points = "".join(f"ok {n} - {name}\n" for n, name in enumerate(life.names(), start=1))
    tap = f"TAP version 14\n1..{len(texts)}\n{points}# END\n"
    cases = package_cases.cases_of_life(life, Talk(bytearray(console.encode()), bytearray(tap.encode()), "end"), 60)
    return {case.name: case.outcome for case in cases if "core-dump" in case.name}


def test_a_core_dump_fails_unless_the_test_announces_it():
    assert console_cases(life_of_scripts(b"exit 0\n"), DUMP) == {"console: core-dump": "failed"}
    assert console_cases(life_of_scripts(EXPECTS), DUMP) == {"0.sh: expects core-dump": "passed"}
    assert console_cases(life_of_scripts(EXPECTS), "") == {"0.sh: expects core-dump": "failed"}


def test_the_announcement_of_a_test_excuses_no_other_test():
    found = console_cases(life_of_scripts(EXPECTS, b"exit 0\n"), DUMP, DUMP)
    assert found == {"0.sh: expects core-dump": "passed", "console: core-dump": "failed"}


def test_only_core_dumps_and_sigill_can_be_announced():
    assert lifecycle.expectations(b"# kitten: expects panic, sigill warning core-dump\n") == {"sigill", "core-dump"}
    assert lifecycle.expectations(b"echo kitten: expects core-dump\n") == set()


# ------------------------------------------------------------------------------------------------------------ real RPMs


@pytest.fixture(scope="module")
def needy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a missing dependency."""
    top = tmp_path_factory.mktemp("needy")
    (top / "it.spec").write_text(
        "Name: needy\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\nRequires: unicorn >= 2\n"
        "%description\nx\n%files\n"
    )
    run(["rpmbuild", "-bb", "--define", f"_topdir {top}", top / "it.spec"])
    return next(top.glob("RPMS/*/*.rpm"))


def request(scratch: Path, *paths: Path) -> Request:
    return helpers.request("packages", SITE.target("s390x"), scratch, paths, {"a.sh": b""})


@pytest.mark.guest
def test_a_package_that_cannot_be_installed_fails_without_a_guest(needy, tmp_path):
    report = packages.run(request(tmp_path, needy))
    failed = {case.name: case for case in report.cases if case.outcome == "failed"}
    assert "nothing provides unicorn >= 2" in failed["install needy"].reason
    assert report.accelerator == "none"


@pytest.mark.guest
@pytest.mark.parametrize("target", SITE.targets, ids=lambda target: target.name)
def test_the_stand_in_package_provides_the_guest_s_libraries(target):
    stand_in = read_solvable(rpmtools.stand_in_package(SITE, target))
    provided = {dependency.name for dependency in stand_in.provides}
    assert {"libc.so.6()(64bit)", "libc.so.6(GLIBC_2.34)(64bit)", "libstdc++.so.6()(64bit)", "/bin/sh"} <= provided
    assert not any(name.startswith(("libz.so", "libbz2", "liblzma", "libzstd", "librpm")) for name in provided)


def test_a_skip_has_a_code_only_if_its_reason_begins_with_one():
    assert lifecycle.split_reason("hung: it did not end") == ("it did not end", "hung")
    assert lifecycle.split_reason("needs a printer: none here") == ("needs a printer: none here", "")
    assert Case(name="x", outcome="skipped").code == ""
