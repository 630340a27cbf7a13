"""The work of ``kitten test``: run suites for packages in guests, and store the result with its logs."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from config.models import Site, Suite, Target
from workers.artifacts import subject
from workers.base import cache
from workers.base.errors import CannotRun
from workers.lab import junit
from workers.lab.builds import carried_tests
from workers.lab.machine.launch import LaunchFailedError
from workers.lab.suites import Report, Request, runner
from workers.lab.testfiles import FMF_ROOT, read_tests, tests_folder
from workers.results import Artifact, Case, Outcome, SuiteResult, TestResult

_KEPT_RUNS = 100  # runs without a build, in the state folder


def run_suites(
    site: Site,
    target: Target,
    suites: Sequence[Suite],
    state: Path,
    paths: Sequence[Path],
    build_url: str | None = None,
    tests_place: Path | None = None,
    extra: Sequence[Path] = (),
    *,
    dependents: bool = False,
    quick: bool = False,
) -> TestResult:
    """Run suites in guests of the target. Store result and logs in the build's folder, or else in the state folder.

    :param dependents: also run the tests of the packages that need the tested ones.
    :param quick: run only the suites' shortest tests.
    :raises CannotRun: no packages, a package of another target, no QEMU, no guest kernel.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kitten-test-") as folder:
        scratch = Path(folder)
        about = None
        if paths or build_url:
            about = subject.subject(target, state, paths, build_url, scratch / "packages")
        files = _tests(about, tests_place, scratch)
        kept = scratch / "kept" if about and about.build else _run_folder(state, target)
        results = []
        for suite in suites:
            request = Request(
                site=site,
                target=target,
                suite=suite,
                state=state,
                packages=about.packages if about else (),
                tests=tests_folder(files),
                fmf=files if FMF_ROOT in files else {},
                extra=tuple(extra),
                logs=kept / suite.name,
                scratch=scratch / suite.name,
                dependents=dependents,
                quick=quick,
            )
            results.append(_run(request, about))
        failed = next((result for result in results if result.outcome != "passed"), None)
        name = (about.build.result.package if about.build else about.name) if about else target.name
        summary = "; ".join(result.summary for result in results)
        result = TestResult(
            target=target.name,
            outcome=failed.outcome if failed else "passed",
            summary=f"{name}: {summary} on {target.name}",
            cause=failed.cause if failed else "",
            checked=about.artifacts if about else (),
            suites=tuple(results),
        )
        return _store(about, result, kept, begun)


def _run(request: Request, about: subject.Subject | None) -> SuiteResult:
    """Run one suite; while cases fail, run it again, at most as often as the suite's ``reruns`` allow."""
    begun = time.monotonic()
    click.echo(f"suite {request.suite.name}: {request.suite.description}")
    report = _attempt(request, "")
    cases = report.cases
    for number in range(request.suite.reruns):
        if not any(case.outcome == "failed" for case in cases):
            break
        click.echo(f"suite {request.suite.name}: cases failed, running it again")
        cases = merge_rerun(cases, _attempt(request, f"rerun-{number + 1}-").cases)
    failed = [case for case in cases if case.outcome == "failed"]
    passed = not failed and any(case.outcome in ("passed", "flaky") for case in cases)
    outcome: Outcome = "passed" if passed else "failed"
    return SuiteResult(
        suite=request.suite.name,
        outcome=outcome,
        summary=_summary(request.suite, cases, report),
        cause=_cause(failed[0]) if failed else "" if passed else f"{request.suite.name}: nothing was tested",
        cases=cases,
        accelerator=report.accelerator,
        cpu=report.cpu,
        kernel=report.kernel,
        facts=dict(report.extra),
        seconds=round(time.monotonic() - begun, 3),
        logs=_logs(request, about),
    )


