"""Promotion from a signed stage to the next: together, on all targets, taken as it is, or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner

from config.loading import load_site
from config.models import Site, Targets
from tests.workers.promotion.kills import killed_at
from tests.workers.promotion.user_view import seen
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun
from workers.promotion.gate import evaluate, sets
from workers.promotion.gate.ask import ask
from workers.promotion.gate.override import Overrides
from workers.promotion.promote import promote
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.promotion.status import status
from workers.promotion.status_cli import repo_status
from workers.repository.state import named_stage, published, snapshots_of

pytestmark = pytest.mark.slow

TARGETS = ("aarch64", "s390x", "x86_64_v2")


@pytest.fixture
def folder(staged_path: Path, tmp_path: Path) -> Path:
    """The site with testing and kitten; tiny is built for three targets."""
    copy = tmp_path / "config"
    shutil.copytree(staged_path.parent, copy)
    entry = copy / "demo/packages/tiny.yaml"
    entry.write_text(entry.read_text() + f"targets: [{', '.join(TARGETS)}]\n")
    stages = copy / "demo/stages.yaml"  # what dnf says is asked elsewhere: it takes seconds for each target
    stages.write_text(stages.read_text().replace("    - {rule: dnf}\n", ""))
    return copy / "demo"


@pytest.fixture
def three(folder: Path) -> Site:
    return load_site(str(folder))


def lagging(site: Site, target: str, days: int = 3) -> Site:
    """The site, where a target may lag."""
    targets = tuple(
        t.model_copy(update={"required": False, "lag_days": days}) if t.name == target else t for t in site.targets
    )
    return site.model_copy(update={"targets": targets})


def test_what_is_proven_on_all_targets_reaches_users_at_once(
    three: Site, state: Path, make_build: BuildFactory
) -> None:
    results = []
    for target in TARGETS:
        assert publish(three, state, target, str(make_build(target))).outcome == "passed"
        results.append(promote(three, state, packages=["tiny"]))
    assert [(r.outcome, r.snapshot, len(r.promoted)) for r in results] == [
        ("passed", 0, 0),
        ("passed", 0, 0),
        ("passed", 1, 3),
    ]
    assert results[0].summary == "in testing, and kitten waits: tiny-1-1.el10 waits for s390x and x86_64_v2"
    assert results[1].waits == ("tiny-1-1.el10 waits for x86_64_v2",)
    assert results[2].summary == "tiny-1-1.el10 on 3 targets in kitten, snapshot 1"
    assert {(p.package, p.target, p.nevr, p.commit) for p in results[2].promoted} == {
        ("tiny", target, "tiny-1-1.el10", "c" * 40) for target in TARGETS
    }
    shown = {name: files for name, files in seen(state).items() if files}
    assert shown["BaseOS/Source"] == {"tiny-1-1.el10.src.rpm"}
    assert shown["AppStream/s390x/os"] == {"tiny-doc-1-1.el10.noarch.rpm"}
    assert len(shown) == 1 + 3 * 3
    again = promote(three, state, packages=["tiny"])
    assert (again.outcome, again.snapshot, again.summary) == ("passed", 0, "tiny-1-1.el10 is in kitten already")
    assert {p.target for p in again.has} == set(TARGETS)


def ready(site: Site, state: Path, make_build: BuildFactory, **kind: str) -> None:
    """A version in testing, on all targets."""
    for target in TARGETS:
        assert publish(site, state, target, str(make_build(target, **kind))).outcome == "passed"


def test_users_get_the_files_that_were_tested_with_their_documents(
    three: Site, state: Path, make_build: BuildFactory
) -> None:
    ready(three, state, make_build)
    promote(three, state)
    for key, record in published(three, state).items():
        before = published(three, state, "testing")[key]
        assert (record.files, record.documents, record.build) == (before.files, before.documents, before.build)
        assert record.documents
        for file in (*record.files, *record.documents):
            places = [state / stage / "10-kitten" / file.repository / file.path for stage in ("testing", "published")]
            assert hashlib.sha256(places[1].read_bytes()).hexdigest() == file.sha256
            assert places[0].samefile(places[1]), "linked: nothing is copied, and nothing signed again"
        assert set(record.passed) == {rule.rule for rule in three.stage("kitten").gate}
        assert set(before.passed) == {rule.rule for rule in three.stage("testing").gate}
    key = "RPM-GPG-KEY-demo"
    assert (state / "published" / key).read_bytes() == (state / "testing" / key).read_bytes()


def test_an_upgrade_takes_the_old_version_out_on_all_targets(
    three: Site, state: Path, make_build: BuildFactory
) -> None:
    ready(three, state, make_build)
    promote(three, state)
    ready(three, state, make_build, version="2")
    result = promote(three, state)
    assert result.summary == "tiny-2-1.el10 on 3 targets in kitten, snapshot 2"
    assert {file for files in seen(state).values() for file in files if "-1-1.el10" in file} == set()
    repomd = state / "published/10-kitten/BaseOS/s390x/os/repodata/repomd.xml"
    (update,) = re.findall(r'href="(repodata/[^"]*updateinfo[^"]*)"', repomd.read_text())
    with zstandard.open(repomd.parents[1] / update, "rt") as update_file:
        assert "demo-" in (text := update_file.read())
        assert "tiny-2-1.el10" in text


def test_a_slow_target_that_may_lag_holds_nobody_up_and_follows(
    three: Site, state: Path, make_build: BuildFactory
) -> None:
    site = lagging(three, "s390x")
    for target in ("aarch64", "x86_64_v2"):
        publish(site, state, target, str(make_build(target)))
    assert {p.target for p in promote(site, state).promoted} == {"aarch64", "x86_64_v2"}
    publish(site, state, "s390x", str(make_build("s390x")))
    assert {p.target for p in promote(site, state).promoted} == {"s390x"}


def test_what_a_lagging_target_still_brings_of_an_old_version_stays_behind(
    three: Site, state: Path, make_build: BuildFactory
) -> None:
    site = lagging(three, "s390x")
    publish(site, state, "s390x", str(make_build("s390x")))
    for target in ("aarch64", "x86_64_v2"):
        publish(site, state, target, str(make_build(target, version="2")))
    asked = ask(site, state, stage_name="", packages=["tiny"])
    assert (asked.outcome, asked.cause) == ("passed", ""), "the gate, when asked, says what a promotion will find"
    result = promote(site, state, packages=["tiny"])
    assert {(p.target, p.nevr) for p in result.promoted} == {(t, "tiny-2-1.el10") for t in ("aarch64", "x86_64_v2")}


def test_a_target_that_may_lag_and_is_refused_stays_behind(three: Site, state: Path, make_build: BuildFactory) -> None:
    site = lagging(three, "x86_64_v2")
    ready(site, state, make_build)
    shutil.rmtree(published(site, state, "testing")["tiny", "x86_64_v2"].build)
    result = promote(site, state, packages=["tiny"])
    assert (result.outcome, {p.target for p in result.promoted}) == ("passed", {"aarch64", "s390x"})
    assert result.summary.endswith("in kitten, snapshot 1; x86_64_v2 stays behind: built")
    refused = next(verdict.what for verdict in result.refused if verdict.rule == "built")
    assert refused.startswith("the build failed: there is no build at ")


def test_a_refusal_names_rule_build_target_and_way_out(three: Site, state: Path, make_build: BuildFactory) -> None:
    ready(three, state, make_build)
    build = Path(published(three, state, "testing")["tiny", "s390x"].build)
    (build / "test.json").unlink()
    result = promote(three, state, packages=["tiny"])
    assert (result.outcome, result.snapshot) == ("failed", 0)
    assert result.summary == (
        f"tiny-1-1.el10 in testing, not in kitten: tested: tiny-1-1.el10 on s390x ({build}): there is no test.json → "
        f"kitten test --target s390x --build {build}"
    )
    assert published(three, state) == {}


def test_an_override_is_recorded_with_what_it_let_pass(three: Site, state: Path, make_build: BuildFactory) -> None:
    for target in ("aarch64", "x86_64_v2"):
        publish(three, state, target, str(make_build(target)))
    given = Overrides(("required-targets",), "s390x follows tomorrow", "release")
    with pytest.raises(CannotRun, match="an override needs packages, not everything that waits"):
        promote(three, state, overrides=given)
    result = promote(three, state, packages=["tiny"], overrides=given)
    assert result.summary == "tiny-1-1.el10 on 2 targets in kitten, snapshot 1, by override of required-targets"
    record = published(three, state)["tiny", "aarch64"]
    (override,) = record.overrides
    assert (override.rule, override.user, override.reason) == (*given.rules, given.user, given.reason)
    (words,) = override.refused
    assert words.startswith("required-targets: tiny-1-1.el10 on aarch64 (")
    assert "required-targets" not in record.passed


def test_what_was_rolled_back_does_not_come_again_by_itself(three: Site, state: Path, make_build: BuildFactory) -> None:
    ready(three, state, make_build)
    promote(three, state)
    ready(three, state, make_build, version="2")
    promote(three, state)
    rollback(three, state)
    assert {r.nevr for r in published(three, state).values()} == {"tiny-1-1.el10"}
    assert promote(three, state).outcome == "failed"
    result = promote(three, state, packages=["tiny"])
    assert "not-taken-back: tiny-2-1.el10 on aarch64" in result.cause
    assert {r.nevr for r in published(three, state).values()} == {"tiny-1-1.el10"}
    ready(three, state, make_build, version="3")
    assert promote(three, state).outcome == "passed"
    assert {r.nevr for r in published(three, state).values()} == {"tiny-3-1.el10"}


def test_a_promotion_killed_at_any_step_shows_all_of_it_or_nothing(
    three: Site, state: Path, make_build: BuildFactory
) -> None:
    (package,) = three.packages
    site = three.model_copy(update={"packages": (package.model_copy(update={"targets": Targets(TARGETS[:1])}),)})
    for version in ("1", "2"):
        publish(site, state, TARGETS[0], str(make_build(TARGETS[0], version=version)))
        if version == "1":
            promote(site, state)
    kept, step, after = state.with_name("kept"), 0, set()
    shutil.copytree(state, kept, symlinks=True, ignore=shutil.ignore_patterns("S.*"))
    while True:
        step += 1
        killed = killed_at(step, lambda: promote(site, state, packages=["tiny"]))
        after |= {record.nevr for record in published(site, state).values()}
        recorded: dict[str, set[str]] = {}
        for record in published(site, state).values():
            for file in record.files:
                recorded.setdefault(file.repository, set()).add(file.name)
        assert {name: files for name, files in seen(state).items() if files} == recorded
        if not killed:
            break
        if step % 7 == 0:
            assert promote(site, state, packages=["tiny"]).outcome == "passed", "the next call ends the work"
            assert {record.nevr for record in published(site, state).values()} == {"tiny-2-1.el10"}
        while (
            state.exists()
        ):  # without /run/user the agent's sockets are in there: it removes them itself, a moment later
            shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(kept, state, symlinks=True)
    assert step > 30
    assert after == {"tiny-1-1.el10", "tiny-2-1.el10"}


# ------------------------------------------------------------------------------------------------- several packages


def test_who_would_have_to_join_is_not_looked_for_while_a_required_target_is_to_come(
    three: Site, state: Path, make_build: BuildFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(evaluate, "closure", lambda *_, **__: looked.append("closure"))
    monkeypatch.setattr(sets, "closure", lambda *_, **__: looked.append("set"))
    publish(three, state, "aarch64", str(make_build("aarch64")))
    assert promote(three, state, packages=["tiny"]).waits == ("tiny-1-1.el10 waits for s390x and x86_64_v2",)
    assert looked == []


def test_nothing_waits(three: Site, state: Path) -> None:
    result = promote(three, state)
    assert (result.outcome, result.summary) == ("passed", "nothing waits in testing for kitten")
    with pytest.raises(CannotRun, match="nothing of tiny waits in testing for kitten"):
        promote(three, state, packages=["tiny"])
    with pytest.raises(CannotRun, match="no signed stage comes before testing"):
        promote(three, state, "testing")


def test_arrivals_are_remembered_beyond_the_snapshots_that_show_them(
    three: Site, state: Path, make_build: BuildFactory
) -> None:
    policy = three.retention.model_copy(update={"snapshots": 1, "daily_days": 0})
    site = three.model_copy(update={"retention": policy})
    for version in ("1", "2", "3"):
        ready(site, state, make_build, version=version)
        promote(site, state)
    snapshots = snapshots_of(site, state, named_stage(site, ""))
    assert snapshots.numbers() == [3]
    arrivals = snapshots.arrivals("tiny")
    assert {key: [a.nevr for a in came] for key, came in arrivals.items()} == {
        ("tiny", target): [f"tiny-{version}-1.el10" for version in "123"] for target in TARGETS
    }
    assert snapshots.arrivals("other") == {}


def test_the_status_shows_what_waits_for_which_target_and_what_is_owed(
    three: Site, folder: Path, state: Path, make_build: BuildFactory
) -> None:
    assert [each.snapshot for each in status(three, state)] == [0, 0]
    site = lagging(three, "s390x")
    publish(site, state, "aarch64", str(make_build("aarch64")))
    testing, kitten = status(site, state)
    assert (testing.snapshot, testing.waiting, testing.packages["aarch64"]) == (1, (), 1)
    (waits,) = kitten.waiting
    assert (waits.nevr, waits.targets, waits.lacks) == ("tiny-1-1.el10", ("aarch64",), ("x86_64_v2",))
    publish(site, state, "x86_64_v2", str(make_build("x86_64_v2")))
    promote(site, state)
    _, kitten = status(site, state)
    (owed,) = kitten.owed
    assert owed.startswith("tiny: s390x has none and others have tiny-1-1.el10: since ")
    assert owed.endswith(", 0 days, 3 days allowed")
    done = CliRunner().invoke(repo_status, ["--site", str(folder), "--state", str(state)])
    assert done.exit_code == 0, done.output
    first = next(line for line in done.output.splitlines() if line.split()[:1] == ["kitten"])
    assert "tiny-1-1.el10 on 2 targets" in first
    stages = json.loads(
        CliRunner().invoke(repo_status, ["--json", "--site", str(folder), "--state", str(state)]).output
    )
    assert [(each["stage"], each["snapshot"]) for each in stages] == [("testing", 2), ("kitten", 1)]
