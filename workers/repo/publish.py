"""Gate a build, sign it, and show it to users by one rename. Runs on the publishing worker alone.

In order: the gate over its proofs; its packages, checked against build.json; the gate against what is published;
signatures; a snapshot drafted beside the current one; the switch. Whatever fails or is killed before the switch
leaves users' view as it was, and the next call begins again with what is already signed.

A build whose files are published already changes nothing. The same commit built again under the same NEVRA, with other
content (its buildroot moved on), is not published: a file that users have is never replaced. That is no failure of the
build: it holds, and its summary says what is published instead. Another commit under a published NEVRA is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import click

from config.models import Package, Site, Stage, Target
from config.placement import moves
from workers.errors import CannotRun
from workers.repo import gate, provides
from workers.repo.builds import Build, open_build, remove_tree
from workers.repo.companions import Companions
from workers.repo.comps import comps_xml
from workers.repo.placement import BASE, published_in, repositories_of
from workers.repo.pool import WORK, Pool
from workers.repo.pushing import push_current
from workers.repo.records import PublishedRecord
from workers.repo.sign import Signer, site_signer
from workers.repo.snapshot import Groups, Snapshot, Snapshots
from workers.repo.state import named_stage, snapshots_of
from workers.repo.unit import Unit, add, base_unit, evr_of, unit_of
from workers.results import Artifact, PublishResult

POOL = ".signed"
"""Folder of a stage that keeps its signed packages."""


def publish(
    site: Site,
    state: Path,
    target_name: str,
    build_url: str,
    *,
    stage_name: str = "kitten",
    base_rpm: Path | None = None,
    force: bool = False,
) -> PublishResult:
    """Publish a build on a target, or say why not (outcome ``not-held``).

    :param base_rpm: the package that stands for the base system, for sites with a repository for it.
    :param force: publish a version older than the published one.
    :raises CannotRun: when input is missing or is not what it says, or signing failed. Nothing is published then.
    """
    begun = time.monotonic()
    stage = named_stage(site, stage_name)
    snapshots = snapshots_of(site, state, stage)
    try:
        target, build = site.target(target_name), open_build(build_url, state)
        package = site.package(build.result.package)
    except KeyError as error:
        raise CannotRun(str(error.args[0])) from None
    result = _gated(site, state, snapshots, stage, target, package, build, base_rpm, force)
    if result.outcome == "held":
        push_current(site, stage, snapshots)
    return result.model_copy(update={"seconds": time.monotonic() - begun})


def _gated(
    site: Site,
    state: Path,
    snapshots: Snapshots,
    stage: Stage,
    target: Target,
    package: Package,
    build: Build,
    base_rpm: Path | None,
    force: bool,
) -> PublishResult:
    answer = _Answer(snapshots, stage, target, build)
    if refusals := gate.judge(build.result, build.verify, build.test, target, stage.requires):
        return answer.refused(refusals)
    if refusals := gate.against_package(package, build.result.rpms):
        return answer.refused(refusals)
    base = base_unit(site, target, base_rpm) if base_rpm else None
    with snapshots.lock():
        remove_tree(snapshots.root / POOL / WORK)  # of a call that was killed after its switch
        current = snapshots.current()
        published = current.published_of(package.name) if current else {}
        old = published.get(target.name)
        there = published_in(site, target, published.values())
        for move in moves(site.repositories, package, target.name, there):
            click.echo(move)
        unit = unit_of(site, package, target, build, there)
        base_is_news = base is not None and _is_news(base, current)
        missing = set(repositories_of(site, target)) - set(current.record.repositories if current else ())
        if old and not base_is_news and not missing:
            if old.unsigned == unit.unsigned:
                return answer.unchanged(old, f"{old.nevr} is already published on {target.name}")
            if old.nevr == unit.nevr and old.commit and old.commit == unit.commit:
                return answer.unchanged(old, _instead(old, unit))
        with site_signer(site, state) as key:
            pool = Pool(snapshots.root / POOL, key)
            with pool.opened():
                brought = pool.bring(list(unit.files.values()), unit.fetch)
                candidate = gate.Candidate(unit.package, unit.nevr, evr_of(brought), unit.unsigned)
                others = [record for name, record in published.items() if name != target.name]
                refusals = gate.against_published(candidate, old, others, force=force)
                refusals += provides.against_repositories(
                    site, target, package, brought, current, snapshots.catalogue
                )
                if refusals:
                    return answer.refused(refusals)
                units = [unit, base] if base and base_is_news else [unit]
                record = _switch(site, snapshots, key, pool, units, current)
    return answer.published(record)


def _switch(
    site: Site, snapshots: Snapshots, key: Signer, pool: Pool, units: list[Unit], current: Snapshot | None
) -> PublishedRecord:
    """Sign, draft, switch; the record of the first unit."""
    for unit in units:
        pool.bring(list(unit.files.values()), unit.fetch)
    pool.sign()
    _export(key, snapshots.root / f"RPM-GPG-KEY-{site.distribution.name}")
    companions = Companions(site, key, pool.work / "documents")
    records = []
    with snapshots.draft(repositories_of(site, units[0].target)) as draft:
        for unit in units:
            files = pool.bring(list(unit.files.values()), unit.fetch)
            published = current.published_of(unit.package) if current else {}
            record = add(draft, unit, files, published)
            if unit.package != BASE:
                old = published.get(unit.target.name)
                record = companions.add(draft, unit.target, site.package(unit.package), record, files, old)
            draft.note(record)
            records.append(record)
        draft.finish(f"{units[0].nevr} on {units[0].target.name}", key.sign_detached, groups=_groups_of(site))
    snapshots.prune(site.retention, pool.forget)
    return records[0]


def _groups_of(site: Site) -> Groups | None:
    """Repository, its packages' names → comps.xml. Debuginfo and source repositories have none."""
    if not site.groups.groups:
        return None
    layout = site.repositories.layout
    installed_from = {
        layout.packages.format(repository=repository.name, arch=target.rpm_arch)
        for repository in site.repositories.repositories
        for target in site.targets
    }
    return lambda repository, names: comps_xml(site.groups, names) if repository in installed_from else None


