"""What has become of each package on each target, and of each target's suites: cells of the table of ``kitten demo``.

Pure functions over what Buildbot reported (``master.client.api``) and what is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from config.models import Package, Site
from master.client.api import Snapshot
from steps.names import BUILD_RPMS, LAB, PROMOTE, SOURCE, TEST, VERIFY
from steps.released import released

STAGES = ("built", "verified", "tested", "published")
# The step whose success a column of the table stands for.
STEP_OF_STAGE = {"built": BUILD_RPMS, "verified": VERIFY, "tested": TEST}

LAB_ROW = "lab: suites"
"""Where the table shows what the builder ``lab`` does: no package has a blank in its name."""

State = Literal["nothing", "source", "waiting", "running", "promoting", "testing", "published", "passed", "failed"]
"""``testing``: it passed on its target, and waits in a signed stage for other targets or packages."""


@dataclass(frozen=True)
class Cell:
    """One package on one target."""

    state: State = "nothing"
    words: str = ""
    """What it is doing, waits for, or died of."""
    done: frozenset[str] = frozenset()
    """Of ``STAGES``, what has held."""
    seconds: float = 0.0
    """Run time of its target build so far, s."""
    build: str = ""
    """Address of the build in the web UI, below the service's own."""
    warned: bool = False
    """It held, with a warning: something was flaky."""

    @property
    def finished(self) -> bool:
        """Nothing more will come of it by itself."""
        return self.state in ("published", "passed", "failed")


def housekeeping_lines(house: Iterable[Mapping[str, Any]], now: float) -> list[str]:
    """What the service last did for itself, a line each.

    :param now: seconds since 1970.
    """
    return [_housekeeping_line(row, now) for row in house]


def _housekeeping_line(row: Mapping[str, Any], now: float) -> str:
    if not row["finished"]:
        return f"{row['what']}: at work"
    minutes = max(0, round((now - row["finished"]) / 60))
    ago = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"
    failed = "" if row["results"] in ("success", "warnings") else f"{str(row['results']).upper()}: "
    return f"{row['what']}: {failed}{row['text']}, {ago} ago"


def matrix(
    site: Site,
    packages: Sequence[Package],
    commits: Mapping[str, str],
    seen: Snapshot,
    published: Mapping[tuple[str, str], str],
) -> dict[tuple[str, str], Cell]:
    """One cell for each package and target.

    :param commits: the commit that counts, by package; builds of others are not shown.
    :param published: the commit that is published, by (package, target).
    """
    cells = {}
    for package in packages:
        commit = commits.get(package.name, "")
        source = _source_state(seen, package.name, commit)
        for target in site.targets_of(package):
            if published.get((package.name, target.name)) == commit != "":
                cells[package.name, target.name] = Cell("published", "published", frozenset(STAGES))
            else:
                cells[package.name, target.name] = _cell(seen, package.name, target.name, commit, source)
    return cells


def lab_cells(seen: Snapshot, wanted: Mapping[str, Sequence[str]], forgiven: int = 0) -> dict[tuple[str, str], Cell]:
    """One cell for each target: the newest run of the wanted suites, whether it waits, works or is finished.

    :param wanted: target → suites; a run of others, or of fewer, is another run.
    :param forgiven: where the newest run is up to this build and failed, it is to be asked for again.
    """
    return {(LAB_ROW, target): _lab_cell(seen, target, set(suites), forgiven) for target, suites in wanted.items()}


def _lab_cell(seen: Snapshot, target: str, wanted: set[str], forgiven: int) -> Cell:
    def is_it(thing: Mapping[str, Any]) -> bool:
        asked = (thing.get("properties") or {}).get("suites")
        is_lab = seen.builders.get(thing["builderid"]) == LAB and _property(thing, "target") == target
        return is_lab and asked is not None and wanted <= set(asked[0])

    build = next((b for b in seen.builds if is_it(b)), None)  # newest first
    if any(is_it(r) for r in seen.requests) and (build is None or build["complete"]):
        return Cell("waiting", "waits for a free worker")
    if build is None:
        return Cell()
    seconds = max(0.0, (build["complete_at"] or seen.now) - build["started_at"])
    said = [s["state_string"] for s in seen.steps.get(build["buildid"], ()) if s["started_at"]]
    words = str(said[-1] if said else "starts").removeprefix(f"{target}: ")  # the row names it
    cell = Cell("running", words, seconds=seconds, build=_address(build))
    if not build["complete"]:
        return cell
    if build["results"] == 5:
        return _with(cell, state="waiting", words="starts again: its worker was lost")
    if build["results"] in (0, 1):
        return _with(cell, state="passed", warned=build["results"] == 1)
    return Cell() if build["buildid"] <= forgiven else _with(cell, state="failed")


def _address(build: Mapping[str, Any]) -> str:
    return f"#/builders/{build['builderid']}/builds/{build['number']}"


