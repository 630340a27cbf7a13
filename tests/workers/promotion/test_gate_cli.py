"""``kitten gate`` over real packages and stages in folders: it answers, and changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config.loading import load_site
from config.models import Site
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun, CheckFailed
from workers.promotion.gate.world import content_of
from workers.promotion.gate_cli import gate
from workers.promotion.promote import promote
from workers.promotion.publish import publish
from workers.results import GateResult

pytestmark = pytest.mark.slow


@pytest.fixture
def lone(staged_path: Path, tmp_path: Path) -> Path:
    """The site, whose package is built for x86_64_v2 alone."""
    folder = tmp_path / "config"
    shutil.copytree(staged_path.parent, folder)
    entry = folder / "demo/packages/tiny.yaml"
    entry.write_text(entry.read_text() + "targets: [x86_64_v2]\n")
    return folder / "demo"


def asked(site: Path, state: Path, *arguments: str) -> tuple[Result, GateResult]:
    answer = state.parent / "gate.json"
    words = [*arguments, "--site", str(site), "--state", str(state), "--json", str(answer)]
    done = CliRunner().invoke(gate, words)
    return done, GateResult.read(answer.read_text())


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.name != ".lock"}


def test_a_build_may_pass_to_testing_and_from_there_to_users(lone: Path, state: Path, make_build: BuildFactory) -> None:
    site = load_site(str(lone))
    publish(site, state, "x86_64_v2", str(make_build("x86_64_v2")))
    promote(site, state)
    build = str(make_build("x86_64_v2", version="2"))
    done, result = asked(lone, state, "--stage", "testing", "--target", "x86_64_v2", "--build", build)
    assert (done.exit_code, result.summary) == (0, "1 build may pass to testing")
    publish(site, state, "x86_64_v2", build, stage_name="testing")
    there = files(state)
    done, result = asked(lone, state, "tiny")
    assert (done.exit_code, result.outcome, result.summary) == (0, "passed", "1 build may pass to kitten")
    assert {verdict.rule for verdict in result.verdicts} == {rule.rule for rule in site.stage("kitten").gate}
    assert files(state) == there


def test_dnf_is_one_of_the_rules(lone: Path, state: Path, make_build: BuildFactory) -> None:
    if shutil.which("dnf") is None:
        pytest.skip("dnf is not installed: apt-get install dnf")
    stages = lone / "stages.yaml"
    assert "{rule: dnf}" in stages.read_text()
    site = load_site(str(lone))
    publish(site, state, "x86_64_v2", str(make_build("x86_64_v2")))
    assert promote(site, state).outcome == "passed"
    publish(site, state, "x86_64_v2", str(make_build("x86_64_v2", version="2")))
    done, result = asked(lone, state)
    assert (done.exit_code, result.cause) == (0, "")
    (rpm,) = (state / "testing/10-kitten").rglob("tiny-libs-2-*.rpm")
    content = rpm.read_bytes()
    rpm.unlink()
    rpm.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done, result = asked(lone, state)
    assert isinstance(done.exception, CheckFailed)
    assert "dnf: tiny-2-1.el10 on x86_64_v2" in result.cause
    assert "dnf refused to upgrade tiny-doc-2-1.el10.noarch tiny-libs-2-1.el10.x86_64_v2" in result.cause


def test_a_refusal_names_rule_build_target_and_hint(
    staged_path: Path, staged: Site, state: Path, make_build: BuildFactory
) -> None:
    build = make_build()
    publish(staged, state, "aarch64", str(build), stage_name="testing")
    done, result = asked(staged_path, state)
    assert isinstance(done.exception, CheckFailed)
    first = (
        f"required-targets: tiny-1-1.el10 on aarch64 ({build}): tiny-1-1.el10 has not passed on x86_64, which has "
        "none → "
        "build, verify and test it on x86_64; both then go together"
    )
    assert str(done.exception) == f"1 build may not pass to kitten: {first} (and 3 more)"
    assert f"refused: {first}\n" in done.output
    reason = ["--reason", "the other targets follow today", "--as", "release"]
    done, result = asked(staged_path, state, "--override", "required-targets", *reason)
    assert (done.exit_code, result.summary) == (0, "1 build may pass to kitten, 1 rule overridden")
    assert [(r.rule, r.user, len(r.refused)) for r in result.overrides] == [("required-targets", "release", 4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing waits in testing for kitten"),
        (("tiny",), "nothing of tiny waits in testing for kitten"),
        (("tinny",), "unknown package 'tinny'"),
        (("--target", "vax"), "unknown target 'vax'"),
        (("--build", "x"), "a build is checked alone, on its target"),
        (("--stage", "testing"), "no signed stage comes before testing"),
        (("--stage", "staged"), "stage staged is not a signed one"),
        (("--stage", "none"), "unknown stage 'none'"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(
    staged_path: Path, state: Path, arguments: tuple[str, ...], message: str
) -> None:
    done, result = asked(staged_path, state, *arguments)
    assert isinstance(done.exception, CannotRun)
    assert done.exception.what.startswith(message)
    assert (result.outcome, result.summary) == ("cannot-run", done.exception.what)


def test_a_signed_package_has_the_content_it_was_built_with(
    staged: Site, state: Path, make_build: BuildFactory
) -> None:
    build, changed = make_build(), make_build(content="changed")
    publish(staged, state, "aarch64", str(build), stage_name="testing")
    (signed,) = (state / "testing/10-kitten").rglob("tiny-libs-1-*.rpm")
    assert signed.read_bytes() != (build / signed.name).read_bytes()
    assert content_of(signed) == content_of(build / signed.name)
    assert content_of(signed) != content_of(changed / signed.name)


def test_a_file_that_is_no_package_has_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.rpm").write_bytes(b"no package")
    with pytest.raises(CannotRun, match=r"a\.rpm is not a readable RPM package: it does not begin with an RPM lead"):
        content_of(tmp_path / "a.rpm")