def _is_news(base: Unit, current: Snapshot | None) -> bool:
    """Whether the base package is to be published.

    It is made from the sandbox tree, not from a commit: under a published NEVRA, the published one stays.
    """
    old = current.published_of(base.package).get(base.target.name) if current else None
    return old is None or old.nevr != base.nevr


def _instead(old: PublishedRecord, unit: Unit) -> str:
    changed = gate.other_content(unit.unsigned, old.unsigned)
    what = f"{len(changed)} of {len(unit.files)} packages differ" if changed else "it makes other packages"
    return (
        f"{old.nevr} is already published on {unit.target.name} from build {old.identity[:12]} of the same commit; "
        f"{what} in build {unit.identity[:12]}, which stays unpublished until its Release is raised"
    )


def _export(key: Signer, path: Path) -> None:
    """Put the public key beside the repositories."""
    if not path.is_file() or path.read_text(encoding="utf-8") != key.public_key:
        fresh = path.with_name(f".{path.name}.next")
        fresh.write_text(key.public_key, encoding="utf-8")
        fresh.replace(path)


class _Answer:
    """The result file's common part."""

    def __init__(self, snapshots: Snapshots, stage: Stage, target: Target, build: Build) -> None:
        self._root = snapshots.root / snapshots.top
        self._target, self._nevr = target, build.result.nevr
        self._known = {"target": target.name, "package": build.result.package, "nevr": self._nevr, "stage": stage.name}
        self._flaky = build.test.flaky if build.test else ()

    def refused(self, refusals: Iterable[gate.Refusal]) -> PublishResult:
        """Nothing was published: the first reason in the summary, all of them as the cause."""
        lines = [str(refusal) for refusal in refusals]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        summary = f"{self._nevr} is not published on {self._target.name}: {lines[0]}{more}"
        return self._result(outcome="not-held", summary=summary, cause="\n".join(lines))

    def unchanged(self, record: PublishedRecord, summary: str) -> PublishResult:
        """Nothing was to be done."""
        return self._shown(record, summary, unchanged=True)

    def published(self, record: PublishedRecord) -> PublishResult:
        """Users see it."""
        count = len(record.files)
        summary = f"{record.nevr}: {count} packages published on {self._target.name}, snapshot {record.snapshot}"
        return self._shown(record, summary)

    def _shown(self, record: PublishedRecord, summary: str, **fields: object) -> PublishResult:
        packages, documents = (
            tuple(Artifact(name=f.name, url=str(self._root / f.repository / f.path), sha256=f.sha256, size=f.size) for f in files)
            for files in (record.files, record.documents)
        )
        if self._flaky:
            summary += f"; flaky in its tests: {', '.join(self._flaky)}"
        known = {"summary": summary, "snapshot": record.snapshot, "url": str(self._root), "flaky": self._flaky}
        return self._result(packages=packages, documents=documents, **known, **fields)

    def _result(self, **fields: object) -> PublishResult:
        return PublishResult.model_validate({**self._known, **fields})
