"""Check a build at the gate, sign it, and show it to users by one rename. Only the publishing worker runs this.

The order: the gate; the packages, checked against build.json; the signatures; a draft of a snapshot beside the current
one; the switch. If a call fails or is killed before the switch, users see what they saw before, and the next call uses
the packages that are signed already.

A build whose files are published already changes nothing. If the same commit was built again under the same NEVRA with
other content (its buildroot changed), the new build is not published, because a file that users have is never replaced.
This is no failure: the build passed, and the summary names the published build. Another commit under a published NEVRA
is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from config.models import Site, Stage, Target
from config.placement import moves
from workers.artifacts.builds import Build, remove_tree
from workers.base import options
from workers.base.errors import CannotRun
from workers.metadata.comps import groups_of
from workers.mirrors.pushing import push_current
from workers.promotion.companions import Companions
from workers.promotion.gate.ask import answer, refused_of
from workers.promotion.gate.evaluate import rules_of
from workers.promotion.gate.override import NONE, Overrides, overrides_of
from workers.promotion.gate.situation import Passing, Situation
from workers.promotion.gate.versions import other_content
from workers.promotion.gate.world import situation_of_build
from workers.promotion.pool import WORK, Pool
from workers.promotion.unit import Unit, add, base_unit, read, unit_of
from workers.repository.placement import BASE, published_in, repositories_of
from workers.repository.records import PublishedRecord
from workers.repository.snapshot import Snapshot, Snapshots
from workers.repository.state import named_stage, snapshots_of
from workers.results import Artifact, GateResult, Promoted, PublishResult, RuleVerdict
from workers.signing.sign import site_signer

POOL = ".signed"
"""Folder of a stage with its signed packages."""


def publish(
    site: Site,
    state: Path,
    target_name: str,
    build_url: str,
    *,
    stage_name: str = "",
    base_rpm: Path | None = None,
    overrides: Overrides = NONE,
) -> PublishResult:
    """Publish a build on a target, or return why the gate refuses it (outcome ``failed``).

    :param stage_name: by default the stage with the role ``signing``.
    :param base_rpm: the package for the base system, for sites with a repository for it.
    :raises CannotRun: if input is missing or does not match its checksum, an override is not allowed, or signing fails.
        Nothing is published then.
    """
    begun = time.monotonic()
    stage = named_stage(site, stage_name, "signing")
    snapshots = snapshots_of(site, state, stage)
    base = base_unit(site, options.named_target(site, target_name), base_rpm) if base_rpm else None
    with snapshots.lock():
        # Under the lock, nothing that the gate reads changes before the switch.
        situation = situation_of_build(site, state, stage, target_name, build_url)
        result = _Publication(site, state, snapshots, situation, base).result(overrides)
    if result.outcome == "passed":
        push_current(site, stage, snapshots)
    return result.model_copy(update={"seconds": time.monotonic() - begun})


class _Publication:
    """One call of :func:`publish`, under the stage's lock."""

    def __init__(self, site: Site, state: Path, snapshots: Snapshots, situation: Situation, base: Unit | None) -> None:
        self._site, self._state, self._snapshots, self._situation, self._base = site, state, snapshots, situation, base
        self._current = snapshots.current()
        (self._passing,) = situation.passing
        self._published = {target: record for (_, target), record in situation.published.items()}

    def result(self, overrides: Overrides) -> PublishResult:
        """Publish the build, or return why the gate refuses it."""
        passing, stage = self._passing, self._situation.stage
        results = _Results(self._snapshots, stage, passing.target, passing.build, self._published)
        old = self._published.get(passing.target.name)
        gate = answer(self._situation, overrides, thorough=False)
        refused = refused_of(gate.verdicts)
        same_commit = old is not None and old.nevr == passing.nevr and old.commit == passing.build.result.commit != ""
        if old and same_commit and {verdict.rule for verdict in refused} == {"no-replaced-file"}:
            return results.unchanged(old, _published_instead(old, passing))
        if refused:
            return results.refused(refused)
        remove_tree(self._snapshots.root / POOL / WORK)  # left by a call that was killed after its switch
        there = published_in(self._site, passing.target, self._published.values())
        for move in moves(self._site.repositories, passing.package, passing.target.name, there):
            click.echo(move)
        unit = unit_of(self._site, passing.package, passing.target, passing.build, there)
        base = self._base if self._base and _is_news(self._base, self._current) else None
        known = self._current.record.repositories if self._current else ()
        missing = set(repositories_of(self._site, passing.target)) - set(known)
        if old and old.unsigned == unit.unsigned and not base and not missing:
            return results.unchanged(old, f"{old.nevr} is already published on {passing.target.name}")
        return results.published(self._switch([unit, *([base] if base else [])], gate))

    def _switch(self, units: list[Unit], gate: GateResult) -> PublishedRecord:
        """Sign the units, draft a snapshot, switch to it, and return the record of the first unit."""
        site, snapshots, current = self._site, self._snapshots, self._current
        records = []
        with site_signer(site, self._state) as key, Pool(snapshots.root / POOL, key).open() as pool:
            for unit in units:
                pool.bring(list(unit.files.values()), unit.fetch)
            pool.sign()
            key.export(snapshots.root / f"RPM-GPG-KEY-{site.distribution.name}")
            companions = Companions(site, key, pool.work / "documents")
            with snapshots.draft(repositories_of(site, units[0].target)) as draft:
                for unit in units:
                    files = read(unit, pool.bring(list(unit.files.values()), unit.fetch))
                    published = current.published_of(unit.package) if current else {}
                    record = add(draft, unit, files, published)
                    if unit.package != BASE:
                        record = self._with_gate(record, gate)
                        old = published.get(unit.target.name)
                        record = companions.add(draft, unit.target, site.package(unit.package), record, files, old)
                    draft.set_record(record)
                    records.append(record)
                draft.finish(f"{units[0].nevr} on {units[0].target.name}", key.sign_detached, groups=groups_of(site))
            snapshots.prune(site.retention, pool.forget)
        return records[0]

    def _with_gate(self, record: PublishedRecord, gate: GateResult) -> PublishedRecord:
        """The record with the rules that it passed and the overrides.

        :raises CannotRun: if its source package changed after the gate read its version.
        """
        if record.evr != self._passing.evr:
            raise CannotRun(
                f"the source package of {record.nevr} has version {record.evr}; the gate read {self._passing.evr}",
                "the artifact was changed; build it again",
            )
        overrides = overrides_of(gate, self._passing)
        overridden = {override.rule for override in overrides}
        passed = tuple(rule for rule in rules_of(self._situation.stage) if rule not in overridden)
        return record.model_copy(update={"passed": passed, "overrides": overrides})


