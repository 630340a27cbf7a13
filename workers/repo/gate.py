"""What a build must have proven before users get it: pure functions over results, their answers in words.

Each refusal names its rule, what was found, and the way out. A stage says in stages.yaml which proofs it requires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.models import Package, Target
from config.nevra import Nevra
from workers.repo.packages import nevra_of_file
from workers.repo.records import PublishedRecord
from workers.results import Artifact, BuildResult, TestResult, VerifyResult


@dataclass(frozen=True)
class Refusal:
    """Why a build does not pass."""

    rule: str
    what: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what} → {self.way_out}"


@dataclass(frozen=True)
class Candidate:
    """A package about to be published on a target."""

    package: str
    nevr: str
    evr: str
    """``epoch:version-release`` of its source package."""
    unsigned: Mapping[str, str]
    """File name → checksum as built."""


def judge(
    build: BuildResult, verify: VerifyResult | None, test: TestResult | None, target: Target, requires: Sequence[str]
) -> tuple[Refusal, ...]:
    """Hold a build's proofs against what a stage requires; nothing is refused when the answer is empty."""
    rules: Mapping[str, Callable[[], Iterable[Refusal]]] = {
        "built": lambda: _built(build, target),
        "verified": lambda: _verified(build, verify, target),
        "tested": lambda: _tested(build, test, target),
    }
    # A build that is not whole is refused everywhere: without it there is nothing the other proofs could speak of.
    return tuple(refusal for rule in dict.fromkeys(("built", *requires)) for refusal in rules[rule]())


def _built(build: BuildResult, target: Target) -> Iterable[Refusal]:
    again = f"kitten build --target {target.name}"
    if build.outcome != "held":
        yield Refusal("built", f"the build did not hold: {build.cause or build.summary}", f"mend it, then {again}")
    if build.trial:
        yield Refusal(
            "built", f"{build.nevr} is a try-build", "commit the change to dist-git: that builds it for users"
        )
    if build.target != target.name:
        yield Refusal("built", f"the build is for {build.target}, not for {target.name}", "give this target's build")
    if not build.rpms:
        yield Refusal("built", "the build made no package", again)
    if build.srpm is None:
        yield Refusal("built", "the build does not name its source package", again)
    if not build.identity:
        yield Refusal("built", "the build carries no identity: its inputs are unknown", again)
    names = [rpm.name for rpm in build.rpms]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Refusal("built", f"the build names {name} more than once", again)


def _verified(build: BuildResult, verify: VerifyResult | None, target: Target) -> Iterable[Refusal]:
    again = f"kitten verify --target {target.name} --build {build.url}"
    if verify is None:
        yield Refusal("verified", "there is no verify.json", again)
        return
    if verify.outcome != "held":
        yield Refusal("verified", f"the proof did not hold: {verify.cause or verify.summary}", "mend the package")
    if verify.target != target.name:
        yield Refusal("verified", f"the proof is for {verify.target}, not for {target.name}", again)
    for check in verify.checks:
        if check.outcome == "violated" and verify.outcome == "held":
            yield Refusal("verified", f"{check.rule} is violated in {check.file}, yet the proof says it held", again)
    if not any(check.outcome == "held" for check in verify.checks):
        yield Refusal("verified", "nothing was checked", again)
    yield from _covers("verified", build.rpms, verify.checked, again)


def _tested(build: BuildResult, test: TestResult | None, target: Target) -> Iterable[Refusal]:
    again = f"kitten test --target {target.name} --build {build.url}"
    if test is None:
        yield Refusal("tested", "there is no test.json", again)
        return
    if test.outcome != "held":
        yield Refusal("tested", f"the test did not hold: {test.cause or test.summary}", "mend the package or its test")
    if test.target != target.name:
        yield Refusal("tested", f"the test ran for {test.target}, not for {target.name}", again)
    for case in test.cases:
        if case.outcome == "fail" and test.outcome == "held":
            yield Refusal("tested", f"{case.name} failed, yet the report says it held", again)
    for suite in test.suites:
        if suite.outcome != "held" and test.outcome == "held":
            yield Refusal("tested", f"suite {suite.suite} did not hold, yet the report says it held", again)
        if not any(case.outcome in ("pass", "flaky") for case in suite.cases):
            yield Refusal("tested", f"suite {suite.suite} tested nothing", again)
    if not test.suites:
        yield Refusal("tested", "nothing was tested", again)
    yield from _covers("tested", build.rpms, test.checked, again)


def _covers(rule: str, rpms: Sequence[Artifact], checked: Sequence[Artifact], again: str) -> Iterable[Refusal]:
    proven = {(artifact.name, artifact.sha256) for artifact in checked}
    spoken_of = {artifact.name for artifact in checked}
    for rpm in rpms:
        if (rpm.name, rpm.sha256) not in proven:
            how = "speaks of other content of" if rpm.name in spoken_of else "says nothing of"
            yield Refusal(rule, f"the proof {how} {rpm.name}", again)


def against_package(package: Package, rpms: Iterable[Artifact]) -> tuple[Refusal, ...]:
    """Refuse binary packages that the package's entry does not name: nobody decided where they belong."""
    binaries = {nevra_of_file(rpm.name).name for rpm in rpms}
    debug = {f"{name}-debuginfo" for name in (*package.binaries, package.name)} | {f"{package.name}-debugsource"}
    known = {*package.binaries, *debug}
    strays = sorted(binaries - known)
    return tuple(
        Refusal("placement", f"{package.name} is not said to make {stray}", f"add it to packages/{package.name}.yaml")
        for stray in strays
    )


def against_published(
    new: Candidate, old: PublishedRecord | None, others: Iterable[PublishedRecord], *, force: bool = False
) -> tuple[Refusal, ...]:
    """Hold what would be published against what is.

    :param old: what users of this target see of the package.
    :param others: what users of the other targets see of it: its source package is common to all.
    :param force: let an older version pass. Nothing lets other content under a published NEVRA pass.
    """
    return (*_not_older(new, old, force), *_not_replaced(new, old), *_same_source(new, others))


def age(package: str, evr: str) -> Any:
    """Sort key of a version, as rpm orders versions."""
    return Nevra.parse(f"{package}-{evr}.src").evr_key


def _not_older(new: Candidate, old: PublishedRecord | None, force: bool) -> Iterable[Refusal]:
    if old is not None and not force and age(new.package, new.evr) < age(old.package, old.evr):
        yield Refusal(
            "no downgrade", f"{new.nevr} is older than the published {old.nevr}", "kitten rollback, or --force"
        )


def _not_replaced(new: Candidate, old: PublishedRecord | None) -> Iterable[Refusal]:
    for name in other_content(new.unsigned, old.unsigned if old else {}):
        assert old is not None  # noqa: S101 - it has the name
        came = f"commit {old.commit[:12]}" if old.commit else f"build {old.identity[:12]}"
        yield Refusal("no replaced file", f"{name} is published from {came} with other content", "raise its Release")


def _same_source(new: Candidate, others: Iterable[PublishedRecord]) -> Iterable[Refusal]:
    for other in others:
        for name in other_content(new.unsigned, other.unsigned):
            if name.endswith(".src.rpm"):
                yield Refusal(
                    "one source", f"{name} is published with other content by {other.target}", "raise its Release"
                )


def other_content(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """Names that both have, with different checksums."""
    return sorted(name for name in new if old.get(name, new[name]) != new[name])
