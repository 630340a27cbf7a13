"""The state of each package on each target, the same for the web page and the terminal.

Pure functions over records. ``master.web.records`` reads the records from Buildbot's database, and
``master.client.progress`` from the REST API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from config.models import Site, SourcePackage
from steps.names import BUILD_RPMS, PROMOTE, SOURCE, TEST, VERIFY

DONE = ("built", "verified", "tested", "published")
"""The results that a package must reach on a target, in order."""
STEP_OF = {"built": BUILD_RPMS, "verified": VERIFY, "tested": TEST}
"""The step whose success is each result; ``published`` has no step."""

SUCCEEDED, SKIPPED, RETRY = (0, 1), 3, 5  # Buildbot's numbers: success and warnings; skipped; retry
RETRIES = "starts again: its worker was lost"

State = Literal["nothing", "source", "waiting", "running", "promoting", "signed", "published", "passed", "failed"]
"""``signed``: the package passed on its target, and waits in an earlier signed stage for other targets or packages.
``passed``: only for suites that run without a package."""


@dataclass(frozen=True)
class Step:
    """One step of a build. ``results`` is Buildbot's number, here and in :class:`Build`; None: not finished."""

    name: str
    results: int | None
    started: bool
    text: str


@dataclass(frozen=True)
class Build:
    """One build of ``source``, of a target's builder, or of ``promote``. Times are in seconds since 1970."""

    id: int
    builder: str
    builderid: int
    number: int
    package: str
    commit: str
    """Empty until the source build has fetched it."""
    target: str
    results: int | None
    text: str
    started: float
    finished: float
    """0 while the build runs."""
    steps: Sequence[Step] = ()
    """In order; only builds of targets have them here."""
    nevr: str = ""

    @property
    def address(self) -> str:
        """The address of its page, below the address of the web UI."""
        return f"#/builders/{self.builderid}/builds/{self.number}"


@dataclass(frozen=True)
class Request:
    """A build that has not started."""

    builder: str
    package: str
    commit: str
    reason: str = ""
    """Why it waits; empty if unknown."""


@dataclass(frozen=True)
class Records:
    """The builds, requests and releases at one moment."""

    builds: Sequence[Build]
    """Newest first."""
    requests: Sequence[Request]
    released: Mapping[str, Mapping[str, str]]
    """Package → target → the commit that users have, from the newest promotion of the package."""
    now: float
    """Seconds since 1970."""

    def newest(self, builder: str, package: str, commit: str, target: str | None = None) -> Build | None:
        """Return the newest build of a commit on a builder; with ``target``, only a build for that target."""
        for build in self.builds:
            if (build.builder, build.package, build.commit) == (builder, package, commit) and (
                target is None or build.target == target
            ):
                return build
        return None


@dataclass(frozen=True)
class Cell:
    """One package on one target, or the suites of one target."""

    state: State = "nothing"
    words: str = ""
    """The current step, or why it waits or failed."""
    done: frozenset[str] = field(default=frozenset())
    """The results of ``DONE`` that it has reached."""
    seconds: float = 0.0
    """Run time of its build on the target until now, in seconds."""
    build: str = ""
    """Address of the build, below the address of the web UI."""
    warned: bool = False
    """Whether it passed with a warning: something was flaky."""

    @property
    def finished(self) -> bool:
        """Whether only a new build can change the cell."""
        return self.state in ("published", "passed", "failed")


PUBLISHED = Cell("published", "published", frozenset(DONE))


def cells_of(
    site: Site, packages: Sequence[SourcePackage], commits: Mapping[str, str], records: Records
) -> dict[tuple[str, str], Cell]:
    """Return (package, target) → cell.

    :param commits: package → the commit to show; builds of other commits are ignored.
    """
    cells = {}
    for package in packages:
        commit = commits.get(package.name, "")
        source = _source_cell(records, package.name, commit)
        for target in site.targets_of(package):
            cells[package.name, target.name] = _cell(records, package.name, target.name, commit, source)
    return cells


def _cell(records: Records, package: str, target: str, commit: str, source: Cell) -> Cell:
    build = records.newest(target, package, commit)
    promotion = records.newest(PROMOTE, package, commit, target)
    if commit and records.released.get(package, {}).get(target) == commit:
        return _published_cell(build, promotion)
    request = next((r for r in records.requests if (r.builder, r.package, r.commit) == (target, package, commit)), None)
    if request is not None and (build is None or build.results is not None):
        return Cell("waiting", request.reason or "waits for a free worker")
    if build is None:
        return source
    return _built_cell(records, build, promotion)


def _published_cell(build: Build | None, promotion: Build | None) -> Cell:
    warned = any(b is not None and b.results == 1 for b in (build, promotion))
    words = promotion.text if warned and promotion else PUBLISHED.words
    seconds = build.finished - build.started if build and build.finished else 0.0
    return replace(PUBLISHED, words=words, seconds=seconds, build=build.address if build else "", warned=warned)


def _built_cell(records: Records, build: Build, promotion: Build | None) -> Cell:
    """Return the cell of a package that is built on the target, and is not yet published."""
    succeeded = {step.name for step in build.steps if step.results in SUCCEEDED}
    done = frozenset(what for what, name in STEP_OF.items() if name in succeeded)
    end = build.finished or records.now
    cell = Cell("running", "starts", done, max(0.0, end - build.started), build.address)
    if build.results is None:
        running = [step for step in build.steps if step.results is None and step.started]
        return replace(cell, words=running[-1].name if running else "starts")
    if build.results == RETRY:
        return replace(cell, state="waiting", words=RETRIES)
    if build.results not in SUCCEEDED:
        return replace(cell, state="failed", words=_first_failure(build.steps) or build.text)
    if promotion is None or promotion.results in (None, RETRY):
        return replace(cell, state="promoting", words="promote")
    if promotion.results in SUCCEEDED:
        return replace(cell, state="signed", words=promotion.text)
    return replace(cell, state="failed", words=f"promote: {promotion.text}")


def _source_cell(records: Records, package: str, commit: str) -> Cell:
    """Return the cell of every target that has no build of the commit."""
    build = records.newest(SOURCE, package, commit)
    if build is None:
        # A source build knows its commit only after it has fetched it.
        running = (b for b in records.builds if b.builder == SOURCE and b.results is None and b.package == package)
        build = next(running, None)
    if build is None:
        waits = any(request.builder == SOURCE and request.package == package for request in records.requests)
        return Cell("source", "source waits for a free worker") if waits else Cell()
    if build.results is not None and build.results not in (*SUCCEEDED, RETRY):
        return Cell("failed", f"source: {build.text}", build=build.address)
    return Cell("source", "source", build=build.address)


def _first_failure(steps: Sequence[Step]) -> str:
    for step in steps:
        if step.results is not None and step.results not in (*SUCCEEDED, SKIPPED):
            return f"{step.name}: {step.text}"
    return ""
