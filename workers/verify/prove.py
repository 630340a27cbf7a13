"""The work of ``kitten verify``: gather the evidence, observe every file, judge, and make the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from config.exemptions import Exemptions
from config.loading import hardware_list
from config.models import Exemption, Site, Target
from workers.artifacts.subject import Subject
from workers.base.errors import CannotRun, MalformedError
from workers.formats.facts import FileFacts
from workers.results import Check, VerifyResult
from workers.results import proof as report
from workers.verify.compare import compare
from workers.verify.evidence import Evidence, files_in, gather
from workers.verify.excerpts import add_excerpts
from workers.verify.hardware import Kernel, judge_hardware, kernels_of
from workers.verify.judge import judge
from workers.verify.look import look
from workers.verify.promise import Observed, Promise
from workers.verify.spec import opt_outs

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to prove, and how."""

    site: Site
    site_name: str
    target: Target
    state: Path
    debuginfo: Sequence[Path] = ()
    exemptions: Sequence[Exemption] = ()
    against: Sequence[Path] = ()
    """Packages of an earlier build to compare with; empty: the published packages."""
    jobs: int = 1
    fresh: bool = False


def prove(request: Request, about: Subject, scratch: Path, say: Say) -> VerifyResult:
    """Prove the files of a subject.

    :param scratch: an empty folder; the caller removes it.
    :param say: gets a line for each part of the work.
    :raises CannotRun: if a decoder is missing, or if the target's level is unknown.
    """
    begun = time.monotonic()
    evidence = gather(about.packages, scratch / "new", files_in(request.debuginfo) if request.debuginfo else ())
    say(f"{report.count(len(evidence.items), 'file')} with code to check")
    observed = look(request.target, evidence, request.jobs, say, fresh=request.fresh)
    opted_out, unread = _opted_out(request, evidence.spec or _spec_of_build(about, scratch))
    promise = Promise(request.site, request.target, _exceptions(request, about, evidence), opted_out)
    further = [*unread, *_regressions(request, about, observed, scratch, say), *_hardware(request, evidence)]
    checks, proofs = judge(promise, evidence, observed, further)
    checks = add_excerpts(checks, {item.name: item for item in evidence.items})
    findings = report.findings(checks)
    return VerifyResult(
        outcome="failed" if findings else "passed",
        summary=report.summary(request.target.isa_level, proofs, checks),
        seconds=round(time.monotonic() - begun, 3),
        cause=report.cause(findings[0]) if findings else "",
        target=request.target.name,
        level=request.target.isa_level,
        checked=about.artifacts,
        files=proofs,
        checks=checks,
    )


def _exceptions(request: Request, about: Subject, evidence: Evidence) -> Exemptions:
    """Return the exemptions in the packages' YAML files, and those in the file that was given by hand."""
    sources = {header.source for header in evidence.headers.values()} - {""}
    own = [entry for package in request.site.packages if package.name in sources for entry in package.exemptions]
    name = " ".join(sorted(sources)) or about.name
    return Exemptions(name, (*own, *request.exemptions), datetime.now(UTC).date())


def _opted_out(request: Request, spec: str) -> tuple[str, Sequence[Check]]:
    """Return the line of a spec that turns frame pointers off on the target, and a finding if the spec is damaged."""
    try:
        found = [one for one in opt_outs(spec) if one.applies_to(request.target.rpm_arch)]
    except MalformedError as error:
        return "", (Check(rule="spec", file="", outcome="failed", detail=str(error)),)
    return (str(found[0]) if found else ""), ()


def _spec_of_build(about: Subject, scratch: Path) -> str:
    if about.build is None or about.build.result.srpm is None:
        return ""
    folder = scratch / "source"
    folder.mkdir()
    srpm = about.build.fetch(about.build.result.srpm, folder, link=True)
    return gather((srpm,), folder / "files").spec


def _regressions(
    request: Request, about: Subject, observed: Sequence[Observed], scratch: Path, say: Say
) -> Sequence[Check]:
    """Return what files lost since the published build, or since the build that was given by hand."""
    old = request.against or _published(request, about)
    if not old:
        return ()
    before = gather(files_in(old), scratch / "old")
    return compare(_by_name(look(request.target, before, request.jobs, say)), _by_name(observed))


def _by_name(observed: Sequence[Observed]) -> Mapping[str, FileFacts]:
    return {file.item.name: file.facts for file in observed}


def _published(request: Request, about: Subject) -> Sequence[Path]:
    """Return the published packages of the same source for the target; empty if none is published here."""
    if about.build is None:
        return ()
    from workers.repository.state import named_stage, published, snapshots_of

    try:
        record = published(request.site, request.state).get((about.build.result.package, request.target.name))
        if record is None:
            return ()
        top = snapshots_of(request.site, request.state, named_stage(request.site, ""))
    except CannotRun:  # a worker on a host without repositories, or a site that signs nothing
        return ()
    files = [top.root / top.top / file.repository / file.path for file in record.files]
    return [file for file in files if file.is_file() and not file.name.endswith(".src.rpm")]


def _hardware(request: Request, evidence: Evidence) -> Sequence[Check]:
    """Check that the kernels among the packages have the drivers of all devices that their package must support."""
    sources = {header.source for header in evidence.headers.values() if not header.is_debug}
    lists = [
        one.list
        for package in request.site.packages
        if package.name in sources
        for one in package.hardware
        if one.targets.includes(request.target.name)
    ]
    if not lists:
        return ()
    kernels = kernels_of(evidence.modules) or {" ".join(sorted(sources)): Kernel()}
    return [
        check
        for name in lists
        for release, kernel in kernels.items()
        for check in judge_hardware(hardware_list(request.site_name, name), kernel, release)
    ]
