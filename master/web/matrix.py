"""Packages by targets: the newest build of each, what it came to, and what a target still owes; and the newest housekeeping."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from buildbot.process.results import Results

from config.models import Site
from steps.housekeeping import REMOVE, STAGE
from steps.names import CLEAN, COMPOSE, PROMOTE, SOURCE
from steps.released import released


@dataclass(frozen=True)
class Cell:
    """The newest build of one package by one builder (for ``promote``: for one target)."""

    builder: str
    package: str
    target: str
    buildid: int
    number: int
    results: str
    """Buildbot's word in lower case; empty while it runs."""
    text: str
    commit: str
    nevr: str
    started: int
    finished: int
    """Both in seconds since the epoch; 0 while it runs."""


def newest(rows: Iterable[Cell]) -> dict[tuple[str, str, str], Cell]:
    """The newest cell for each builder, package and target."""
    found: dict[tuple[str, str, str], Cell] = {}
    for row in rows:
        key = (row.builder, row.package, row.target)
        if key not in found or found[key].buildid < row.buildid:
            found[key] = row
    return found


def matrix(
    site: Site,
    cells: Mapping[tuple[str, str, str], Cell],
    waiting: Iterable[Mapping[str, Any]],
    has: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """What the page shows: for each package its source, and for each target its build, its promotion and its wait.

    A target owes a package while what its users have is not what the newest good source build made.

    :param has: package → target → the commit that users have.
    """
    waits = {(row["package"], row["target"]): row for row in waiting}
    packages = []
    for package in site.packages:
        source = cells.get((SOURCE, package.name, ""))
        row: dict[str, Any] = {"package": package.name, "source": asdict(source) if source else None, "targets": {}}
        for target in site.targets_of(package):
            build = cells.get((target.name, package.name, target.name))
            promoted = cells.get((PROMOTE, package.name, target.name))
            commit = has.get(package.name, {}).get(target.name, "")
            row["targets"][target.name] = {
                "build": asdict(build) if build else None,
                "promote": asdict(promoted) if promoted else None,
                "waiting": waits.get((package.name, target.name)),
                "released": promoted is not None and commit == promoted.commit != "",
                "owes": source is not None and source.results == "success" and commit != source.commit,
            }
        packages.append(row)
    return {"targets": [target.name for target in site.targets], "packages": packages}


async def read_matrix(master: Any, site: Site, waiting: list[dict[str, Any]]) -> dict[str, Any]:
    """Read the newest builds (four queries, however long the history is) and lay them out."""
    names = {SOURCE, PROMOTE, *(target.name for target in site.targets)}
    packages = {released(package.name): package.name for package in site.packages}
    has = await master.db.pool.do(_read_released, master.db.model, packages)
    return matrix(site, newest(await master.db.pool.do(_read, master.db.model, names)), waiting, has)


async def read_housekeeping(master: Any) -> list[dict[str, Any]]:
    """The newest compose of each stage, clean and dry run of one: ``what`` in words, and its build as in :class:`Cell`."""
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


def _read_released(connection: Any, model: Any, packages: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Package → target → the commit that users have, as the newest promotion of each package says.

    :param packages: name of the property → package.
    """
    props = model.build_properties
    newest_of = (
        sa.select(props.c.name, sa.func.max(props.c.buildid).label("buildid"))
        .where(props.c.name.in_(packages))
        .group_by(props.c.name)
        .subquery()
    )
    rows = connection.execute(
        sa.select(props.c.name, props.c.value).join(
            newest_of, (props.c.name == newest_of.c.name) & (props.c.buildid == newest_of.c.buildid)
        )
    )
    return {packages[name]: dict(json.loads(value)) for name, value in rows}


def _read(connection: Any, model: Any, names: set[str]) -> list[Cell]:
    builds, builders, props = model.builds, model.builders, model.build_properties
    package, target = props.alias("package"), props.alias("target")
    newest_id = sa.func.max(builds.c.id)
    ids = [
        row[0]
        for row in connection.execute(
            sa.select(newest_id)
            .select_from(
                builds.join(builders, builders.c.id == builds.c.builderid)
                .join(package, (package.c.buildid == builds.c.id) & (package.c.name == "package"))
                .outerjoin(target, (target.c.buildid == builds.c.id) & (target.c.name == "target"))
            )
            .where(builders.c.name.in_(names))
            .group_by(builds.c.builderid, package.c.value, target.c.value)
        )
    ]
    properties: dict[int, dict[str, str]] = {}
    wanted = ("package", "target", "commit", "nevr")
    columns = sa.select(props.c.buildid, props.c.name, props.c.value)
    for buildid, name, value in connection.execute(columns.where(props.c.buildid.in_(ids), props.c.name.in_(wanted))):
        properties.setdefault(buildid, {})[name] = str(json.loads(value) or "")
    rows = connection.execute(
        sa.select(builds, builders.c.name.label("builder"))
        .join(builders, builders.c.id == builds.c.builderid)
        .where(builds.c.id.in_(ids))
    )
    return [
        Cell(
            builder=row.builder,
            package=properties[row.id].get("package", ""),
            target=properties[row.id].get("target", ""),
            buildid=row.id,
            number=row.number,
            results="" if row.results is None else Results[row.results],
            text=row.state_string or "",
            commit=properties[row.id].get("commit", ""),
            nevr=properties[row.id].get("nevr", ""),
            started=row.started_at or 0,
            finished=row.complete_at or 0,
        )
        for row in rows
    ]
