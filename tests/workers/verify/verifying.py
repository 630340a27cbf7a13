"""Run ``kitten verify`` and return its findings."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from workers.base.errors import CannotRun, CheckFailed
from workers.results import Check, VerifyResult
from workers.verify.cli import verify


def checked(tmp_path: Path, *words: object, site: str = "demo") -> VerifyResult:
    """Run the command once, and return the result."""
    out = tmp_path / "result.json"
    arguments = ["--site", site, "--state", str(tmp_path / "state"), "--json", str(out), *map(str, words)]
    done = CliRunner().invoke(verify, arguments)
    result = VerifyResult.read(out.read_text())
    expected = {"passed": None, "failed": CheckFailed, "cannot-run": CannotRun}[result.outcome]
    assert isinstance(done.exception, expected) if expected else done.exception is None, done.output
    return result


def failures(result: VerifyResult) -> list[Check]:
    return [check for check in result.checks if check.outcome == "failed"]


def only_finding(result: VerifyResult) -> Check:
    findings = failures(result)
    assert result.outcome == "failed"
    assert len(findings) == 1, findings
    assert findings[0].detail in result.cause
    return findings[0]
