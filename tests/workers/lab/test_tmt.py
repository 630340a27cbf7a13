"""The tmt suite: gates, plans and results; and a real tmt in a real guest."""

from __future__ import annotations

import dataclasses
import tarfile
import tempfile
from pathlib import Path

import pytest
import yaml

from config.loading import load_site
from tests.workers.lab import helpers
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.lab import gating, testfiles
from workers.lab.guest import debian, login
from workers.lab.suites import Request, tmt, tmt_plans, tmt_results
from workers.results import Case
from workers.sources import srpm

SITE = load_site("demo")
QUICK = SITE.target("aarch64")  # the quickest to boot under emulation

GATE = """\
--- !Policy
product_versions: [fedora-*]
decision_context: bodhi_update_push_stable
rules:
  - !PassingTestCaseRule {test_case_name: fedora-ci.koji-build.tier0.functional}
--- !Policy
product_versions: [rhel-9, centos-stream-10]
decision_contexts: [osci_compose_gate]
rules:
  - !PassingTestCaseRule {test_case_name: osci.brew-build./plans/tier0.functional}
  - !PassingTestCaseRule {test_case_name: osci.brew-build.tier1.functional}
"""


def test_only_policies_about_the_sites_products_require_something():
    policies, products = gating.read(GATE), SITE.sources.gating_products
    assert [policy.applies_to(products) for policy in policies] == [False, True]
    cases = ("osci.brew-build./plans/tier0.functional", "osci.brew-build.tier1.functional")
    assert gating.required_cases(policies, products) == cases
    assert gating.required_cases(policies, ["fedora-44"]) == ("fedora-ci.koji-build.tier0.functional",)
    assert gating.required_cases(policies, ["harbour-3"]) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no policy"),
        ("rules: []\n", "no !Policy"),
        ("--- !Policy\nproduct_versions: [rhel-10]\n", "rules is no list"),
        ("--- !Policy\nproduct_versions: rhel-10\nrules: []\n", "product_versions is no list"),
        ("--- !Policy\nproduct_versions: [rhel-10]\nrules: [{test_case_name: a.b.c.d}]\n", "rules is no list"),
        ("--- !Policy\nproduct_versions: [rhel-10]\nrules:\n  - !RemoteRule {}\n", "RemoteRule"),
        ("--- !Policy\nproduct_versions: [rhel-10]\nrules:\n  - !PassingTestCaseRule {name: a}\n", "no test_case_name"),
        ("--- !!python/object/apply:os.system [true]\n", "python/object"),
        ("--- !Policy [", "expected"),
        ("--- !Policy\nproduct_versions: 2026-13-45\n", "month"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_a_gate_that_cannot_be_read_is_an_error(text, words):
    with pytest.raises(gating.GatingError, match=words):
        gating.read(text)


@pytest.mark.parametrize(
    ("case", "meant"),
    [
        ("osci.brew-build./plans/tier0.functional", ["/plans/tier0"]),
        ("osci.brew-build./plans/tier1.functional", ["/plans/tier1/a", "/plans/tier1/b"]),
        ("osci.brew-build.tier1.functional", ["/plans/tier1/a", "/plans/tier1/b"]),
        ("osci.brew-build./plans.functional", ["/plans/tier0", "/plans/tier1/a", "/plans/tier1/b", "/plans/tier10"]),
        ("osci.brew-build.rpmdeplint.functional", []),
        ("tier0", []),
    ],
)
def test_a_test_case_stands_for_plans_by_their_name(case, meant):
    plans = ["/plans/tier0", "/plans/tier1/a", "/plans/tier1/b", "/plans/tier10"]
    assert list(gating.plans_of(case, plans)) == meant


def cases_of_plan(folder: Path, *tests: dict[str, object], plan: str = "/p", wrong: str = "") -> tuple[Case, ...]:
    folder = folder / plan.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.yaml").write_text(yaml.safe_dump(list(tests)))
    (folder / "output.txt").write_text("its output\n")
    return tmt_results.plan_cases(plan, folder, wrong)


def outcomes(cases) -> dict[str, tuple[str, str]]:
    return {case.name: (case.outcome, case.code or case.reason) for case in cases}


def test_every_result_of_tmt_has_an_outcome_and_a_stable_name(tmp_path):
    cases = cases_of_plan(
        tmp_path,
        {"name": "/a", "result": "pass", "duration": "00:01:05", "log": ["output.txt"]},
        {"name": "/a", "result": "pass"},
        {
            "name": "/f",
            "result": "fail",
            "note": ["exit 3"],
            "check": [{"name": "dmesg", "event": "after", "result": "fail"}],
        },
        {"name": "/w", "result": "warn"},
        {"name": "/e", "result": "error"},
        {"name": "/n", "result": "pending"},
        {"name": "/i", "result": "info"},
        {"name": "/s", "result": "skip"},
        {"name": "/x", "result": "unheard of"},
    )
    assert outcomes(cases) == {
        "/p: /a": ("passed", ""),
        "/p: /a #2": ("passed", ""),
        "/p: /f": ("failed", "exit 3; check dmesg after: fail"),
        "/p: /w": ("failed", "tmt warns"),
        "/p: /e": ("failed", "the test ended with an error"),
        "/p: /n": ("failed", "the test did not run"),
        "/p: /i": ("skipped", "tmt-info"),
        "/p: /s": ("skipped", "tmt-skip"),
        "/p: /x": ("failed", "tmt reports an unknown result: unheard of"),
    }
    assert (cases[0].seconds, cases[0].detail) == (65.0, "its output")


def test_a_log_outside_the_folder_of_the_run_is_not_read(tmp_path):
    secret = tmp_path / "secret-output.txt"
    secret.write_text("a secret of the host\n")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/link-output.txt").symlink_to(secret)
    for number, log in enumerate(["link-output.txt", "../secret-output.txt", str(secret)]):
        (case,) = cases_of_plan(tmp_path, {"name": "/a", "result": "fail", "log": [log]}, plan=f"/p/{number}")
        assert (case.outcome, case.detail) == ("failed", ""), log


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "- 2026-13-45\n",
        "- just text\n",
        "- {name: [/a], result: [pass]}\n",
        "- {note: 5, check: [5, {}], log: 7}\n",
        "- &a {name: /a, result: pass}\n" + "- *a\n" * 20_000,
    ],
)
def test_damaged_results_do_not_pass(tmp_path, text):
    (tmp_path / "results.yaml").write_text(text)
    found = tmt_results.plan_cases("/p", tmp_path)
    assert len(found) == 1
    assert found[0].outcome == "failed"


