"""The cells of the table of ``kitten demo``: each package on each target, and the suites of each target.

Pure functions over Buildbot's answers (``master.client.api``) and the published commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from config.models import Site, SourcePackage
from master.client.api import Snapshot
from master.status import PUBLISHED, RETRIES, RETRY, SUCCEEDED, Build, Cell, Records, Request, Step, cells_of
from steps.names import LAB, RELEASED

LAB_ROW = "lab: suites"
"""The row of the builder ``lab`` in the table. No name of a package has a space, so it is unique."""


def housekeeping_lines(rows: Iterable[Mapping[str, Any]], now: float) -> list[str]:
    """Return one line for each kind of housekeeping, with its newest build.

    :param now: seconds since 1970.
    """
    return [_housekeeping_line(row, now) for row in rows]


def _housekeeping_line(row: Mapping[str, Any], now: float) -> str:
    if not row["finished"]:
        return f"{row['what']}: running"
    minutes = max(0, round((now - row["finished"]) / 60))
    ago = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"
    failed = "" if row["results"] in ("success", "warnings") else f"{str(row['results']).upper()}: "
    return f"{row['what']}: {failed}{row['text']}, {ago} ago"


def matrix(
    site: Site,
    packages: Sequence[SourcePackage],
    commits: Mapping[str, str],
    seen: Snapshot,
    published: Mapping[tuple[str, str], str],
) -> dict[tuple[str, str], Cell]:
    """Return (package, target) → cell.

    :param commits: package → the commit to show; builds of other commits are ignored.
    :param published: (package, target) → the commit in the published repository.
    """
    cells = cells_of(site, packages, commits, records(seen))
    return {
        key: PUBLISHED if published.get(key) == commits.get(key[0], "") != "" else cell for key, cell in cells.items()
    }


def records(seen: Snapshot) -> Records:
    """Convert the answers of the REST API to records."""
    released: dict[str, Mapping[str, str]] = {}
    for build in seen.builds:  # newest first
        for name, (value, _) in (build.get("properties") or {}).items():
            if name.startswith(RELEASED):
                released.setdefault(name.removeprefix(RELEASED), dict(value))
    return Records(
        [_build(seen, build) for build in seen.builds],
        [_request(seen, row) for row in seen.requests],
        released,
        seen.now,
    )


def _build(seen: Snapshot, build: Mapping[str, Any]) -> Build:
    return Build(
        id=build["buildid"],
        builder=seen.builders.get(build["builderid"], ""),
        builderid=build["builderid"],
        number=build["number"],
        package=_property(build, "package"),
        commit=_property(build, "commit"),
        target=_property(build, "target"),
        results=build["results"] if build["complete"] else None,
        text=str(build["state_string"]),
        started=build["started_at"],
        finished=build["complete_at"] or 0,
        steps=[_step(step) for step in seen.steps.get(build["buildid"], ())],
        nevr=_property(build, "nevr"),
    )


def _step(step: Mapping[str, Any]) -> Step:
    results = step["results"] if step["complete"] else None
    return Step(step["name"], results, started=step["started_at"] is not None, text=str(step["state_string"]))


def _request(seen: Snapshot, row: Mapping[str, Any]) -> Request:
    builder, reason = seen.builders.get(row["builderid"], ""), seen.waiting.get(row["buildrequestid"], "")
    return Request(builder, _property(row, "package"), _property(row, "commit"), reason)


def _property(row: Mapping[str, Any], name: str) -> str:
    value = (row.get("properties") or {}).get(name)
    return str(value[0] or "") if value else ""


def lab_cells(seen: Snapshot, wanted: Mapping[str, Sequence[str]], ignored: int = 0) -> dict[tuple[str, str], Cell]:
    """Return one cell for each target, with the state of the newest run of the wanted suites.

    :param wanted: target → suites; runs without all of them are ignored.
    :param ignored: id of a build; if the newest run failed and is not newer than it, the cell is empty.
    """
    return {(LAB_ROW, target): _lab_cell(seen, target, set(suites), ignored) for target, suites in wanted.items()}


def _lab_cell(seen: Snapshot, target: str, wanted: set[str], ignored: int) -> Cell:
    def is_run(row: Mapping[str, Any]) -> bool:
        suites = (row.get("properties") or {}).get("suites")
        is_lab = seen.builders.get(row["builderid"]) == LAB and _property(row, "target") == target
        return is_lab and suites is not None and wanted <= set(suites[0])

    newest = next((b for b in seen.builds if is_run(b)), None)  # newest first
    build = _build(seen, newest) if newest else None
    if any(is_run(r) for r in seen.requests) and (build is None or build.results is not None):
        return Cell("waiting", "waits for a free worker")
    if build is None:
        return Cell()
    seconds = max(0.0, (build.finished or seen.now) - build.started)
    texts = [step.text for step in build.steps if step.started]
    words = (texts[-1] if texts else "starts").removeprefix(f"{target}: ")  # the row names it
    cell = Cell("running", words, seconds=seconds, build=build.address)
    if build.results is None:
        return cell
    if build.results == RETRY:
        return replace(cell, state="waiting", words=RETRIES)
    if build.results in SUCCEEDED:
        return replace(cell, state="passed", warned=build.results == 1)
    return Cell() if build.id <= ignored else replace(cell, state="failed")


def all_settled(cells: Mapping[tuple[str, str], Cell]) -> bool:
    """Return whether no cell will change: all are finished, or wait in a stage for finished ones."""
    return all(cell.finished or cell.state == "signed" for cell in cells.values())


def seconds_left(cells: Mapping[tuple[str, str], Cell], workers: int) -> float | None:
    """Estimate the seconds left: the mean time of finished cells, for each other cell, divided by the workers.

    Return None if no cell is finished.
    """
    finished = [c.seconds for c in cells.values() if c.state in ("published", "passed") and c.seconds > 0]
    if not finished:
        return None
    mean = sum(finished) / len(finished)
    left = sum(max(mean - c.seconds, 0.0) if c.state == "running" else mean for c in cells.values() if not c.finished)
    return left / max(workers, 1)
