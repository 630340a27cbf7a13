"""Rules over the proofs of one build: pure functions over results.

Each refusal has its rule, the finding and a hint. stages.yaml lists the rules of each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from config.models import SourcePackage, Target
from workers.promotion.gate.refusal import Refusal
from workers.repository.packages import nevra_of_file
from workers.results import Artifact, BuildResult, TestResult, VerifyResult


def judge(
    build: BuildResult,
    verify: VerifyResult | None,
    test: TestResult | None,
    target: Target,
    requires: Sequence[str],
    suites: Sequence[str] = (),
) -> tuple[Refusal, ...]:
    """Check a build's proofs against the rules of a stage, and return the refusals.

    :param requires: the rules of the stage's gate among ``built``, ``verified`` and ``tested``.
    :param suites: suites that must have passed.
    """
    rules: Mapping[str, Callable[[], Iterable[Refusal]]] = {
        "built": lambda: _built(build, target),
        "verified": lambda: _verified(build, verify, target),
        "tested": lambda: _tested(build, test, target, suites),
    }
    # Every stage refuses an incomplete build: the other proofs mean nothing for it.
    return tuple(refusal for rule in dict.fromkeys(("built", *requires)) for refusal in rules[rule]())


def _built(build: BuildResult, target: Target) -> Iterable[Refusal]:
    again = f"kitten build --target {target.name}"
    if build.outcome != "passed":
        yield Refusal("built", f"the build failed: {build.cause or build.summary}", f"fix it, then {again}")
    if build.trial:
        yield Refusal(
            "built", f"{build.nevr} is a try build", "commit the change to dist-git: then it is built for users"
        )
    if build.target != target.name:
        yield Refusal(
            "built", f"the build is for {build.target}, not for {target.name}", f"pass a build for {target.name}"
        )
    if not build.rpms:
        yield Refusal("built", "the build made no package", again)
    if build.srpm is None:
        yield Refusal("built", "the build does not name its source package", again)
    if not build.identity:
        yield Refusal("built", "the build has no identity: its inputs are unknown", again)
    names = [rpm.name for rpm in build.rpms]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Refusal("built", f"the build names {name} more than once", again)


def _verified(build: BuildResult, verify: VerifyResult | None, target: Target) -> Iterable[Refusal]:
    again = f"kitten verify --target {target.name} --build {build.url}"
    if verify is None:
        yield Refusal("verified", "there is no verify.json", again)
        return
    if verify.outcome != "passed":
        yield Refusal("verified", f"the proof failed: {verify.cause or verify.summary}", "fix the package")
    if verify.target != target.name:
        yield Refusal("verified", f"the proof is for {verify.target}, not for {target.name}", again)
    for check in verify.checks:
        if check.outcome == "failed" and verify.outcome == "passed":
            yield Refusal("verified", f"{check.rule} is violated in {check.file}, but the proof says it passed", again)
    if not any(check.outcome == "passed" for check in verify.checks):
        yield Refusal("verified", "nothing was checked", again)
    yield from _covers("verified", build.rpms, verify.checked, again)


def _tested(build: BuildResult, test: TestResult | None, target: Target, suites: Sequence[str]) -> Iterable[Refusal]:
    again = f"kitten test --target {target.name} --build {build.url}"
    if test is None:
        yield Refusal("tested", "there is no test.json", again)
        return
    if test.outcome != "passed":
        yield Refusal("tested", f"the test failed: {test.cause or test.summary}", "fix the package or its test")
    if test.target != target.name:
        yield Refusal("tested", f"the test ran for {test.target}, not for {target.name}", again)
    for case in test.cases:
        if case.outcome == "failed" and test.outcome == "passed":
            yield Refusal("tested", f"{case.name} failed, but the report says it passed", again)
    for suite in test.suites:
        if suite.outcome != "passed" and test.outcome == "passed":
            yield Refusal("tested", f"suite {suite.suite} failed, but the report says it passed", again)
        if not any(case.outcome in ("passed", "flaky") for case in suite.cases):
            yield Refusal("tested", f"suite {suite.suite} tested nothing", again)
    if not test.suites:
        yield Refusal("tested", "nothing was tested", again)
    else:
        ran = {suite.suite for suite in test.suites}
        for missing in (name for name in suites if name not in ran):
            yield Refusal("tested", f"suite {missing} did not run", f"{again} --suite {missing}, with the others")
    yield from _covers("tested", build.rpms, test.checked, again)


def _covers(rule: str, rpms: Sequence[Artifact], checked: Sequence[Artifact], again: str) -> Iterable[Refusal]:
    proven = {(artifact.name, artifact.sha256) for artifact in checked}
    named = {artifact.name for artifact in checked}
    for rpm in rpms:
        if (rpm.name, rpm.sha256) not in proven:
            what = "is for other content of" if rpm.name in named else "does not cover"
            yield Refusal(rule, f"the proof {what} {rpm.name}", again)


def against_package(package: SourcePackage, rpms: Iterable[Artifact]) -> tuple[Refusal, ...]:
    """Refuse binary packages that the package's entry does not list: they have no repository."""
    strays = package.strays([nevra_of_file(rpm.name).name for rpm in rpms])
    return tuple(
        Refusal(
            "placement",
            f"packages/{package.name}.yaml does not list {stray}",
            "add it there, or remove it from the spec",
        )
        for stray in strays
    )
