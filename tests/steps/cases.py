"""Results of worker commands, and a test case that runs a step against a worker's answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from buildbot.test.reactor import TestReactorMixin
from buildbot.test.steps import ExpectRemoteRef, ExpectShell, ExpectUploadFile, TestBuildStepMixin
from twisted.internet.defer import succeed
from twisted.trial import unittest

from steps.build import BuildRpmsStep
from steps.command import RUN_FRESH, FileCollector, Installation, KittenCommand
from steps.housekeeping import CleanStep, ComposeStep
from steps.lab import GuestTestStep
from steps.promotion import PromoteStep, PublishStep, StageStep
from steps.source import SourceStep
from steps.verify import VerifyStep

SUITES = {"bzip2": ("packages", "spice"), "zlib": ("packages",)}
INSTALLATION = Installation("demo", (("/state/artifacts", "http://ci/plugins/kitten/artifacts"),))
RPM = {"name": "bzip2.rpm", "url": "/state/artifacts/builds/x/1/bzip2.rpm", "sha256": "00", "size": 9}

BUILT = {
    "command": "build",
    "summary": "built",
    "seconds": 31.2,
    "target": "x86_64",
    "package": "bzip2",
    "nevr": "bzip2-1.0.8-1.el10",
    "identity": "abc",
    "url": "/state/artifacts/builds/x/1",
    "rpms": [RPM] * 4,
}
SOURCE = {
    "command": "source",
    "summary": "made",
    "package": "bzip2",
    "branch": "c10s",
    "commit": "1a2b3c4d5e",
    "nevr": "bzip2-1.0.8-1.el10",
    "srpm": {**RPM, "name": "bzip2.src.rpm", "url": "/state/artifacts/sources/bzip2/k/bzip2.src.rpm"},
    "build_requires": ["zlib-devel"],
}
CHECKS = [
    {"rule": "frame-pointer", "file": "bzip2", "outcome": "passed"},
    {"rule": "isa", "file": "bzip2", "outcome": "passed"},
    {"rule": "isa", "file": "README", "outcome": "skipped", "reason": "no-code"},
]
VERIFIED = {"command": "verify", "summary": "proven", "target": "x86_64", "checks": CHECKS}
CASES = [
    {"name": "round trip", "outcome": "passed", "seconds": 1.25},
    {"name": "big file", "outcome": "skipped", "reason": "memory", "code": "tap"},
]
CONSOLE = {
    "name": "packages-console.log",
    "url": "/state/artifacts/builds/x/1/packages-console.log",
    "sha256": "00",
    "size": 5,
}
PICTURE = {**CONSOLE, "name": "packages-a.png", "url": "/state/artifacts/builds/x/1/packages-a.png"}
SUITE = {
    "suite": "packages",
    "outcome": "passed",
    "summary": "packages: no error",
    "cases": CASES,
    "cpu": "power9",
    "accelerator": "TCG",
    "logs": [CONSOLE, PICTURE],
}
TESTED = {"command": "test", "summary": "tested", "target": "x86_64", "suites": [SUITE]}
STAGED = {
    "command": "stage",
    "summary": "s",
    "target": "x86_64",
    "package": "bzip2",
    "nevr": "b-1",
    "staged": ["b", "c"],
}
PUBLISHED = {
    "command": "publish",
    "summary": "p",
    "target": "s390x",
    "package": "bzip2",
    "nevr": "b-1",
    "stage": "kitten",
    "snapshot": 7,
    "packages": [RPM],
    "has": [{"package": "bzip2", "target": "s390x", "nevr": "b-1", "commit": "c" * 40}],
}
PROMOTED = {
    "command": "promote",
    "summary": "b-1 on 2 targets in kitten, snapshot 7",
    "stage": "kitten",
    "snapshot": 7,
    "has": [
        {"package": "bzip2", "target": "x86_64", "nevr": "b-1", "commit": "c" * 40},
        {"package": "bzip2", "target": "s390x", "nevr": "b-1", "commit": "d" * 40},
        {"package": "zlib", "target": "s390x", "nevr": "z-1", "commit": "e" * 40},
    ],
}
CLEANED = {
    "command": "clean",
    "summary": "1 folder (2.5 MB) would go, 7 folders (9.0 MB) stay; remove them: kitten clean --yes",
    "dry": True,
    "folders": [
        {
            "path": "failed/s390x/77",
            "kind": "failed build",
            "what": "bzip2-1-1",
            "size": 2_500_000,
            "why": "15.0 days old, over failed_days: 14",
        }
    ],
    "size": 2_500_000,
    "staying": 7,
}
COMPOSED = {
    "command": "compose",
    "summary": "compose kitten-10-20260801.3 of snapshot 7: mirrors see it",
    "stage": "kitten",
    "id": "kitten-10-20260801.3",
    "url": "/state/published/composes/kitten-10-20260801.3",
    "new": True,
}
STEPS: dict[str, tuple[type[KittenCommand[Any]], dict[str, Any], str]] = {
    "source": (SourceStep, SOURCE, "bzip2-1.0.8-1.el10 from c10s 1a2b3c4"),
    "build": (BuildRpmsStep, BUILT, "bzip2-1.0.8-1.el10: 4 RPMs, 31 s"),
    "verify": (VerifyStep, VERIFIED, "proven"),
    "test": (GuestTestStep, TESTED, "1 tests passed on power9 (TCG), 1 skipped"),
    "stage": (StageStep, STAGED, "2 RPMs of b-1 staged"),
    "publish": (PublishStep, PUBLISHED, "b-1 on s390x: published in kitten, snapshot 7"),
    "promote": (PromoteStep, PROMOTED, "b-1 on 2 targets in kitten, snapshot 7"),
    "clean": (CleanStep, CLEANED, f"dry run: {CLEANED['summary']}"),
    "compose": (ComposeStep, COMPOSED, "compose kitten-10-20260801.3 of snapshot 7: mirrors see it"),
}
OUTCOMES = {
    "verify": (
        "verify",
        [
            (1000, "1", "proof", "bzip2", None, None),
            (1001, "no-code", "isa", "README", None, None),
        ],
    ),
    "test": (
        "guest tests",
        [
            (1000, "1", "packages: round trip", None, None, 1_250_000_000),
            (1001, "tap: memory", "packages: big file", None, None, None),
        ],
    ),
}


class StepTestCase(TestBuildStepMixin, TestReactorMixin, unittest.TestCase):
    """Runs one step; a test lists the commands that it sends and what it shows."""

    def setUp(self) -> Any:
        self.setup_test_reactor()
        return self.setup_test_build_step()

    change: tuple[int, str] | None = None

    def set_up(self, command: str, **more: Any) -> None:
        kind, _, _ = STEPS[command]
        # Buildbot's fake data API takes no blanks in a step's name; the real one does.
        more |= {"suites": SUITES} if command == "test" else {}
        more = {"to_users": True, **more} if command in ("publish", "promote") else more
        self.setup_step(
            kind(name=command, arguments=[command], installation=INSTALLATION, state_folder="/state", **more)
        )
        self.build.setProperty("package", "bzip2", "test")
        self.pages: list[str] = []
        self.step.addHTMLLog = lambda _name, html: succeed(self.pages.append(html))

        if command == "source":
            self.build.sources[""] = SimpleNamespace(branch="c10s", revision="1a2b3c4d5e", patch=self.change)

    def shell(self, command: str, *more: str, factor: float = 1.0, limit: float | None = None) -> ExpectShell:
        if command == "source":
            more = ("--branch", "c10s", "--revision", "1a2b3c4d5e", *more)
        if command == "promote":
            more = ("bzip2", *more)
        if command == "clean":
            more = more or ("--dry-run",)
        if command == "test":
            more = ("--suite", "packages", "--suite", "spice", *more)
        words = [command, *more, "--site", "demo", "--state", "/state", "--json", "result.json"]
        return ExpectShell(
            workdir="wkdir",
            command=["sh", "-c", RUN_FRESH, "result.json", *words],
            env={"KITTEN_DIE_WITH_PARENT": "1", "PYTHONUNBUFFERED": "1"},
            log_environ=False,
            timeout=1200 * factor,
            max_time=limit,
            use_pty=False,
            sigterm_time=15,
        )

    def upload(self, text: str | None, source: str = "result.json") -> ExpectUploadFile:
        expected = ExpectUploadFile(
            blocksize=32 * 1024,
            maxsize=None,
            workersrc=source,
            workdir="wkdir",
            writer=ExpectRemoteRef(FileCollector),
        )
        return expected.exit(1) if text is None else expected.upload_string(text.encode()).exit(0)

    def answers(self, command: str, status: int, text: str | None) -> None:
        self.expect_commands(self.shell(command).exit(status), self.upload(text))

    def expect_shown(self, command: str, result: dict[str, Any]) -> None:
        kept = STEPS[command][0].result_type.model_validate(result).model_dump_json().encode()
        self.expect_build_data(command, kept, "kitten")
        if command in OUTCOMES:
            category, rows = OUTCOMES[command]
            self.expect_test_result_sets(
                [(category, "pass_fail", "boolean"), (f"{category}: skipped", category, "reason")]
            )
            self.expect_test_results(rows)
