"""The data of the page "Packages": package × target with states and debts, and the newest housekeeping."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from buildbot.process.results import Results

from config.models import Site
from master.status import Build, Cell, Records, cells_of
from master.web.records import read_records
from steps.housekeeping import REMOVE, STAGE
from steps.names import CLEAN, COMPOSE, SOURCE


def cells(site: Site, records: Records, sources: Mapping[str, Build]) -> dict[tuple[str, str], Cell]:
    """Return (package, target) → cell, for the commit of the package's newest source build.

    While a newer source build waits or fetches its commit, the package has no commit to show.

    :param sources: package → its newest source build.
    """
    waits = {request.package for request in records.requests if request.builder == SOURCE}
    commits = {name: build.commit for name, build in sources.items() if name not in waits}
    return cells_of(site, site.packages, commits, records)


def matrix(site: Site, records: Records, sources: Mapping[str, Build]) -> dict[str, Any]:
    """Return what the page shows: for each package its newest source build, and its state on each target.

    A target owes a package if the newest source build passed, and the target's users do not have its result yet.
    """
    all_cells = cells(site, records, sources)
    packages = []
    for package in site.packages:
        source = sources.get(package.name)
        good = source is not None and source.results == 0
        row: dict[str, Any] = {"package": package.name, "source": _source(source) if source else None, "targets": {}}
        for target in site.targets_of(package):
            cell = all_cells[package.name, target.name]
            shown = asdict(cell) | {"done": sorted(cell.done), "owes": good and cell.state != "published"}
            row["targets"][target.name] = shown
        packages.append(row)
    return {"targets": [target.name for target in site.targets], "packages": packages}


def _source(build: Build) -> dict[str, Any]:
    """Return the newest source build, as the page links to it."""
    results = "" if build.results is None else Results[build.results]
    return {
        "builder": build.builder,
        "number": build.number,
        "results": results,
        "text": build.text,
        "nevr": build.nevr,
    }


async def read_matrix(master: Any, site: Site, waiting: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Read the records with a fixed number of queries, and return the data of the page.

    :param waiting: rows of the build queue: ``buildrequestid`` and ``reason``.
    """
    reasons = {row["buildrequestid"]: row["reason"] for row in waiting}
    return matrix(site, *await read_records(master, site, reasons))


async def read_housekeeping(master: Any) -> list[dict[str, Any]]:
    """Return the newest compose of each stage, clean, and dry run of a clean: ``what`` it is, and its build."""
    return list(await master.db.pool.do(_read_housekeeping, master.db.model))


def _read_housekeeping(connection: Any, model: Any) -> list[dict[str, Any]]:
    builds, builders, props = model.builds, model.builders, model.build_properties
    stage, remove = props.alias("stage"), props.alias("remove")
    newest_of = (
        sa.select(sa.func.max(builds.c.id).label("id"), stage.c.value.label("stage"), remove.c.value.label("remove"))
        .select_from(
            builds.join(builders, builders.c.id == builds.c.builderid)
            .outerjoin(stage, (stage.c.buildid == builds.c.id) & (stage.c.name == STAGE))
            .outerjoin(remove, (remove.c.buildid == builds.c.id) & (remove.c.name == REMOVE))
        )
        .where(builders.c.name.in_((COMPOSE, CLEAN)))
        .group_by(builders.c.name, stage.c.value, remove.c.value)
        .subquery()
    )
    rows = connection.execute(
        sa.select(builds, builders.c.name.label("builder"), newest_of.c.stage, newest_of.c.remove)
        .join(builders, builders.c.id == builds.c.builderid)
        .join(newest_of, newest_of.c.id == builds.c.id)
        .order_by(builders.c.name.desc(), newest_of.c.stage, newest_of.c.remove.desc())
    )
    return [
        {
            "what": f"compose {json.loads(row.stage)}"
            if row.stage
            else "clean"
            if row.remove == "true"
            else "clean, dry run",
            "builder": row.builder,
            "number": row.number,
            "results": "" if row.results is None else Results[row.results],
            "text": row.state_string or "",
            "started": row.started_at or 0,
            "finished": row.complete_at or 0,
        }
        for row in rows
    ]