def _attempt(request: Request, prefix: str) -> Report:
    """Run the suite once.

    Its logs get the prefix, so that no attempt overwrites the logs of another. Its pictures get their full names.
    """
    attempt = f"attempt-{prefix}"
    logs, scratch = request.logs / attempt if prefix else request.logs, request.scratch / attempt
    logs.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True)
    try:
        report = runner(request.suite.name).run(dataclasses.replace(request, logs=logs, scratch=scratch))
    except LaunchFailedError as error:
        raise CannotRun(str(error), "see machine in targets.yaml, and QEMU's message above") from None
    if prefix:
        for path in logs.iterdir():
            path.rename(request.logs / (prefix + path.name))
        logs.rmdir()
    if report.reason:
        click.echo(f"{report.accelerator}: {report.reason}")
    for name, value in report.extra.items():
        click.echo(f"{name}: {value}")
    cases = [_with_pictures(case, f"{request.suite.name}-{prefix}") for case in report.cases]
    return dataclasses.replace(report, cases=tuple(cases))


def _with_pictures(case: Case, prefix: str) -> Case:
    return (
        case.model_copy(update={"pictures": tuple(prefix + name for name in case.pictures)}) if case.pictures else case
    )


def merge_rerun(first: Sequence[Case], again: Sequence[Case]) -> tuple[Case, ...]:
    """Merge the cases of two runs. A case that failed and then passed, or that the second run does not have, is flaky.

    A case that passed at first and then failed has failed.
    """
    second = {case.name: case for case in again}
    merged = []
    for case in first:
        now = second.pop(case.name, None)
        if case.outcome == "failed" and (now is None or now.outcome in ("passed", "flaky")):
            merged.append(case.model_copy(update={"outcome": "flaky"}))
        elif case.outcome in ("passed", "flaky") and now is not None and now.outcome == "failed":
            merged.append(now.model_copy(update={"outcome": "flaky"}) if case.outcome == "flaky" else now)
        else:
            merged.append(case)
    return (*merged, *(case for case in second.values() if case.outcome == "failed"))


def _tests(about: subject.Subject | None, place: Path | None, scratch: Path) -> Mapping[str, bytes]:
    """Return the test files of ``--tests``, or else those that came with the build."""
    if place:
        return read_tests(place)
    if not about or not about.build:
        return {}
    return carried_tests(about.build.result, scratch, url=about.build.url)


def _run_folder(state: Path, target: Target) -> Path:
    """Make a folder for the logs of a run without a build; remove the oldest runs above ``_KEPT_RUNS``."""
    import os
    import shutil

    runs = state / "lab"
    folder = runs / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{target.name}-{os.getpid()}"
    with cache.hold_lock(runs / ".lock"):
        for old in sorted(path for path in runs.iterdir() if path.is_dir())[:-_KEPT_RUNS]:
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True)
    return folder


def _summary(suite: Suite, cases: Sequence[Case], report: Report) -> str:
    count: Counter[str] = Counter(case.outcome for case in cases)
    parts = [f"{count['passed']} passed", f"{count['failed']} failed"]
    parts += [f"{count[outcome]} {outcome}" for outcome in ("flaky", "skipped") if count[outcome]]
    machine = f", {report.cpu} ({report.accelerator}), kernel {report.kernel}" if report.cpu else ""
    return f"{suite.name} {', '.join(parts)}{machine}"


def _cause(case: Case) -> str:
    first = next((line for line in case.detail.splitlines() if line.strip()), "")
    return ": ".join(part for part in (case.name, case.reason or first) if part)


def _logs(request: Request, about: subject.Subject | None) -> tuple[Artifact, ...]:
    """Return the log files of the suite, named SUITE-FILE; with a build, store them in its folder."""
    logs = []
    for path in sorted(path for path in request.logs.iterdir() if path.is_file()):
        name = f"{request.suite.name}-{path.name}"
        logs.append(about.keep(name, path) if about else subject.artifact(path, str(path), name))
    return tuple(logs)


def _store(about: subject.Subject | None, result: TestResult, kept: Path, begun: float) -> TestResult:
    """Store the JUnit report, and last the result, in the build's folder or in ``kept``.

    :returns: the result with its report and its duration.
    """
    kept.mkdir(parents=True, exist_ok=True)
    build = about.build if about else None
    report = kept / "junit.xml"
    report.write_bytes(junit.to_xml(result, build.url if build else str(kept)))
    artifact = about.keep(report.name, report) if about else subject.artifact(report, str(report))
    seconds = round(time.monotonic() - begun, 3)
    result = result.model_copy(update={"reports": (artifact,), "seconds": seconds})
    document = kept / "test.json"
    result.write(document)
    if about and build:
        about.keep(document.name, document)
    return result
