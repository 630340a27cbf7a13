"""Promotion of several real packages at once: what needs each other goes together, and nobody waits for the guilty."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import yaml

from config.loading import load_site
from config.models import Site
from tests.workers.publishing import artifact
from workers.promotion.gate.situation import Passing
from workers.promotion.gate.world import StageWorld
from workers.promotion.promote import promote
from workers.promotion.publish import publish
from workers.repository.state import published
from workers.results import BuildResult, Case, Check, PromoteResult, SuiteResult, TestResult, VerifyResult

pytestmark = pytest.mark.slow

TARGETS = ("aarch64", "s390x")
NAMES = ("app", "base", "lib", "other", "plugin", "tool")
SPEC = """
Name: {name}
Version: {version}
Release: 1.el10
Summary: A package of a set
License: MIT
BuildArch: noarch
{tags}
%description
It has what the test gives it.
%install
mkdir -p %{{buildroot}}/usr/share/{name}
echo {version} > %{{buildroot}}/usr/share/{name}/version
{install}
%files
/usr/share/{name}
{files}
"""

Publish = Callable[..., None]


@pytest.fixture(scope="session")
def make_noarch(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """(name, version, provides, requires …) → its RPM and SRPM, each built once: all targets have the same."""
    if shutil.which("rpmbuild") is None:
        pytest.skip("rpmbuild is not installed: apt-get install rpm")
    top = tmp_path_factory.mktemp("noarch")
    made: dict[str, tuple[Path, Path]] = {}

    def make(name: str, version: str, files: Sequence[str] = (), **tags: Sequence[str]) -> tuple[Path, Path]:
        lines = "\n".join(f"{tag.capitalize()}: {word}" for tag, words in tags.items() for word in words)
        install = "\n".join(f"install -D /dev/null %{{buildroot}}{f}; echo {name} > %{{buildroot}}{f}" for f in files)
        text = SPEC.format(name=name, version=version, tags=lines, install=install, files="\n".join(files))
        folder = top / hashlib.sha256(text.encode()).hexdigest()[:12]
        if text not in made:
            folder.mkdir()
            (folder / f"{name}.spec").write_text(text)
            places = {"_topdir": folder, "_rpmdir": folder, "_srcrpmdir": folder, "_dbpath": folder, "_buildhost": "b"}
            defines = [word for key, value in places.items() for word in ("--define", f"{key} {value}")]
            command = ["rpmbuild", *defines, "-ba", "--target", "noarch-linux", str(folder / f"{name}.spec")]
            subprocess.run(command, check=True, capture_output=True)
            made[text] = next(folder.glob("noarch/*.rpm")), next(folder.glob("*.src.rpm"))
        return made[text]

    return make


@pytest.fixture
def folder(staged_path: Path, tmp_path: Path) -> Path:
    """The site with testing and kitten, and six packages for two targets; without dnf's rule, which takes seconds."""
    copy = tmp_path / "config"
    shutil.copytree(staged_path.parent, copy)
    (copy / "demo/packages/tiny.yaml").unlink()
    for name in NAMES:
        entry = {"name": name, "binaries": [name], "repository": "BaseOS", "targets": list(TARGETS)}
        (copy / f"demo/packages/{name}.yaml").write_text(yaml.safe_dump(entry))
    stages = copy / "demo/stages.yaml"
    stages.write_text(stages.read_text().replace("    - {rule: dnf}\n", ""))
    return copy / "demo"


@pytest.fixture
def six(folder: Path) -> Site:
    return load_site(str(folder))


@pytest.fixture
def bring(six: Site, state: Path, make_noarch: Callable[..., tuple[Path, Path]]) -> Publish:
    """(name, version …) → it is in testing, on all targets or those named."""

    def bring(name: str, version: str = "1", targets: Iterable[str] = TARGETS, **kind: Sequence[str]) -> None:
        for target in targets:
            build = built(state, target, name, *make_noarch(name, version, **kind))
            assert publish(six, state, target, str(build)).outcome == "passed"

    return bring