def _is_news(base: Unit, current: Snapshot | None) -> bool:
    """Return whether the package for the base system must be published.

    It is made from the sandbox tree, not from a commit: if its NEVRA is published, the published package stays.
    """
    old = current.published_of(base.package).get(base.target.name) if current else None
    return old is None or old.nevr != base.nevr


def _published_instead(old: PublishedRecord, passing: Passing) -> str:
    changed = other_content(passing.unsigned, old.unsigned)
    count = f"{len(changed)} of {len(passing.unsigned)} packages differ"
    return (
        f"{old.nevr} is already published on {passing.target.name} from build {old.identity[:12]} of the same commit; "
        f"{count} in build {passing.build.result.identity[:12]}, which stays unpublished until its Release is raised"
    )


class _Results:
    """The possible results of one publication, with their common fields."""

    def __init__(
        self,
        snapshots: Snapshots,
        stage: Stage,
        target: Target,
        build: Build,
        published: Mapping[str, PublishedRecord],
    ) -> None:
        self._there = published
        self._root = snapshots.root / snapshots.top
        self._target, self._nevr = target, build.result.nevr
        self._known = {"target": target.name, "package": build.result.package, "nevr": self._nevr, "stage": stage.name}
        self._flaky = build.test.flaky if build.test else ()

    def refused(self, refusals: Iterable[RuleVerdict]) -> PublishResult:
        """The result if nothing is published: the first refusal in the summary, all of them in the cause."""
        lines = [f"{refusal.rule}: {refusal.what} → {refusal.hint}" for refusal in refusals]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        summary = f"{self._nevr} is not published on {self._target.name}: {lines[0]}{more}"
        return self._result(outcome="failed", summary=summary, cause="\n".join(lines))

    def unchanged(self, record: PublishedRecord, summary: str) -> PublishResult:
        """The result if there is nothing to do."""
        return self._with_record(record, summary, unchanged=True)

    def published(self, record: PublishedRecord) -> PublishResult:
        """The result if users see the build now."""
        count = len(record.files)
        summary = f"{record.nevr}: {count} packages published on {self._target.name}, snapshot {record.snapshot}"
        return self._with_record(record, summary)

    def _with_record(self, record: PublishedRecord, summary: str, **fields: object) -> PublishResult:
        packages, documents = (
            tuple(
                Artifact(name=f.name, url=str(self._root / f.repository / f.path), sha256=f.sha256, size=f.size)
                for f in files
            )
            for files in (record.files, record.documents)
        )
        if self._flaky:
            summary += f"; flaky in its tests: {', '.join(self._flaky)}"
        now = {**self._there, record.target: record}
        has = tuple(
            Promoted(package=r.package, target=r.target, nevr=r.nevr, commit=r.commit) for _, r in sorted(now.items())
        )
        known = {
            "summary": summary,
            "snapshot": record.snapshot,
            "url": str(self._root),
            "flaky": self._flaky,
            "has": has,
        }
        return self._result(packages=packages, documents=documents, **known, **fields)

    def _result(self, **fields: object) -> PublishResult:
        return PublishResult.model_validate({**self._known, **fields})