def test_the_end_of_a_very_large_log_is_read(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, 2)
        file.write(b"\nthe end\n")
    assert tmt_results.tail_of(tmp_path / "log", 1) == "the end"


def test_required_test_cases_must_pass_and_other_failures_are_only_shown(tmp_path):
    found = {
        "/good": cases_of_plan(tmp_path, {"name": "/t", "result": "pass"}, plan="/good"),
        "/bad": cases_of_plan(tmp_path, {"name": "/t", "result": "fail"}, plan="/bad"),
        "/idle": cases_of_plan(tmp_path, {"name": "/t", "result": "skip"}, plan="/idle"),
        "/other": cases_of_plan(tmp_path, {"name": "/t", "result": "fail"}, plan="/other"),
        "/silent": cases_of_plan(tmp_path, plan="/silent"),
        "/broken": cases_of_plan(tmp_path, {"name": "/t", "result": "pass"}, plan="/broken", wrong="tmt crashed"),
    }
    gates = [f"a.b./{name}.functional" for name in ("good", "bad", "idle", "silent", "broken", "off", "absent")]
    found_outcomes = outcomes(tmt_results.suite_cases(found, ["/off"], gates))
    assert found_outcomes == {
        "/good: /t": ("passed", ""),
        "/bad: /t": ("failed", "the test failed"),
        "/idle: /t": ("skipped", "tmt-skip"),
        "/other: /t": ("skipped", "not-gating"),
        "/silent": ("failed", "no test of this plan ran"),
        "/broken: /t": ("passed", ""),
        "/broken": ("failed", "tmt crashed"),
        "/off": ("skipped", "tmt-disabled"),
        "gating.yaml: a.b./good.functional": ("passed", ""),
        "gating.yaml: a.b./bad.functional": ("failed", "/bad: /t: the test failed"),
        "gating.yaml: a.b./idle.functional": ("failed", "it is required, but all its tests were skipped"),
        "gating.yaml: a.b./silent.functional": ("failed", "/silent: no test of this plan ran"),
        "gating.yaml: a.b./broken.functional": ("failed", "/broken: tmt crashed"),
        "gating.yaml: a.b./off.functional": ("failed", "it is required, but /off is disabled here"),
        "gating.yaml: a.b./absent.functional": (
            "failed", "it is required, but no plan of this repository has its name",
        ),
    }  # fmt: skip
    without = outcomes(tmt_results.suite_cases({"/other": found["/other"]}, ["/off"], None))
    assert without == {"/other: /t": ("failed", "the test failed"), "/off": ("skipped", "tmt-disabled")}


