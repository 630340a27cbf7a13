"""The work of ``kitten test``: packages, what they need and their tests → a guest → a result and its logs."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from config.models import Suite, Target
from workers import subject
from workers.errors import CannotRun
from workers.lab import dependencies, machine
from workers.lab.kernel import guest_parts
from workers.lab.suites import packages as suite_packages
from workers.results import Artifact, Case, TestResult
from workers.verify.header import Header, MalformedError, read_header
from workers.verify.payload import Entry, unpack

_MAX_PAYLOAD = 1024**3
"""Bytes one package may unpack to in a guest."""


def test_packages(
    target: Target,
    suite: Suite,
    state: Path,
    paths: Sequence[Path],
    build_url: str | None,
    tests_place: Path | None,
    extra: Sequence[Path],
) -> TestResult:
    """Run the packages' tests in a guest of the target. Of a build, result and logs are stored in its folder.

    :raises CannotRun: nothing to test, another target's package, a library nobody brings, no QEMU, no guest kernel.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kitten-test-") as folder:
        scratch = Path(folder)
        about = subject.subject(target, state, paths, build_url, scratch / "packages")
        common = {"target": target.name, "suite": suite.name, "checked": about.artifacts}
        tests = _tests(about, tests_place, scratch)
        name = about.build.result.package if about.build else about.name
        if not suite_packages.scripts(tests):
            why = f"{name} has no tests/*.sh: nothing was tested. Add tests/smoke.sh to its dist-git repository"
            result = TestResult.model_validate({**common, "outcome": "not-held", "summary": why, "cause": why})
            return _stored(about, result, {}, scratch, begun)
        headers = _headers(target, about.packages)
        needed = [*extra, *_needed(target, state, headers, extra)]
        for path in needed:
            click.echo(f"with {path.name}")
        payloads = [
            _payload(path, header, scratch / "payloads" / str(number))
            for number, (path, header) in enumerate({**_headers(target, needed), **headers}.items())
        ]
        try:
            outcome = suite_packages.run(target, suite, payloads, tests, scratch)
        except machine.LaunchFailedError as error:
            raise CannotRun(str(error), "see machine in targets.yaml, and QEMU's words above") from None
        click.echo(f"{outcome.accelerator.name}: {outcome.accelerator.reason}\n{outcome.talk.command_line}")
        failed = [case for case in outcome.cases if case.outcome == "fail"]
        result = TestResult.model_validate(
            {
                **common,
                "outcome": "not-held" if failed else "held",
                "summary": _summary(name, target, outcome),
                "cause": _words(failed[0]) if failed else "",
                "cases": outcome.cases,
                "accelerator": outcome.accelerator.name,
                "cpu": outcome.cpu,
                "kernel": outcome.kernel,
            }
        )
        logs = {"console.log": bytes(outcome.talk.console), "tap.log": bytes(outcome.talk.tap)}
        return _stored(about, result, logs, scratch, begun)


def _tests(about: subject.Subject, place: Path | None, scratch: Path) -> Mapping[str, bytes]:
    """The test files: those of ``--tests``, else those that came with the build."""
    if place:
        return suite_packages.read_tests(place)
    tests = about.build.result.tests if about.build else None
    if not about.build or not tests:
        return {}
    import fsspec

    copy = scratch / "tests.tar"
    for url in (f"{about.build.url}/{tests.name}", tests.url):
        try:
            with fsspec.open(url, "rb") as source:
                copy.write_bytes(source.read())
        except FileNotFoundError:
            continue
        if subject.artifact(copy, url).sha256 == tests.sha256:
            return suite_packages.read_tests(copy)
        raise CannotRun(f"{url} is not what build.json says", "it was changed; build the package again")
    raise CannotRun(f"the tests of {about.build.url} are missing: {tests.url}", "build the package again")


def _headers(target: Target, packages: Sequence[Path]) -> dict[Path, Header]:
    """The headers of the packages that go into a guest: not the debuginfo, not the source.

    :raises CannotRun: for a package of another architecture, and a damaged one.
    """
    found = {}
    for path in packages:
        try:
            header = read_header(path)
        except (MalformedError, FileNotFoundError) as error:
            raise CannotRun(f"{path.name}: {error}", "build the package again") from None
        if header.arch not in (target.rpm_arch, "noarch", "src"):
            raise CannotRun(
                f"{path.name} is for {header.arch}, not {target.rpm_arch}", "give the package's own --target"
            )
        if header.arch != "src" and not header.is_debug:
            found[path] = header
    return found


def _needed(target: Target, state: Path, headers: Mapping[Path, Header], extra: Sequence[Path]) -> tuple[Path, ...]:
    """Staged packages that bring the libraries the tested ones need."""
    present = [library.name for library in guest_parts(target).libraries]
    staged = dependencies.staged_headers(state / "staged" / target.name, target.rpm_arch)
    there = [*headers.values(), *_headers(target, extra).values()]
    chosen, unresolved = dependencies.resolve(there, present, staged)
    if unresolved:
        raise CannotRun(
            f"nobody brings {', '.join(sorted(unresolved))} for {target.name}",
            "stage the package that provides it, or name its file: --with PATH",
        )
    return chosen


def _payload(path: Path, header: Header, scratch: Path) -> tuple[Entry, ...]:
    try:
        return unpack(path, header, scratch, _MAX_PAYLOAD)
    except MalformedError as error:
        raise CannotRun(f"{path.name}: {error}", "build the package again") from None


def _summary(name: str, target: Target, outcome: suite_packages.Outcome) -> str:
    count = Counter(case.outcome for case in outcome.cases)
    numbers = f"{count['pass']} passed, {count['fail']} failed" + (f", {count['skip']} skipped" * bool(count["skip"]))
    where = f"{outcome.cpu} ({outcome.accelerator.name}), kernel {outcome.kernel}"
    return f"{name}: {numbers} on {target.name}, {where}"


def _words(case: Case) -> str:
    first = next((line for line in case.detail.splitlines() if line.strip()), "")
    return ": ".join(part for part in (case.name, case.reason or first) if part)


def _stored(
    about: subject.Subject, result: TestResult, logs: Mapping[str, bytes], scratch: Path, begun: float
) -> TestResult:
    """The result with its time; of a build also its logs, and it is written to the build's folder, last of all."""
    kept: list[Artifact] = []
    for name, data in logs.items():
        file = scratch / name
        file.write_bytes(data)
        if about.build:
            kept.append(about.keep(name, file))
    seconds = round(time.monotonic() - begun, 3)
    result = result.model_copy(update={"logs": tuple(kept), "seconds": seconds})
    if about.build:
        document = scratch / "test.json"
        result.write(document)
        about.keep(document.name, document)
    return result
