"""What has become of each package on each target, and of each target's suites: cells of the table of ``kitten demo``.

Pure functions over what Buildbot reported (``master.client.api``) and what is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from config.models import Site, SourcePackage
from master.client.api import Snapshot
from master.status import PUBLISHED, RETRIES, RETRY, SUCCEEDED, Build, Cell, Records, Request, Step, cells_of
from steps.names import LAB
from steps.released import RELEASED

LAB_ROW = "lab: suites"
"""Where the table shows what the builder ``lab`` does: no package has a blank in its name."""


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
    packages: Sequence[SourcePackage],
    commits: Mapping[str, str],
    seen: Snapshot,
    published: Mapping[tuple[str, str], str],
) -> dict[tuple[str, str], Cell]:
    """One cell for each package and target.

    :param commits: the commit that counts, by package; builds of others are not shown.
    :param published: the commit that is published, by (package, target), as the repositories say.
    """
    cells = cells_of(site, packages, commits, records(seen))
    return {
        key: PUBLISHED if published.get(key) == commits.get(key[0], "") != "" else cell for key, cell in cells.items()
    }


def records(seen: Snapshot) -> Records:
    """What the REST API answered, as neutral records."""
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


def _property(thing: Mapping[str, Any], name: str) -> str:
    value = (thing.get("properties") or {}).get(name)
    return str(value[0] or "") if value else ""


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

    found = next((b for b in seen.builds if is_it(b)), None)  # newest first
    build = _build(seen, found) if found else None
    if any(is_it(r) for r in seen.requests) and (build is None or build.results is not None):
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
    return Cell() if build.id <= forgiven else replace(cell, state="failed")


def all_settled(cells: Mapping[tuple[str, str], Cell]) -> bool:
    """Whether nothing more will come of any cell by itself: what waits in a stage waits for cells that are finished."""
    return all(cell.finished or cell.state == "signed" for cell in cells.values())


def seconds_left(cells: Mapping[tuple[str, str], Cell], workers: int) -> float | None:
    """Estimate, in s: the mean of what is finished, for what is not, over the workers. None before anything finished."""
    finished = [c.seconds for c in cells.values() if c.state in ("published", "passed") and c.seconds > 0]
    if not finished:
        return None
    mean = sum(finished) / len(finished)
    left = sum(max(mean - c.seconds, 0.0) if c.state == "running" else mean for c in cells.values() if not c.finished)
    return left / max(workers, 1)