def request_for(tmp_path: Path, tree: dict[str, str], suite: str = "tmt") -> Request:
    return helpers.request(suite, QUICK, tmp_path, fmf={name: text.encode() for name, text in tree.items()})


PLAN = "discover: {how: fmf}\nexecute: {how: tmt}\n"
ROOT = {".fmf/version": "1\n"}


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({}, "the package has no plans"),
        ({**ROOT, "tests/main.fmf": "test: ./a.sh\n"}, "the package has no plans"),
        (
            {**ROOT, "plans/a.fmf": PLAN + "adjust:\n - enabled: false\n   when: distro == centos-stream\n"},
            "every plan of the package is disabled",
        ),
        ({**ROOT, "plans/a.fmf": "execute: ["}, "Failed to parse"),
        ({**ROOT, "plans/a.fmf": "execute: " + "[" * 5000 + "]" * 5000}, "nested too deeply"),
        ({**ROOT, "plans/a.fmf": PLAN, "gating.yaml": "no gate"}, "no !Policy"),
    ],
)
def test_a_repository_without_plans_to_run_fails_before_a_guest_boots(tmp_path, tree, words):
    (case,) = tmt.run(request_for(tmp_path, tree)).cases
    assert case.outcome == "failed"
    assert words in case.reason


def test_plans_see_the_distribution_and_the_architecture(tmp_path):
    (tmp_path / ".fmf").mkdir()
    (tmp_path / ".fmf/version").write_text("1\n")
    for number, when in enumerate(["distro == centos-stream-10", "distro == almalinux-kitten-10", "arch == s390x"]):
        (tmp_path / f"{number}.fmf").write_text(PLAN + f"enabled: false\nadjust:\n - enabled: true\n   when: {when}\n")
    z, x86 = (tmt_plans.context(SITE, SITE.target(name)) for name in ("s390x", "x86_64"))
    assert tmt_plans.find_plans(tmp_path, z) == {"/0": True, "/1": True, "/2": True}
    assert tmt_plans.find_plans(tmp_path, x86) == {"/0": True, "/1": True, "/2": False}
    sources = SITE.sources.model_copy(update={"tmt_distros": ("harbour-3",)})
    elsewhere = tmt_plans.context(SITE.model_copy(update={"sources": sources}), SITE.target("s390x"))
    assert tmt_plans.find_plans(tmp_path, elsewhere) == {"/0": False, "/1": False, "/2": True}


def test_an_fmf_tree_is_packed_whole_and_the_packages_suite_finds_its_scripts(tmp_path):
    files = {
        ".fmf/version": "1",
        "gating.yaml": "g",
        "plans/a.fmf": "p",
        "tests/smoke.sh": "s",
        "tests/data/x": "x",
        "a.spec": "%",
    }
    tree = tmp_path / "tree"
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    (tree / "tests/again.sh").symlink_to("smoke.sh")
    (tree / "tests/nowhere").symlink_to("gone")
    assert srpm.pack_tests(tree, tmp_path / "tests.tar", 0)
    read = testfiles.read_tests(tmp_path / "tests.tar")
    assert read == {**{name: text.encode() for name, text in files.items()}, "tests/again.sh": b"s"}
    assert testfiles.tests_folder(read) == {"smoke.sh": b"s", "data/x": b"x", "again.sh": b"s"}
    (tree / ".git").mkdir()
    (tree / ".git/config").write_text("")
    assert testfiles.read_tests(tree) == read
    # A repository without tests/ has no tests, even with scripts at its top. A tests/ folder may be an fmf tree.
    assert testfiles.tests_folder({".fmf/version": b"1", "a.spec": b"%", "update.sh": b""}) == {}
    alone = {".fmf/version": b"1", "smoke.sh": b"s"}
    assert testfiles.tests_folder(alone) == alone
    # Without .fmf the archive has the content of tests/, with all its folders.
    (tree / ".fmf/version").unlink()
    (tree / "tests/tests").mkdir()
    (tree / "tests/tests/deep.sh").write_text("d")
    assert srpm.pack_tests(tree, tmp_path / "tests.tar", 0)
    with tarfile.open(tmp_path / "tests.tar") as archive:
        assert "smoke.sh" in archive.getnames()
    read = testfiles.read_tests(tmp_path / "tests.tar")
    assert (
        testfiles.tests_folder(read)
        == read
        == {"smoke.sh": b"s", "data/x": b"x", "again.sh": b"s", "tests/deep.sh": b"d"}
    )


