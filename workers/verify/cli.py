"""``kitten verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers import options, subject
from workers.errors import CannotRun, DidNotHold

if TYPE_CHECKING:
    from workers.results import VerifyResult


@click.command()
@subject.options
def verify(
    target_name: str,
    build_url: str | None,
    site_name: str,
    state_folder: Path | None,
    json_file: Path | None,
    paths: tuple[Path, ...],
) -> None:
    """Prove that RPMs are what their target promises.

    PATHs are package files or folders of them, the debuginfo packages included: the proof is in there. With --build the
    result is stored in the build's folder as verify.json.
    """
    from workers.results import VerifyResult

    try:
        result = _verify(target_name, build_url, site_name, state_folder, paths)
    except CannotRun as error:
        if json_file:
            subject.failed(VerifyResult, target_name, error).write(json_file)
        raise
    if json_file:
        result.write(json_file)
    if result.outcome != "held":
        raise DidNotHold(f"{result.summary}\n{result.cause}")
    click.echo(result.summary)


def _verify(
    target_name: str, build_url: str | None, site_name: str, state_folder: Path | None, paths: tuple[Path, ...]
) -> VerifyResult:
    import tempfile
    import time

    from workers.results import VerifyResult
    from workers.verify import report
    from workers.verify.evidence import gather
    from workers.verify.judge import judge

    begun = time.monotonic()
    site, state = options.opened(site_name, state_folder)
    target = options.named_target(site, target_name)
    with tempfile.TemporaryDirectory(prefix="kitten-verify-") as folder:
        about = subject.subject(target, state, paths, build_url, Path(folder, "packages"))
        evidence = gather(about.packages, Path(folder, "payloads"))
        checks = judge(site, target, evidence)
        findings = report.findings(checks)
        click.echo(report.text(checks))
        result = VerifyResult(
            outcome="not-held" if findings else "held",
            summary=report.summary(about.name, len(about.packages), target, checks),
            seconds=round(time.monotonic() - begun, 3),
            cause=report.cause(findings[0]) if findings else "",
            target=target.name,
            checked=about.artifacts,
            checks=checks,
        )
        if about.build:
            document = Path(folder, "verify.json")
            result.write(document)
            about.keep("verify.json", document)
    return result
