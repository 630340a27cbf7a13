"""The records of ``master.status`` from Buildbot's database, with seven queries."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from config.models import Site
from master.status import Build, Records, Request, Step
from steps.names import PROMOTE, SOURCE, released_property

_PROPERTIES = ("package", "target", "commit", "nevr")


async def read_records(master: Any, site: Site, reasons: Mapping[int, str]) -> tuple[Records, dict[str, Build]]:
    """Return the records that decide the state of each package, and package → its newest source build.

    :param reasons: id of a build request → why it waits.
    """
    result: tuple[Records, dict[str, Build]] = await master.db.pool.do(_read, master.db.model, site, reasons)
    return result


def _read(connection: Any, model: Any, site: Site, reasons: Mapping[int, str]) -> tuple[Records, dict[str, Build]]:
    targets = [target.name for target in site.targets]
    sources = {build.package: build for build in _builds(connection, model, _newest_sources(connection, model))}
    commits = {build.commit for build in sources.values()}
    ids = _newest_of_commits(connection, model, [PROMOTE, *targets], commits)
    builds = [*sources.values(), *_builds(connection, model, ids)]
    records = Records(
        builds=sorted(builds, key=lambda build: -build.id),
        requests=_requests(connection, model, [SOURCE, *targets], reasons),
        released=_released(
            connection, model, {released_property(package.name): package.name for package in site.packages}
        ),
        now=time.time(),
    )
    return records, sources


def _newest_sources(connection: Any, model: Any) -> list[int]:
    """Return the ids of the newest source build of each package."""
    builds, builders, package = model.builds, model.builders, model.build_properties
    query = (
        sa.select(sa.func.max(builds.c.id))
        .select_from(
            builds.join(builders, builders.c.id == builds.c.builderid).join(
                package, (package.c.buildid == builds.c.id) & (package.c.name == "package")
            )
        )
        .where(builders.c.name == SOURCE)
        .group_by(package.c.value)
    )
    return [row[0] for row in connection.execute(query)]


def _newest_of_commits(connection: Any, model: Any, names: Iterable[str], commits: Iterable[str]) -> list[int]:
    """Return the ids of the newest build of each of these builders for each package, target and commit."""
    builds, builders, props = model.builds, model.builders, model.build_properties
    package, target, commit = (props.alias(name) for name in ("package", "target", "commit"))
    query = (
        sa.select(sa.func.max(builds.c.id))
        .select_from(
            builds.join(builders, builders.c.id == builds.c.builderid)
            .join(commit, (commit.c.buildid == builds.c.id) & (commit.c.name == "commit"))
            .join(package, (package.c.buildid == builds.c.id) & (package.c.name == "package"))
            .outerjoin(target, (target.c.buildid == builds.c.id) & (target.c.name == "target"))
        )
        .where(builders.c.name.in_(list(names)), commit.c.value.in_([json.dumps(commit) for commit in commits]))
        .group_by(builds.c.builderid, package.c.value, target.c.value, commit.c.value)
    )
    return [row[0] for row in connection.execute(query)]


def _builds(connection: Any, model: Any, ids: list[int]) -> list[Build]:
    """Return these builds, with their properties and steps."""
    builds, builders, props, steps = model.builds, model.builders, model.build_properties, model.steps
    properties: dict[int, dict[str, str]] = {}
    columns = sa.select(props.c.buildid, props.c.name, props.c.value)
    for buildid, name, value in connection.execute(
        columns.where(props.c.buildid.in_(ids), props.c.name.in_(_PROPERTIES))
    ):
        properties.setdefault(buildid, {})[name] = str(json.loads(value) or "")
    parts: dict[int, list[Step]] = {}
    for row in connection.execute(sa.select(steps).where(steps.c.buildid.in_(ids)).order_by(steps.c.number)):
        step = Step(row.name, row.results, started=row.started_at is not None, text=row.state_string or "")
        parts.setdefault(row.buildid, []).append(step)
    rows = connection.execute(
        sa.select(builds, builders.c.name.label("builder"))
        .join(builders, builders.c.id == builds.c.builderid)
        .where(builds.c.id.in_(ids))
    )
    return [
        Build(
            id=row.id,
            builder=row.builder,
            builderid=row.builderid,
            number=row.number,
            **{name: properties[row.id].get(name, "") for name in _PROPERTIES},
            results=row.results,
            text=row.state_string or "",
            started=row.started_at or 0,
            finished=row.complete_at or 0,
            steps=parts.get(row.id, ()),
        )
        for row in rows
    ]


def _requests(connection: Any, model: Any, names: Iterable[str], reasons: Mapping[int, str]) -> list[Request]:
    """Return the requests of these builders that have not started."""
    requests, builders, claims = model.buildrequests, model.builders, model.buildrequest_claims
    package, commit = (model.buildset_properties.alias(name) for name in ("package", "commit"))

    def property_of(table: Any) -> Any:
        return (table.c.buildsetid == requests.c.buildsetid) & (table.c.property_name == table.name)

    rows = connection.execute(
        sa.select(
            requests.c.id,
            builders.c.name,
            package.c.property_value.label("package"),
            commit.c.property_value.label("commit"),
        )
        .select_from(
            requests.join(builders, builders.c.id == requests.c.builderid)
            .outerjoin(claims, claims.c.brid == requests.c.id)
            .outerjoin(package, property_of(package))
            .outerjoin(commit, property_of(commit))
        )
        .where(requests.c.complete == 0, claims.c.brid.is_(None), builders.c.name.in_(list(names)))
        .order_by(requests.c.id)
    )

    def text(value: str | None) -> str:
        return str(json.loads(value)[0] or "") if value else ""  # the column has JSON: [value, source]

    return [Request(row.name, text(row.package), text(row.commit), reasons.get(row.id, "")) for row in rows]


def _released(connection: Any, model: Any, packages: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return package → target → the commit that users have, from the newest promotion of each package.

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