def test_a_login_without_all_its_libraries_is_refused(tmp_path):
    (tmp_path / "b.c").write_text("int b(void) { return 1; }\n")
    (tmp_path / "a.c").write_text("int b(void); int main(void) { return b(); }\n")
    run(["gcc", "-shared", "-nostdlib", "-Wl,-soname,libb.so.7", "-o", "libb.so", "b.c"], cwd=tmp_path)
    run(["gcc", "-o", "a", "a.c", "-L.", "-lb"], cwd=tmp_path)
    program, library = (tmp_path / "a").read_bytes(), (tmp_path / "libb.so").read_bytes()
    with pytest.raises(CannotRun, match=r"no package has the library lib(b|c)\.so"):
        debian.needed_sonames([program], {"libb.so.7": library})
    assert debian.needed_sonames([program], {"libb.so.7": library, "libc.so.6": b"\x7fELF"[:0]}) == (
        "libb.so.7",
        "libc.so.6",
    )


TREE = {
    **ROOT,
    "plans/tier0.fmf": PLAN.replace("how: fmf", "how: fmf, filter: 'tier:0'"),
    "plans/more.fmf": PLAN.replace("how: fmf", "how: fmf, filter: 'tier:1'"),
    "gating.yaml": GATE.replace("[rhel-9, ", "[").replace(
        "osci.brew-build.tier1.functional", "osci.brew-build.absent.functional"
    ),
    "tests/main.fmf": "framework: shell\n",
    "tests/here.fmf": "tier: '0'\ntest: ./here.sh\nrequire: [bash, diffutils]\n",
    "tests/here.sh": "#!/bin/bash\nset -e\n[ $(uname -m) = aarch64 ]\n[ $(id -u) = 0 ]\necho these words\n",
    "tests/fails.fmf": "tier: '0'\ntest: 'echo before; ls /nowhere'\n",
    "tests/needs.fmf": "tier: '1'\ntest: 'true'\nrequire: [no-such-package]\n",
}


@pytest.mark.guest
def test_plans_run_in_a_guest_and_the_gate_decides(tmp_path):
    """One plan runs: one test passes, one fails. The other plan needs a missing package, and is not required."""
    request = request_for(tmp_path, TREE)
    (request.state / "secret").write_text("s")
    report = tmt.run(request)
    found_outcomes = outcomes(report.cases)
    assert found_outcomes["login.sh: the host ended the session"] == ("passed", "")
    assert found_outcomes["/plans/tier0: /tests/here"] == ("passed", "")
    assert found_outcomes["/plans/tier0: /tests/fails"] == ("failed", "the test failed")
    assert found_outcomes["/plans/more"] == ("skipped", "not-gating")
    assert found_outcomes["/plans/more: /tests/needs"] == ("skipped", "not-gating")
    assert found_outcomes["gating.yaml: osci.brew-build./plans/tier0.functional"] == (
        "failed",
        "/plans/tier0: /tests/fails: the test failed",
    )
    assert found_outcomes["gating.yaml: osci.brew-build.absent.functional"][0] == "failed"
    details = {case.name: case.detail for case in report.cases}
    assert "these words" in details["/plans/tier0: /tests/here"]
    assert "before" in details["/plans/tier0: /tests/fails"]
    assert "No match for argument: no-such-package" in (request.logs / "plans-more.log").read_text()
    assert len(found_outcomes) == len(report.cases)
    assert (report.accelerator, report.cpu) == ("tcg", "cortex-a57")


@pytest.fixture
def short():
    """A folder with a short path, so that a socket fits below it."""
    with tempfile.TemporaryDirectory(prefix="kitten-") as folder:
        yield Path(folder)


def test_tmt_sees_neither_home_nor_state_and_writes_only_to_its_folder(tmp_path, short, monkeypatch):
    monkeypatch.setenv("KITTEN_CACHE", str(cache.root()))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    (tmp_path / "user/.netrc").write_text("secret")
    request = dataclasses.replace(request_for(tmp_path, {}), scratch=short)
    (request.state / "key").write_text("secret")
    with login.login(QUICK, request.scratch) as entry:
        script = (
            f"cd {request.scratch} && touch here && echo wrote; "
            f"ls -A {request.state} {tmp_path}/user; touch {Path(__file__).parent}/x || echo refused; "
            f"env | grep -c SECRET"
        )
        monkeypatch.setenv("SECRET", "x")
        done = run(tmt_plans.sandbox_command(request, ["sh", "-c", script], entry), check=False)
    output = done.output
    assert "wrote" in output
    assert "refused" in output
    assert "key" not in output
    assert "netrc" not in output
    assert "\n0\n" in output  # no SECRET in its environment


def test_a_folder_too_deep_for_a_socket_is_refused(tmp_path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(CannotRun, match=r"is too long for a socket(.|\n)*TMPDIR"), login.login(QUICK, deep):
        pytest.fail("it was not too long")
