"""Move packages from a signed stage to the next one: a set passes at once on all targets, or not at all.

Packages pass as they are: the signed files are linked (copied to another file system), and their index entries come
from the catalogue. Nothing is read or signed again except the indexes. So users get the files that were tested.

A package waits while a required target does not have it yet; that is no failure. A target that may lag never blocks the
others: if the gate refuses only such a target, the others pass without it. After a package has passed, the gate looks
at the packages that waited for it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from config.models import Site, Stage
from workers.base import options
from workers.base.errors import CannotRun
from workers.metadata.comps import groups_of
from workers.mirrors.pushing import push_current
from workers.promotion.companions import set_update
from workers.promotion.gate.ask import answer, refused_of, stopped_by_records, together
from workers.promotion.gate.evaluate import rules_of
from workers.promotion.gate.override import NONE, Overrides, overrides_of
from workers.promotion.gate.situation import Key, Passing, Situation
from workers.promotion.gate.targets import WAITING, lacking
from workers.promotion.gate.world import situation_of_waiting, stage_before
from workers.promotion.unit import places_given_up
from workers.repository import index
from workers.repository.catalogue import Catalogue
from workers.repository.placement import BASE, repositories_of
from workers.repository.records import PublishedFile, PublishedRecord
from workers.repository.snapshot import Draft, Snapshots, utc
from workers.repository.state import named_stage, snapshots_of
from workers.repository.tables import File
from workers.results import GateResult, Promoted, PromoteResult, RuleVerdict
from workers.signing.sign import site_signer


def promote(
    site: Site,
    state: Path,
    stage_name: str = "",
    packages: Sequence[str] = (),
    *,
    overrides: Overrides = NONE,
) -> PromoteResult:
    """Move packages as one set, with the packages that they need; without names, everything that passes.

    :param overrides: rules that the set may break; they do not count for packages that pass afterwards.
    :raises CannotRun: if an override is not allowed, the stage or a package does not exist, or signing fails. Nothing
        of the set is published then.
    """
    begun = time.monotonic()
    stage = named_stage(site, stage_name)
    for name in packages:
        options.named_package(site, name)
    if overrides.rules and not packages:
        raise CannotRun("an override needs packages, not everything that waits", "name the packages")
    snapshots = snapshots_of(site, state, stage)
    with snapshots.lock():
        promotion = _Promotion(site, state, stage, snapshots)
        result = promotion.of_set(packages, overrides) if packages else promotion.of_all()
    if result.snapshot:
        push_current(site, stage, snapshots)
    return result.model_copy(update={"seconds": time.monotonic() - begun})


class _Promotion:
    """One call of :func:`promote`, under the stage's lock."""

    def __init__(self, site: Site, state: Path, stage: Stage, snapshots: Snapshots) -> None:
        self._site, self._state, self._stage, self._snapshots = site, state, stage, snapshots
        self._previous = stage_before(site, stage)
        self._situation = situation_of_waiting(site, state, stage)

    def of_set(self, packages: Sequence[str], overrides: Overrides) -> PromoteResult:
        """Move the named packages together or not at all, then everything else that passes."""
        whole = self._situation.level()
        alone = whole.only(packages)
        if not alone.passing:
            return self._already_there(packages)
        # Most calls find that another target is still missing: then the search for packages that join is skipped.
        joined = () if stopped_by_records(alone, overrides) else together(whole, packages)
        asked = whole.only({*packages, *(each.package for each in joined)})
        passed, answers = self._sift(asked, overrides, together=True)
        refused = [verdict for each in answers[-1:] for verdict in refused_of(each.verdicts)]
        if not passed.passing:
            waits = _waits(asked) if all(v.rule in WAITING for v in refused) else ()
            return self._result(packages, waits, () if waits else refused)
        result = self._publish(packages, passed, answers[-1])
        self._situation = situation_of_waiting(self._site, self._state, self._stage)
        followed = self.of_all()
        left = tuple(verdict for each in answers[:-1] for verdict in refused_of(each.verdicts))
        behind = {verdict.target: verdict.rule for verdict in reversed(left)}
        more = [f"{target} stays behind: {rule}" for target, rule in behind.items()]
        more += [followed.summary] if followed.promoted else []
        news = {
            "summary": "; ".join([result.summary, *more]),
            "snapshot": followed.snapshot or result.snapshot,
            "promoted": (*result.promoted, *followed.promoted),
            "refused": left,
            "joined": tuple(f"{each.package}: {each.why}" for each in joined),
            "has": (*result.has, *followed.has),
        }
        return result.model_copy(update=news)

    def of_all(self) -> PromoteResult:
        """Move the largest set that passes the gate; the builds that it refuses are left out."""
        whole = self._situation.level()
        passed, answers = self._sift(whole, NONE, together=False)
        refused = [v for each in answers for v in refused_of(each.verdicts) if v.rule not in WAITING]
        if not passed.passing:
            return self._result((), _waits(whole), refused)
        result = self._publish((), passed, answers[-1])
        rest = whole.only({p.package.name for p in whole.passing} - {p.package.name for p in passed.passing})
        return result.model_copy(update={"refused": tuple(refused), "waits": _waits(rest)})

    def _sift(
        self, situation: Situation, overrides: Overrides, *, together: bool
    ) -> tuple[Situation, list[GateResult]]:
        """The part of a situation that passes the gate, and the answers of the gate.

        :param together: all packages or none.
        """
        answers: list[GateResult] = []
        while situation.passing:
            answers.append(answer(situation, overrides, thorough=False))
            if answers[-1].outcome == "passed":
                break
            refused = {(verdict.package, verdict.target) for verdict in refused_of(answers[-1].verdicts)}
            required = {p.package.name for p in situation.passing if p.target.required and p.key in refused}
            if required and together:
                return situation.only(()), answers
            gone = {p.key for p in situation.passing if p.package.name in required} | refused
            situation = situation.without(gone)
        return situation, answers

    def _already_there(self, packages: Sequence[str]) -> PromoteResult:
        """The result for packages of which nothing waits, but which the stage has."""
        records = [record for name in packages for record in self._records(name)]
        if missing := [name for name in packages if name not in {record.package for record in records}]:
            raise CannotRun(
                f"nothing of {', '.join(missing)} waits in {self._previous.name} for {self._stage.name}",
                f"kitten publish --stage {self._previous.name} puts a build there",
            )
        verb = "is" if len(packages) == 1 else "are"
        summary = f"{_listed({r.nevr for r in records})} {verb} in {self._stage.name} already"
        return PromoteResult(summary=summary, stage=self._stage.name, packages=tuple(packages), has=_promoted(records))

    def _records(self, package: str) -> Iterable[PublishedRecord]:
        """The stage's records of a package."""
        current = self._snapshots.current()
        return current.published_of(package).values() if current else ()

    def _result(self, asked: Sequence[str], waits: Sequence[str], refused: Sequence[RuleVerdict]) -> PromoteResult:
        """The result if nothing passed."""
        previous = self._previous.name
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        summary = f"nothing waits in {previous} for {self._stage.name}"
        if refused:
            summary = (
                f"{_listed({v.nevr for v in refused})} in {previous}, not in {self._stage.name}: {refused[0]}{more}"
            )
        elif waits:
            summary = f"in {previous}, and {self._stage.name} waits: {'; '.join(waits)}"
        return PromoteResult(
            outcome="failed" if refused else "passed",
            summary=summary,
            cause="\n".join(map(str, refused)),
            stage=self._stage.name,
            packages=tuple(asked),
            waits=tuple(waits),
            refused=tuple(refused),
            has=_promoted(record for name in asked for record in self._records(name)),
        )

    # ---------------------------------------------------------------------------------------------------- publishing

    def _publish(self, asked: Sequence[str], passed: Situation, result: GateResult) -> PromoteResult:
        """Publish the packages that passed, by one switch."""
        source = snapshots_of(self._site, self._state, self._previous)
        names = {p.nevr for p in passed.passing}
        targets = {p.target.name for p in passed.passing}
        what = f"{_listed(names)} on {len(targets)} {'target' if len(targets) == 1 else 'targets'}"
        folders = tuple(sorted({f for p in passed.passing for f in repositories_of(self._site, p.target)}))
        with site_signer(self._site, self._state) as key, Catalogue.open(source.catalogue) as catalogue:
            key.export(self._snapshots.root / f"RPM-GPG-KEY-{self._site.distribution.name}")
            with self._snapshots.draft(folders) as draft:
                take = _Taking(self._site, draft, source, catalogue, dict(passed.published))
                for passing in passed.passing:
                    take.passing(passing, rules_of(self._stage), result)
                take.bases(targets)
                draft.finish(what, key.sign_detached, groups=groups_of(self._site))
        self._snapshots.prune(self._site.retention)
        now = take.published
        promoted = _promoted(now[passing.key] for passing in passed.passing)
        has = _promoted(record for _, record in sorted(now.items()) if record.package in {p.package for p in promoted})
        by = f", by override of {', '.join(o.rule for o in result.overrides)}" if result.overrides else ""
        return PromoteResult(
            summary=f"{what} in {self._stage.name}, snapshot {draft.number}{by}",
            stage=self._stage.name,
            packages=tuple(asked),
            snapshot=draft.number,
            promoted=promoted,
            has=has,
            overrides=result.overrides,
        )