def built(state: Path, target: str, name: str, rpm: Path, srpm: Path) -> Path:
    """The folder of a build that passed, with its proofs."""
    identity = hashlib.sha256(repr((target, rpm)).encode()).hexdigest()
    folder = state / "artifacts/builds" / target / identity
    folder.mkdir(parents=True, exist_ok=True)
    for file in (rpm, srpm):
        shutil.copy(file, folder)
    made, source = artifact(folder / rpm.name), artifact(folder / srpm.name)
    nevr = srpm.name.removesuffix(".src.rpm")
    known = {"target": target, "package": name, "nevr": nevr, "identity": identity, "url": str(folder)}
    BuildResult.model_validate(
        {"summary": "built", "commit": "c" * 40, "srpm": source, "rpms": (made,), **known}
    ).write(folder / "build.json")
    checks = (Check(rule="header", file=rpm.name, outcome="passed"),)
    VerifyResult(summary="proven", target=target, checked=(made,), checks=checks).write(folder / "verify.json")
    suite = SuiteResult(suite="packages", outcome="passed", summary="", cases=(Case(name="runs", outcome="passed"),))
    TestResult(summary="tested", target=target, checked=(made,), suites=(suite,)).write(folder / "test.json")
    return folder


def has(site: Site, state: Path) -> set[str]:
    """NEVRs that users have, on all targets alike."""
    found = {name: {r.nevr for (_, target), r in published(site, state).items() if target == name} for name in TARGETS}
    assert found[TARGETS[0]] == found[TARGETS[1]]
    return found[TARGETS[0]]


def went(result: PromoteResult) -> set[str]:
    return {each.nevr for each in result.promoted}


def test_two_that_need_each_other_go_as_one_set_in_one_snapshot(six: Site, state: Path, bring: Publish) -> None:
    bring("app", requires=["lib >= 1"])
    bring("lib", requires=["app"])
    result = promote(six, state)
    assert result.summary == "app-1-1.el10 and lib-1-1.el10 on 2 targets in kitten, snapshot 1"
    assert (result.snapshot, len(result.promoted), result.refused) == (1, 4, ())


def test_asking_for_one_brings_along_what_it_needs_and_says_why(six: Site, state: Path, bring: Publish) -> None:
    bring("app", requires=["lib >= 1"])
    bring("lib")
    bring("other", targets=TARGETS[:1])
    result = promote(six, state, packages=["app"])
    assert result.summary == "app-1-1.el10 and lib-1-1.el10 on 2 targets in kitten, snapshot 1"
    assert result.joined == ("lib: lib-1-1.el10 joins: it has lib >= 1, which app-1-1.el10.noarch needs",)
    assert has(six, state) == {"app-1-1.el10", "lib-1-1.el10"}


def test_a_soname_bump_takes_the_rebuilt_package_along(six: Site, state: Path, bring: Publish) -> None:
    bring("app", requires=["liblib.so.1"])
    bring("lib", provides=["liblib.so.1"])
    promote(six, state)
    bring("lib", "2", provides=["liblib.so.2"])
    alone = promote(six, state, packages=["lib"])
    assert (alone.outcome, alone.promoted) == ("failed", ())
    assert (
        "app 1-1.el10 needs liblib.so.1, which only lib 1-1.el10 has; lib 2-1.el10 replaces it → rebuild app, then: "
        "kitten gate lib" in alone.cause
    )
    bring("app", "2", requires=["liblib.so.2"])
    result = promote(six, state, packages=["lib"])
    assert (result.outcome, result.snapshot, went(result)) == ("passed", 2, {"app-2-1.el10", "lib-2-1.el10"})
    (why,) = result.joined
    assert why.startswith("app: app-2-1.el10 joins: it replaces app-1-1.el10.noarch, which breaks (")


def test_what_breaks_a_third_is_refused_and_the_others_pass(six: Site, state: Path, bring: Publish) -> None:
    bring("app", requires=["liblib.so.1"])
    bring("lib", provides=["liblib.so.1"])
    promote(six, state)
    bring("lib", "2", provides=["liblib.so.2"])
    bring("plugin", requires=["app"])
    bring("tool", "2", requires=["plugin"])
    bring("other", "2")
    result = promote(six, state)
    assert (result.outcome, went(result)) == ("passed", {"other-2-1.el10", "plugin-1-1.el10", "tool-2-1.el10"})
    assert {(v.rule, v.package) for v in result.refused} == {("installable", "lib")}
    assert [v.what for v in result.refused if v.target == "s390x"] == [
        "app 1-1.el10 needs liblib.so.1, which only lib 1-1.el10 has; lib 2-1.el10 replaces it; "
        "this breaks plugin 1-1.el10 and tool 2-1.el10"
    ]
    assert has(six, state) == {"app-1-1.el10", "lib-1-1.el10", *went(result)}


