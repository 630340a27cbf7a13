"""Rules over the proofs of one build: pure functions over results, their answers in words.

Each refusal names its rule, what was found, and the way out. A stage's gate says which of them hold there.
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
    """Hold a build's proofs against what a stage requires; nothing is refused when the answer is empty.

    :param requires: of ``built``, ``verified`` and ``tested``, those that the stage's gate names.
    :param suites: suites that must be among those that held.
    """
    rules: Mapping[str, Callable[[], Iterable[Refusal]]] = {
        "built": lambda: _built(build, target),
        "verified": lambda: _verified(build, verify, target),
        "tested": lambda: _tested(build, test, target, suites),
    }
    # A build that is not whole is refused everywhere: without it there is nothing the other proofs could speak of.
    return tuple(refusal for rule in dict.fromkeys(("built", *requires)) for refusal in rules[rule]())


def _built(build: BuildResult, target: Target) -> Iterable[Refusal]:
    again = f"kitten build --target {target.name}"
    if build.outcome != "passed":
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
    if verify.outcome != "passed":
        yield Refusal("verified", f"the proof did not hold: {verify.cause or verify.summary}", "mend the package")
    if verify.target != target.name:
        yield Refusal("verified", f"the proof is for {verify.target}, not for {target.name}", again)
    for check in verify.checks:
        if check.outcome == "failed" and verify.outcome == "passed":
            yield Refusal("verified", f"{check.rule} is violated in {check.file}, yet the proof says it held", again)
    if not any(check.outcome == "passed" for check in verify.checks):
        yield Refusal("verified", "nothing was checked", again)
    yield from _covers("verified", build.rpms, verify.checked, again)


def _tested(build: BuildResult, test: TestResult | None, target: Target, suites: Sequence[str]) -> Iterable[Refusal]:
    again = f"kitten test --target {target.name} --build {build.url}"
    if test is None:
        yield Refusal("tested", "there is no test.json", again)
        return
    if test.outcome != "passed":
        yield Refusal("tested", f"the test did not hold: {test.cause or test.summary}", "mend the package or its test")
    if test.target != target.name:
        yield Refusal("tested", f"the test ran for {test.target}, not for {target.name}", again)
    for case in test.cases:
        if case.outcome == "failed" and test.outcome == "passed":
            yield Refusal("tested", f"{case.name} failed, yet the report says it held", again)
    for suite in test.suites:
        if suite.outcome != "passed" and test.outcome == "passed":
            yield Refusal("tested", f"suite {suite.suite} did not hold, yet the report says it held", again)
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
    spoken_of = {artifact.name for artifact in checked}
    for rpm in rpms:
        if (rpm.name, rpm.sha256) not in proven:
            how = "speaks of other content of" if rpm.name in spoken_of else "says nothing of"
            yield Refusal(rule, f"the proof {how} {rpm.name}", again)


def against_package(package: SourcePackage, rpms: Iterable[Artifact]) -> tuple[Refusal, ...]:
    """Refuse binary packages that the package's entry does not name: nobody decided where they belong."""
    strays = package.strays([nevra_of_file(rpm.name).name for rpm in rpms])
    return tuple(
        Refusal("placement", f"{package.name} is not said to make {stray}", f"add it to packages/{package.name}.yaml")
        for stray in strays
    )
