"""What a build must have proven before users get it: pure functions over results, their answers in words.

Each refusal names its rule, what was found, and the way out. A stage says in stages.yaml which proofs it requires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from config.models import Package, Target
from config.nevra import Nevra
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
    if not any(case.outcome == "pass" for case in test.cases):
        yield Refusal("tested", "nothing was tested", again)
    yield from _covers("tested", build.rpms, test.checked, again)


def _covers(rule: str, rpms: Sequence[Artifact], checked: Sequence[Artifact], again: str) -> Iterable[Refusal]:
    proven = {(artifact.name, artifact.sha256) for artifact in checked}
    spoken_of = {artifact.name for artifact in checked}
    for rpm in rpms:
        if (rpm.name, rpm.sha256) not in proven:
            how = "speaks of other content of" if rpm.name in spoken_of else "says nothing of"
            yield Refusal(rule, f"the proof {how} {rpm.name}", again)


def against_package(package: Package, binaries: Iterable[str]) -> tuple[Refusal, ...]:
    """Refuse binary packages that the package's entry does not name: nobody decided where they belong."""
    strays = sorted(set(binaries) - set(package.binaries))
    return tuple(
        Refusal("placement", f"{package.name} is not said to make {stray}", f"add it to packages/{package.name}.yaml")
        for stray in strays
    )


def against_published(
    new: PublishedRecord, old: PublishedRecord | None, others: Iterable[PublishedRecord], *, force: bool = False
) -> tuple[Refusal, ...]:
    """Hold what would be published against what is.

    :param old: what users of this target see of the package.
    :param others: what users of the other targets see of it: its source package is common to all.
    :param force: let an older version pass. Nothing lets other content under a published NEVRA pass.
    """
    return (*_not_older(new, old, force), *_not_replaced(new, old), *_same_source(new, others))


def evr_key(record: PublishedRecord) -> object:
    """Sort key of a record's age, as rpm orders versions."""
    return Nevra.parse(f"{record.package}-{record.evr}.src").evr_key


def _not_older(new: PublishedRecord, old: PublishedRecord | None, force: bool) -> Iterable[Refusal]:
    if old is not None and not force and evr_key(new) < evr_key(old):  # type: ignore[operator]
        yield Refusal("no downgrade", f"{new.nevr} is older than the published {old.nevr}", "kitten rollback, or --force")


def _not_replaced(new: PublishedRecord, old: PublishedRecord | None) -> Iterable[Refusal]:
    if old is None:
        return
    for name, checksum in new.unsigned.items():
        if old.unsigned.get(name, checksum) != checksum:
            came = f"commit {old.commit[:12]}" if old.commit else f"build {old.identity[:12]}"
            yield Refusal("no replaced file", f"{name} is published from {came} with other content", "raise its Release")


def _same_source(new: PublishedRecord, others: Iterable[PublishedRecord]) -> Iterable[Refusal]:
    for other in others:
        for name, checksum in new.unsigned.items():
            if name.endswith(".src.rpm") and other.unsigned.get(name, checksum) != checksum:
                yield Refusal("one source", f"{name} is published with other content by {other.target}", "raise its Release")
