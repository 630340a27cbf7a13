"""Rules over all targets, overrides, and the whole answer: each with what it lets through and what it stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from config.models import GateRule, Site, SourcePackage, Stage, Target, Targets
from tests.workers.promotion.test_gate import report, suite, verify
from tests.workers.repository.synthetic import element
from workers.artifacts.builds import Build
from workers.base.errors import CannotRun
from workers.promotion.gate.ask import Overrides, answer
from workers.promotion.gate.evaluate import evaluate
from workers.promotion.gate.refusal import Refusal
from workers.promotion.gate.situation import Key, Passing, Situation
from workers.promotion.gate.targets import debts
from workers.repository.primary import Repositories
from workers.repository.records import PublishedFile, PublishedRecord
from workers.results import Artifact, BuildResult

NOW = datetime(2026, 3, 20, tzinfo=UTC)
PACKAGE = SourcePackage(
    name="tiny", binaries=("tiny-libs", "tiny-doc"), targets=Targets(("x86_64", "aarch64", "s390x"))
)


@dataclass
class MadeUp:
    """A world that says what the test wants."""

    there: Repositories = field(default_factory=lambda: Repositories(()))
    brings: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    contents: Mapping[Key, str] = field(default_factory=dict)
    dnf_says: str = ""
    taken: tuple[Refusal, ...] = ()

    def before(self, target: Target) -> Repositories:
        return self.there

    def elements(self, passing: Passing) -> tuple[bytes, ...]:
        return self.brings[passing.package.name]

    def content(self, package: str, target: str, file: str) -> str:
        return self.contents[package, target]

    def takeovers(self, passing: Passing) -> tuple[Refusal, ...]:
        return self.taken

    def dnf(self, target: Target, passing: Sequence[Passing]) -> str:
        return self.dnf_says


def sited(site: Site, **lags: int) -> Site:
    """The site, with some targets that may lag for some days."""
    targets = tuple(
        t.model_copy(update={"required": False, "lag_days": lags[t.name]}) if t.name in lags else t
        for t in site.targets
    )
    return site.model_copy(update={"targets": targets})


def passing(site: Site, target: str, version: str = "2", *, package: SourcePackage = PACKAGE, **more: Any) -> Passing:
    evr = f"{version}-1.el10"
    libs = Artifact(name=f"{package.name}-libs-{evr}.{target}.rpm", url="", sha256="1" * 64, size=1)
    doc = Artifact(name=f"{package.name}-doc-{evr}.noarch.rpm", url="", sha256=more.pop("doc", "2" * 64), size=1)
    source = more.pop("source", "3" * 64)
    srpm = Artifact(name=f"{package.name}-{evr}.src.rpm", url="", sha256=source, size=1)
    known = {"package": package.name, "nevr": f"{package.name}-{evr}", "identity": "i", "url": f"/builds/{target}"}
    result = BuildResult(summary="built", target=target, srpm=srpm, rpms=(libs, doc), **known)
    build = Build(
        result.url,
        result,
        verify(target=target, checked=(libs, doc)),
        report(target=target, checked=(libs, doc), **more.pop("report", {})),
    )
    return Passing(package, site.target(target), build, evr, **more)


def record(target: str, version: str = "1", day: str = "2026-03-01", **checksums: str) -> PublishedRecord:
    evr = f"{version}-1.el10"
    names = {f"tiny-doc-{evr}.noarch.rpm": "2" * 64, **checksums}
    files = tuple(
        PublishedFile(name=n, repository="r", path="p", unsigned_sha256=c, sha256="f" * 64, size=1)
        for n, c in names.items()
    )
    known = {"package": "tiny", "target": target, "nevr": f"tiny-{evr}", "evr": evr, "snapshot": 1, "files": files}
    return PublishedRecord.model_validate({**known, "published": f"{day}T00:00:00Z", "commit": "c" * 40})


def asked(
    site: Site, rule: str, candidates: Sequence[Passing], there: Sequence[PublishedRecord] = (), **more: Any
) -> Situation:
    entry = GateRule.model_validate({"rule": rule, **({"suites": more.pop("suites")} if "suites" in more else {})})
    stage = Stage(name="kitten", description="", url="published", signed=True, gate=(entry,))
    published = {(r.package, r.target): r for r in there}
    return Situation(site, stage, tuple(candidates), more.pop("world", MadeUp()), published, now=NOW, **more)


def refused(situation: Situation) -> list[str]:
    return [str(v) for v in evaluate(situation) if v.outcome == "refused"]


def test_all_required_targets_together_pass(site: Site) -> None:
    every = [passing(site, name) for name in ("x86_64", "aarch64", "s390x")]
    assert refused(asked(site, "required-targets", every)) == []
    assert refused(asked(site, "required-targets", every[:2], [record("s390x", "2")])) == []


def test_a_required_target_that_brings_nothing_or_another_version_stops_the_others(site: Site) -> None:
    one = [passing(site, "x86_64"), passing(site, "aarch64")]
    assert refused(asked(site, "required-targets", one, [record("s390x")])) == [
        f"required-targets: tiny-2-1.el10 on {name} (/builds/{name}): tiny-2-1.el10 has not passed on s390x, "
        "which is at "
        "tiny-1-1.el10 → build, verify and test it on s390x; both then go together"
        for name in ("x86_64", "aarch64")
    ]
    (first, _) = refused(asked(site, "required-targets", one))
    assert "has not passed on s390x, which has none → " in first
    other = refused(asked(site, "required-targets", [*one, passing(site, "s390x", "3")]))
    assert any("has not passed on s390x, which brings tiny-3-1.el10" in words for words in other)


def test_a_target_that_may_lag_stops_nobody(site: Site) -> None:
    lagging = sited(site, s390x=7)
    one = [passing(lagging, "x86_64"), passing(lagging, "aarch64")]
    assert refused(asked(lagging, "required-targets", one)) == []
    assert refused(asked(lagging, "same-newest", one, [record("s390x")])) == []


def test_targets_that_would_end_with_different_versions_are_stopped(site: Site) -> None:
    one, there = [passing(site, "x86_64")], [record("x86_64"), record("aarch64")]
    assert refused(asked(site, "same-newest", one, there)) == [
        "same-newest: tiny-2-1.el10 on x86_64 (/builds/x86_64): aarch64 would stay at tiny-1-1.el10; others have "
        "tiny-2-1.el10 → let tiny-2-1.el10 pass on aarch64 as well, or give it lag_days in targets.yaml"
    ]
    assert refused(asked(site, "same-newest", [*one, passing(site, "aarch64")], there)) == []


def test_a_target_behind_for_longer_than_it_may_stops_newer_versions(site: Site) -> None:
    lagging = sited(site, s390x=7)
    there = [record("x86_64", "2", "2026-03-10"), record("s390x")]
    late = asked(lagging, "lag", [passing(lagging, "x86_64", "3")], there)
    assert refused(late) == [
        "lag: tiny-3-1.el10 on x86_64 (/builds/x86_64): s390x is at tiny-1-1.el10 and others have tiny-2-1.el10: since "
        "2026-03-10, 10 days, 7 days allowed → let tiny-2-1.el10 or newer pass on s390x first, or give it more lag_days"
    ]


def test_a_target_that_is_behind_for_less_or_catches_up_stops_nothing(site: Site) -> None:
    lagging = sited(site, s390x=7)
    there = [record("x86_64", "2", "2026-03-13"), record("s390x")]
    assert refused(asked(lagging, "lag", [passing(lagging, "x86_64", "3")], there)) == []
    old = [record("x86_64", "2", "2026-03-01"), record("s390x")]
    both = [passing(lagging, "x86_64", "3"), passing(lagging, "s390x", "3")]
    assert refused(asked(lagging, "lag", both, old)) == []
    assert refused(asked(lagging, "lag", [passing(lagging, "s390x", "2")], old)) == []


def test_a_debt_begins_with_the_first_version_it_missed(site: Site) -> None:
    lagging = sited(site, s390x=7)
    there = [record("x86_64", "3", "2026-03-19"), record("s390x")]
    history = {("tiny", "x86_64"): (record("x86_64", "1", "2026-02-01"), record("x86_64", "2", "2026-03-05"))}
    (debt,) = debts(asked(lagging, "lag", [], there, history=history), PACKAGE)
    assert (str(debt), debt.overdue) == (
        "s390x is at tiny-1-1.el10 and others have tiny-3-1.el10: since 2026-03-05, 15 days, 7 days allowed",
        True,
    )
    (never,) = debts(asked(lagging, "lag", [], there[:1], history=history), PACKAGE)
    assert str(never) == "s390x has none and others have tiny-3-1.el10: since 2026-02-01, 47 days, 7 days allowed"


def test_noarch_packages_of_one_content_pass_though_their_headers_differ(site: Site) -> None:
    both = [passing(site, "x86_64"), passing(site, "aarch64", doc="9" * 64)]
    alike = MadeUp(contents={("tiny", "x86_64"): "a", ("tiny", "aarch64"): "a"})
    assert refused(asked(site, "noarch-parity", both, world=alike)) == []
    assert refused(asked(site, "noarch-parity", [passing(site, "x86_64"), passing(site, "aarch64")])) == []


def test_noarch_packages_of_other_content_are_stopped(site: Site) -> None:
    differing = MadeUp(contents={("tiny", "x86_64"): "a", ("tiny", "aarch64"): "b"})
    words = (
        "noarch-parity: tiny-2-1.el10 on aarch64 (/builds/aarch64): tiny-doc-2-1.el10.noarch.rpm has other content "
        "on aarch64 than on x86_64 → make it the same on every target, or remove BuildArch: noarch"
    )
    both = [passing(site, "x86_64"), passing(site, "aarch64", doc="9" * 64)]
    assert refused(asked(site, "noarch-parity", both, world=differing)) == [words]
    assert refused(asked(site, "noarch-parity", both[1:], [record("x86_64", "2")], world=differing)) == [words]


def test_suites_that_a_stage_names_must_have_run(site: Site) -> None:
    one = passing(site, "x86_64")
    assert refused(asked(site, "tested", [one])) == []
    assert refused(asked(site, "tested", [one], suites=["packages", "tmt"])) == [
        "tested: tiny-2-1.el10 on x86_64 (/builds/x86_64): suite tmt did not run → kitten test --target x86_64 --build "
        "/builds/x86_64 --suite tmt, with the others"
    ]
    both = passing(site, "x86_64", report={"suites": (suite("passed"), suite("passed", name="tmt"))})
    assert refused(asked(site, "tested", [both], suites=["packages", "tmt"])) == []


def test_sources_that_differ_between_builds_that_pass_together_are_stopped(site: Site) -> None:
    both = [passing(site, "x86_64"), passing(site, "aarch64")]
    assert refused(asked(site, "one-source", both)) == []
    (words,) = refused(asked(site, "one-source", [both[0], passing(site, "aarch64", source="4" * 64)]))
    assert words == (
        "one-source: tiny-2-1.el10 on x86_64 (/builds/x86_64): tiny-2-1.el10.src.rpm has other content on aarch64 → "
        "build both from one source package"
    )


def test_placement_and_versions_are_rules_of_a_stage_as_well(site: Site) -> None:
    assert refused(asked(site, "placement", [passing(site, "x86_64")])) == []
    stray = passing(site, "x86_64", package=PACKAGE.model_copy(update={"binaries": ("tiny-libs",)}))
    (words,) = refused(asked(site, "placement", [stray]))
    assert words.endswith("packages/tiny.yaml does not list tiny-doc → add it there, or remove it from the spec")
    assert refused(asked(site, "no-downgrade", [passing(site, "x86_64")], [record("x86_64")])) == []
    (words,) = refused(asked(site, "no-downgrade", [passing(site, "x86_64")], [record("x86_64", "3")]))
    assert "tiny-2-1.el10 is older than the published tiny-3-1.el10" in words
    assert refused(asked(site, "no-replaced-file", [passing(site, "x86_64")], [record("x86_64", "2")])) == []
    (words,) = refused(
        asked(site, "no-replaced-file", [passing(site, "x86_64", doc="9" * 64)], [record("x86_64", "2")])
    )
    assert "tiny-doc-2-1.el10.noarch.rpm is published from commit cccccccccccc with other content" in words


def test_what_makes_another_package_uninstallable_is_stopped(site: Site) -> None:
    app = element("app-1-1", requires=["libtiny.so.1"])
    there = Repositories((app, element("tiny-libs-1-1.el10", source="tiny", provides=["libtiny.so.1"])))
    good, bad = (
        {"tiny": (element("tiny-libs-2-1.el10", source="tiny", provides=[so]),)}
        for so in ("libtiny.so.1", "libtiny.so.2")
    )
    one = [passing(site, "x86_64")]
    assert refused(asked(site, "installable", one, world=MadeUp(there, good))) == []
    assert refused(asked(site, "installable", one, world=MadeUp(there, bad))) == [
        "installable: tiny-2-1.el10 on x86_64 (/builds/x86_64): app 1-1 needs libtiny.so.1, which only tiny-libs "
        "1-1.el10 has; tiny-libs 2-1.el10 replaces it → rebuild app, then: kitten gate tiny"
    ]


def test_a_name_of_another_source_package_is_stopped(site: Site) -> None:
    one = [passing(site, "x86_64")]
    assert refused(asked(site, "provides", one)) == []
    taken = MadeUp(taken=(Refusal("provides", "tiny-libs provides glibc", "take it out"),))
    assert refused(asked(site, "provides", one, world=taken)) == [
        "provides: tiny-2-1.el10 on x86_64 (/builds/x86_64): tiny-libs provides glibc → take it out"
    ]


def test_dnf_decides_about_what_is_in_a_signed_stage(site: Site) -> None:
    signed = [passing(site, "x86_64", record=record("x86_64", "2"))]
    assert refused(asked(site, "dnf", signed)) == []
    (words,) = refused(asked(site, "dnf", signed, world=MadeUp(dnf_says="dnf refused to install tiny-libs")))
    assert words.endswith("dnf refused to install tiny-libs → try it: kitten install-check --target x86_64")
    (words,) = refused(asked(site, "dnf", [passing(site, "x86_64")]))
    assert "is in no signed repository of x86_64 yet" in words


REASON = "s390x has no builder this week"


def test_an_override_lets_pass_and_leaves_a_record(site: Site) -> None:
    one = asked(site, "same-newest", [passing(site, "x86_64")], [record("aarch64")])
    assert answer(one, Overrides()).outcome == "failed"
    result = answer(one, Overrides(("same-newest",), REASON, "release"))
    assert (result.outcome, result.summary) == ("passed", "1 build may pass to kitten, 1 rule overridden")
    (kept,) = result.overrides
    assert (kept.rule, kept.user, kept.when, kept.reason) == ("same-newest", "release", "2026-03-20T00:00:00Z", REASON)
    assert "aarch64 would stay at tiny-1-1.el10" in kept.refused[0]
    assert [v.outcome for v in result.verdicts] == ["passed", "overridden"]


def test_an_override_of_what_refused_nothing_leaves_no_record(site: Site) -> None:
    one = asked(site, "same-newest", [passing(site, "x86_64")])
    assert answer(one, Overrides(("same-newest",), REASON, "admin")).overrides == ()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            Overrides(("same-newest",), REASON, "contributor"),
            "contributor may not override the gate\n  → users who may: admin, release",
        ),
        (Overrides(("same-newest",), REASON, ""), "nobody may not override the gate"),
        (Overrides(("same-newest",), "because  ", "release"), "the reason 'because' is too short"),
        (Overrides(("built",), REASON, "admin"), "the rule built cannot be overridden"),
        (Overrides(("provides",), REASON, "admin"), "the rule provides cannot be overridden"),
        (Overrides(("no-replaced-file",), REASON, "admin"), "the rule no-replaced-file cannot be overridden"),
        (
            Overrides(("lags",), REASON, "admin"),
            "the gate of kitten has no rule lags\n  → its rules: built, same-newest",
        ),
    ],
)
def test_an_override_that_is_not_allowed_is_one_line(site: Site, overrides: Overrides, message: str) -> None:
    one = asked(site, "same-newest", [passing(site, "x86_64")], [record("aarch64")])
    with pytest.raises(CannotRun) as caught:
        answer(one, overrides)
    assert str(caught.value).startswith(message)