def _cell(seen: Snapshot, package: str, target: str, commit: str, source: Cell) -> Cell:
    if commit and [target, commit] in _released(seen, package):
        promotion = _newest(seen, PROMOTE, package, commit, target)
        build = _newest(seen, target, package, commit)
        warned = any(b is not None and b["results"] == 1 for b in (build, promotion))
        words = str(promotion["state_string"]) if warned and promotion else "published"
        seconds = build["complete_at"] - build["started_at"] if build and build["complete_at"] else 0.0
        address = _address(build) if build else ""
        return Cell("published", words, frozenset(STAGES), seconds, address, warned)
    build = _newest(seen, target, package, commit)
    request = next(
        (r for r in seen.requests if seen.builders.get(r["builderid"]) == target and _is(r, package, commit)), None
    )
    if request is not None and (build is None or build["complete"]):
        return Cell("waiting", seen.waiting.get(request["buildrequestid"], "waits for a free worker"))
    if build is None:
        return source
    steps = seen.steps.get(build["buildid"], ())
    succeeded = {s["name"] for s in steps if s["complete"] and s["results"] in (0, 1)}
    done = frozenset(stage for stage, name in STEP_OF_STAGE.items() if name in succeeded)
    end = build["complete_at"] or seen.now
    cell = Cell("running", "starts", done, max(0.0, end - build["started_at"]), _address(build))
    if not build["complete"]:
        running = [s for s in steps if not s["complete"] and s["started_at"]]
        return _with(cell, words=running[-1]["name"] if running else "starts")
    if build["results"] == 5:
        return _with(cell, state="waiting", words="starts again: its worker was lost")
    if build["results"] not in (0, 1):
        return _with(cell, state="failed", words=_first_failure(steps) or str(build["state_string"]))
    promotion = _newest(seen, PROMOTE, package, commit, target)
    if promotion is None or not promotion["complete"] or promotion["results"] == 5:
        return _with(cell, state="promoting", words="promote")
    if promotion["results"] in (0, 1):
        return _with(cell, state="testing", words=str(promotion["state_string"]))
    return _with(cell, state="failed", words=f"promote: {promotion['state_string']}")


def _released(seen: Snapshot, package: str) -> list[list[str]]:
    """What users have of a package, as the newest promotion that says so has it: [target, commit] each."""
    for build in seen.builds:  # newest first
        if (told := (build.get("properties") or {}).get(released(package))) is not None:
            return [list(entry) for entry in told[0]]
    return []


def settled(cells: Mapping[tuple[str, str], Cell]) -> bool:
    """Whether nothing more will come of any cell by itself: what waits in a stage waits for cells that are finished."""
    return all(cell.finished or cell.state == "testing" for cell in cells.values())


def _with(cell: Cell, **changes: Any) -> Cell:
    return replace(cell, **changes)


def _source_state(seen: Snapshot, package: str, commit: str) -> Cell:
    build = _newest(seen, SOURCE, package, commit)
    if build is None:
        # A source build learns its commit when it has fetched it.
        build = next(
            (
                b
                for b in seen.builds
                if seen.builders.get(b["builderid"]) == SOURCE
                and not b["complete"]
                and _property(b, "package") == package
            ),
            None,
        )
    if build is None:
        waits = any(
            seen.builders.get(r["builderid"]) == SOURCE and _property(r, "package") == package for r in seen.requests
        )
        return Cell("source", "source waits for a free worker") if waits else Cell()
    if build["complete"] and build["results"] not in (0, 1, 5):
        return Cell("failed", f"source: {build['state_string']}", build=_address(build))
    return Cell("source", "source", build=_address(build))


def _newest(
    seen: Snapshot, builder: str, package: str, commit: str, target: str | None = None
) -> Mapping[str, Any] | None:
    for build in seen.builds:  # newest first
        if (
            seen.builders.get(build["builderid"]) == builder
            and _is(build, package, commit)
            and (target is None or _property(build, "target") == target)
        ):
            return build
    return None


def _is(thing: Mapping[str, Any], package: str, commit: str) -> bool:
    return _property(thing, "package") == package and _property(thing, "commit") == commit


def _property(thing: Mapping[str, Any], name: str) -> str:
    value = (thing.get("properties") or {}).get(name)
    return str(value[0]) if value else ""


def _first_failure(steps: Sequence[Mapping[str, Any]]) -> str:
    for step in steps:
        if step["complete"] and step["results"] not in (0, 1, 3):
            return f"{step['name']}: {step['state_string']}"
    return ""


def seconds_left(cells: Mapping[tuple[str, str], Cell], workers: int) -> float | None:
    """Estimate, in s: the mean of what is finished, for what is not, over the workers. None before anything finished."""
    finished = [c.seconds for c in cells.values() if c.state in ("published", "passed") and c.seconds > 0]
    if not finished:
        return None
    mean = sum(finished) / len(finished)
    left = sum(max(mean - c.seconds, 0.0) if c.state == "running" else mean for c in cells.values() if not c.finished)
    return left / max(workers, 1)
