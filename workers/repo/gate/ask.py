"""Ask a stage's gate, changing nothing: what each rule says, what would have to come along, what is owed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.models import Site, Stage
from workers import options
from workers.errors import CannotRun
from workers.repo.gate import folders, sets
from workers.repo.gate.evaluate import evaluate
from workers.repo.gate.override import override
from workers.repo.gate.situation import Key, Passing, Situation
from workers.repo.gate.targets import debts
from workers.repo.records import PublishedRecord
from workers.repo.state import named_stage, published
from workers.results import GateResult, RuleVerdict


@dataclass(frozen=True)
class Overrides:
    """Rules that somebody lets builds pass."""

    rules: tuple[str, ...] = ()
    reason: str = ""
    user: str = ""


def ask(
    site: Site,
    state: Path,
    *,
    stage_name: str = "kitten",
    target_name: str | None = None,
    build_url: str | None = None,
    packages: Sequence[str] = (),
    overrides: Overrides = Overrides(),
) -> GateResult:
    """Ask about a build, or about packages that wait in the stage before (by default all of them).

    :raises CannotRun: when there is nothing to ask about, or an override is not allowed.
    """
    begun = time.monotonic()
    stage = named_stage(site, stage_name)
    there = published(site, state, stage_name)
    joined: tuple[sets.Joined, ...] = ()
    if build_url is not None:
        if target_name is None or packages:
            raise CannotRun("a build is asked about by itself, on its target", "--target T --build URL, no packages")
        passing: tuple[Passing, ...] = (folders.passing_build(site, state, target_name, build_url),)
    else:
        passing, joined = _waiting(site, state, stage, target_name, packages, there)
    result = answer(folders.situation(site, state, stage, passing, there), overrides, joined)
    return result.model_copy(update={"seconds": time.monotonic() - begun})


def answer(situation: Situation, overrides: Overrides, joined: Iterable[sets.Joined] = ()) -> GateResult:
    """The gate's answer to a situation.

    :raises CannotRun: when an override is not allowed.
    """
    verdicts, records = override(
        situation.site,
        evaluate(situation),
        overrides.rules,
        reason=overrides.reason,
        user=overrides.user,
        now=situation.now,
    )
    refused = [verdict for verdict in verdicts if verdict.outcome == "refused"]
    packages = {p.package.name: p.package for p in situation.passing}
    return GateResult(
        outcome="not-held" if refused else "held",
        summary=_summary(situation, refused, len(records)),
        cause="\n".join(map(str, refused)),
        stage=situation.stage.name,
        verdicts=verdicts,
        overrides=records,
        joined=tuple(f"{each.package}: {each.why}" for each in joined),
        debts=tuple(f"{name}: {debt}" for name, package in packages.items() for debt in debts(situation, package)),
    )


def _summary(situation: Situation, refused: Sequence[RuleVerdict], overridden: int) -> str:
    builds = f"{len(situation.passing)} {'build' if len(situation.passing) == 1 else 'builds'}"
    by = f", {overridden} {'rule' if overridden == 1 else 'rules'} overridden" if overridden else ""
    if not refused:
        return f"{builds} may pass to {situation.stage.name}{by}"
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return f"{builds} may not pass to {situation.stage.name}{by}: {refused[0]}{more}"


def _waiting(
    site: Site,
    state: Path,
    stage: Stage,
    target_name: str | None,
    asked: Sequence[str],
    there: Mapping[Key, PublishedRecord],
) -> tuple[tuple[Passing, ...], tuple[sets.Joined, ...]]:
    """What waits in the stage before of the packages asked for, with what has to come along."""
    previous = folders.before(site, stage)
    if previous is None:
        raise CannotRun(f"no signed stage comes before {stage.name}", "ask about a build: --target T --build URL")
    for name in asked:
        options.named_package(site, name)
    if target_name is not None:
        options.named_target(site, target_name)
    waiting = [p for p in folders.passing_from(site, state, previous, there) if target_name in (None, p.target.name)]
    if missing := sorted(set(asked) - {p.package.name for p in waiting}):
        raise CannotRun(
            f"nothing of {', '.join(missing)} waits in {previous.name} for {stage.name}",
            f"kitten publish --stage {previous.name}, or see kitten published",
        )
    if not waiting:
        raise CannotRun(f"nothing waits in {previous.name} for {stage.name}", "kitten publish --stage " + previous.name)
    if not asked:
        return tuple(waiting), ()
    joined = tuple(_joined(site, state, stage, waiting, asked, there))
    together = {*asked, *(each.package for each in joined)}
    return tuple(p for p in waiting if p.package.name in together), joined


def _joined(
    site: Site,
    state: Path,
    stage: Stage,
    waiting: Sequence[Passing],
    asked: Sequence[str],
    there: Mapping[Key, PublishedRecord],
) -> list[sets.Joined]:
    """What has to come along on any target; on all of them until no target asks for more."""
    if stage.rule("installable") is None:
        return []
    world = folders.FolderWorld(site, state, stage, tuple(waiting), there)
    joined: dict[str, sets.Joined] = {}
    while True:
        known = len(joined)
        for target in site.targets:
            here = {
                p.package.name: sets.Waiting(p.package.name, p.nevr, world.elements(p))
                for p in waiting
                if p.target.name == target.name
            }
            found = sets.extend([*asked, *joined], here, world.before(target), target.rpm_arch)
            for each in found.joined:
                joined.setdefault(each.package, each)
        if len(joined) == known:
            return list(joined.values())