class _Taking:
    """Copies records and files of a stage to a draft of the next one."""

    def __init__(
        self,
        site: Site,
        draft: Draft,
        source: Snapshots,
        catalogue: Catalogue,
        published: dict[Key, PublishedRecord],
    ) -> None:
        """Begin with the records of the next stage.

        :param published: its records; updated with each package that is taken.
        """
        self._site, self._draft, self._catalogue, self.published = site, draft, catalogue, published
        self._tree = source.root / source.top
        now = source.current()
        self._bases = now.published_of(BASE) if now else {}

    def passing(self, passing: Passing, rules: Sequence[str], result: GateResult) -> None:
        """Take the build of a package on one target."""
        overrides = overrides_of(result, passing)
        passed = tuple(rule for rule in rules if rule not in {override.rule for override in overrides})
        record = self._take(passing.waiting, passed).model_copy(update={"overrides": overrides})
        old = self.published.get(passing.key)
        headers = {
            file.name: index.package_of(metadata) for file in record.files if (metadata := self._known(file).metadata)
        }
        set_update(self._site, self._draft, passing.target, record, headers, old)
        self._set_record(record)

    def bases(self, targets: Collection[str]) -> None:
        """Take the packages for the base system, if the site has them and their version is new."""
        for target in sorted(targets):
            record, old = self._bases.get(target), self.published.get((BASE, target))
            if record is not None and (old is None or old.nevr != record.nevr):
                self._set_record(self._take(record, ()))

    def _take(self, record: PublishedRecord, passed: tuple[str, ...]) -> PublishedRecord:
        for file in (*record.files, *record.documents):
            self._draft.add(self._known(file), self._tree / file.repository / file.path)
        others = {key[1]: r for key, r in self.published.items() if key[0] == record.package}
        for place in places_given_up(record, others):
            self._draft.remove(place.repository, place.path)
        now = {"snapshot": self._draft.number, "published": utc(self._draft.now)}
        return record.model_copy(update={**now, "passed": passed, "overrides": ()})

    def _known(self, file: PublishedFile) -> File:
        known = self._catalogue.file_at(file.repository, file.path)
        if known is None or known.sha256 != file.sha256:
            raise CannotRun(f"the catalogue of {self._tree} has no {file.name}", "publish its build there again")
        return known

    def _set_record(self, record: PublishedRecord) -> None:
        self._draft.set_record(record)
        self.published[record.package, record.target] = record


def _promoted(records: Iterable[PublishedRecord]) -> tuple[Promoted, ...]:
    return tuple(Promoted(package=r.package, target=r.target, nevr=r.nevr, commit=r.commit) for r in records)


def _waits(situation: Situation) -> tuple[str, ...]:
    """Sentences: which package waits for which targets."""
    waits: dict[str, dict[str, None]] = {}
    for passing in situation.passing:
        waits.setdefault(passing.nevr, {}).update(dict.fromkeys(lacking(situation, passing)))
    return tuple(f"{nevr} waits for {_listed(targets)}" for nevr, targets in waits.items() if targets)


def _listed(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``, ``a, b and 7 more``."""
    every = sorted(words)
    if len(every) > 4:
        every = [*every[:2], f"{len(every) - 2} more"]
    return " and ".join(filter(None, (", ".join(every[:-1]), every[-1] if every else "")))