def test_what_needs_the_refused_one_is_refused_with_it(six: Site, state: Path, bring: Publish) -> None:
    bring("app", requires=["liblib.so.1"])
    bring("lib", provides=["liblib.so.1"])
    promote(six, state)
    bring("lib", "2", provides=["liblib.so.2"])
    bring("tool", requires=["liblib.so.2"])
    bring("other")
    result = promote(six, state)
    assert went(result) == {"other-1-1.el10"}
    assert [v.what for v in result.refused if v.package == "tool" and v.target == "aarch64"] == [
        "tool 1-1.el10 needs liblib.so.2, which nothing has"
    ]


def test_what_waited_for_another_gets_its_turn_when_that_one_arrives(six: Site, state: Path, bring: Publish) -> None:
    bring("app", requires=["lib"])
    first = promote(six, state)
    assert (first.outcome, first.promoted) == ("failed", ())
    assert "app 1-1.el10 needs lib, which nothing has" in first.summary
    bring("lib")
    result = promote(six, state, packages=["lib"])
    assert went(result) == {"app-1-1.el10", "lib-1-1.el10"}
    assert result.summary == (
        "lib-1-1.el10 on 2 targets in kitten, snapshot 1; app-1-1.el10 on 2 targets in kitten, snapshot 2"
    )


def test_a_set_of_which_one_target_is_not_there_yet_waits_as_a_whole(six: Site, state: Path, bring: Publish) -> None:
    bring("app", requires=["lib"])
    bring("lib", targets=TARGETS[:1])
    result = promote(six, state, packages=["app"])
    assert (result.outcome, result.promoted) == ("passed", ())
    bring("lib", targets=TARGETS[1:])
    assert went(promote(six, state, packages=["app"])) == {"app-1-1.el10", "lib-1-1.el10"}


def test_two_that_exclude_each_other_go_beside_each_other(six: Site, state: Path, bring: Publish) -> None:
    bring("app", conflicts=["other"])
    bring("other", conflicts=["app"])
    assert went(promote(six, state)) == {"app-1-1.el10", "other-1-1.el10"}


def test_a_conflict_is_laid_to_the_one_that_comes_with_it(six: Site, state: Path, bring: Publish) -> None:
    bring("app", requires=["base", "lib"])
    bring("base")
    bring("lib")
    promote(six, state)
    bring("lib", "2", conflicts=["base"])
    bring("tool")
    result = promote(six, state)
    assert went(result) == {"tool-1-1.el10"}
    assert {v.package for v in result.refused} == {"lib"}
    assert "app 1-1.el10 needs lib; app 1-1.el10 needs base; lib 2-1.el10 conflicts with base" in result.refused[0].what


@pytest.fixture
def with_dnf(folder: Path) -> Site:
    """The site with dnf's rule, and one target."""
    if shutil.which("dnf") is None:
        pytest.skip("dnf is not installed: apt-get install dnf")
    stages = folder / "stages.yaml"
    stages.write_text(stages.read_text() + "    - {rule: dnf}\n")
    for name in NAMES:
        entry = folder / f"packages/{name}.yaml"
        entry.write_text(yaml.safe_dump({**yaml.safe_load(entry.read_text()), "targets": [TARGETS[0]]}))
    return load_site(str(folder))


def test_one_that_dnf_refuses_does_not_hold_up_the_others(
    with_dnf: Site, state: Path, make_noarch: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    real = StageWorld.dnf

    def counted(world: StageWorld, target: object, passing: Sequence[Passing]) -> str:
        asked.append(tuple(p.package.name for p in passing))
        return real(world, target, passing)  # type: ignore[arg-type]

    monkeypatch.setattr(StageWorld, "dnf", counted)
    # A file that two packages have with other content: no metadata shows it, only dnf's test of the transaction.
    kinds = {"base": {"files": ["/usr/bin/same"]}, "app": {"requires": ["lib"]}, "plugin": {"files": ["/usr/bin/same"]}}
    for name in NAMES:
        build = built(state, TARGETS[0], name, *make_noarch(name, "1", **kinds.get(name, {})))
        assert publish(with_dnf, state, TARGETS[0], str(build)).outcome == "passed"
    result = promote(with_dnf, state)
    assert went(result) == {f"{name}-1-1.el10" for name in NAMES if name != "plugin"}
    (refused,) = result.refused
    assert (refused.rule, refused.package) == ("dnf", "plugin")
    assert "/usr/bin/same" in refused.what
    assert asked[0] == NAMES
    assert asked[-1] == tuple(name for name in NAMES if name != "plugin")
    assert len(asked) <= 1 + 3 + 1 + 1, "all, log2 of the units, the others, and once more before they are shown"
