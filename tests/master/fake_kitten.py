"""A ``kitten`` for tests of the Buildbot side: it reads its options and writes a valid result, without any work.

``STATE/behaviour/COMMAND/hold`` makes a command wait; ``fail-NAME`` there makes it fail for a target or package;
``flaky`` makes a test flaky. ``STATE/calls`` has one line of JSON for each call.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from workers.results import (
    Artifact,
    BuildResult,
    Case,
    Check,
    CleanResult,
    ComposeResult,
    Promoted,
    PromoteResult,
    PublishResult,
    Result,
    SourceResult,
    StageResult,
    SuiteResult,
    TestResult,
    VerifyResult,
)

FLAGS = ("--trial", "--dry-run", "--yes", "--if-due")
Options = list[tuple[str, str]]


def main(arguments: list[str]) -> int:
    """Run one command; return its exit status."""
    command, words = arguments[0], [word for word in arguments[1:] if word not in FLAGS]
    packages = []
    if command == "promote":
        packages, words = words[2:3], words[:2] + words[3:]
    pairs = list(zip(words[::2], words[1::2], strict=False))
    options = dict(pairs)
    state = Path(options["--state"])
    behaviour = state / "behaviour" / command
    while (behaviour / "hold").exists():
        time.sleep(0.05)
    with (state / "calls").open("a") as calls:
        calls.write(json.dumps([command, options]) + "\n")
    name = options.get("--target") or options.get("--package", "")
    failure = {}
    if (behaviour / f"fail-{name}").exists():
        failure = {"outcome": "failed", "cause": f"{command} failed as the test wants"}
    if command == "test":
        result = _test(pairs, state, failure, flaky=(behaviour / "flaky").exists())
    elif command == "promote":
        result = _promote(packages[0], state, failure)
    else:
        result = _result(command, options, state, failure, dry="--yes" not in arguments)
    result.write(Path(options["--json"]))
    return 1 if failure else 0


def _result(command: str, options: dict[str, str], state: Path, failure: dict[str, Any], *, dry: bool) -> Result:
    """Return the result of a command whose options are enough for it."""
    target = options.get("--target", "")
    match command:
        case "source":
            return _source(options, state, failure)
        case "build":
            return _build(Path(options["--source"]), target, state, failure)
        case "verify":
            check = Check(rule="isa", file="a", outcome="passed")
            return VerifyResult(summary="v", target=target, checks=(check,), **failure)
        case "stage":
            return StageResult(summary="s", target=target, package="p", nevr="n", staged=("a.rpm",), **failure)
        case "publish":
            place = {"stage": "kitten", "snapshot": 1}
            return PublishResult(summary="p", target=target, package="p", nevr="n", **place, **failure)
        case "clean":
            return CleanResult(summary="cleaned", dry=dry, **failure)
        case "compose":
            return ComposeResult(summary="composed", stage=options["--stage"], **failure)
    raise SystemExit(f"unknown command {command}")


def _source(options: dict[str, str], state: Path, failure: dict[str, Any]) -> SourceResult:
    package, commit = options["--package"], options.get("--revision", "0" * 40)
    folder = state / "artifacts" / "sources" / package / commit
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.src.rpm").write_text(package)
    return SourceResult(
        summary="made" + ("patched" if "--patch" in options else ""),
        package=package,
        branch=options.get("--branch", ""),
        commit=commit,
        nevr=f"{package}-1-1",
        srpm=Artifact(name="s.src.rpm", url=str(folder / "s.src.rpm"), sha256="0", size=1),
        build_requires=("zlib-devel",) if package == "pigz" else (),
        **failure,
    )


def _build(source: Path, target: str, state: Path, failure: dict[str, Any]) -> BuildResult:
    package, commit = source.parent.name, source.name
    folder = state / "artifacts" / "builds" / target / f"{package}-{commit}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.rpm").write_text("rpm")
    return BuildResult(
        summary="built",
        target=target,
        package=package,
        nevr=f"{package}-1-1",
        commit=commit,
        identity="i",
        url=str(folder),
        rpms=(Artifact(name="a.rpm", url=str(folder / "a.rpm"), sha256="0", size=3),),
        seconds=1,
        **failure,
    )


def _test(pairs: Options, state: Path, failure: dict[str, Any], *, flaky: bool) -> TestResult:
    target = dict(pairs).get("--target", "")
    folder = state / "lab" / target
    folder.mkdir(parents=True, exist_ok=True)
    screen = folder / "screen.png"
    screen.write_bytes(b"\x89PNG\r\n\x1a\n")
    suites = []
    for name in (value for option, value in pairs if option == "--suite"):
        log = Artifact(name=f"{name}-screen.png", url=str(screen), sha256="0", size=8)
        outcome = "failed" if failure else "flaky" if flaky else "passed"
        case = Case(name="a", outcome=outcome, pictures=(log.name,))
        of_suite = failure.get("outcome", "passed")
        suites.append(SuiteResult(suite=name, outcome=of_suite, summary="s", cases=(case,), logs=(log,)))
    return TestResult(summary="t", target=target, suites=tuple(suites), **failure)


def _promote(package: str, state: Path, failure: dict[str, Any]) -> PromoteResult:
    """Return the result of a promotion: users have a commit when it was published for both targets."""
    calls = [json.loads(line) for line in (state / "calls").read_text().splitlines()]
    builds = [(options["--target"], options["--build"]) for name, options in calls if name == "publish"]
    commits = {target: build.rsplit("-", 1)[1] for target, build in builds if f"/{package}-" in build}
    both = len(set(commits.values())) == 1 and len(commits) == 2
    has = [Promoted(package=package, target=t, nevr="n", commit=c) for t, c in commits.items()] if both else []
    summary = package + (" is in kitten" if has else " waits")
    return PromoteResult(summary=summary, stage="kitten", has=tuple(has), **failure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
