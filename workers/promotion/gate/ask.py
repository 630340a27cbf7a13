"""Ask a stage's gate without changing anything: verdicts, packages that must join, and what slow targets owe."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from config.models import Site
from workers.base import options
from workers.base.errors import CannotRun
from workers.promotion.gate import sets
from workers.promotion.gate.evaluate import EXPENSIVE, evaluate, rules_of
from workers.promotion.gate.override import NONE, Overrides, override, require_allowed
from workers.promotion.gate.situation import Situation
from workers.promotion.gate.targets import debts
from workers.promotion.gate.world import situation_of_build, situation_of_waiting, stage_before
from workers.repository.state import named_stage
from workers.results import GateResult, RuleVerdict


def ask(
    site: Site,
    state: Path,
    *,
    stage_name: str,
    target_name: str | None = None,
    build_url: str | None = None,
    packages: Sequence[str] = (),
    overrides: Overrides = NONE,
) -> GateResult:
    """Ask about a build, or about packages that wait in the previous stage (by default all of them).

    :raises CannotRun: if nothing waits, the arguments contradict each other, or an override is not allowed.
    """
    begun = time.monotonic()
    stage = named_stage(site, stage_name)
    joined: tuple[sets.Joined, ...] = ()
    if build_url is not None:
        if target_name is None or packages:
            raise CannotRun("a build is checked alone, on its target", "give --target T --build URL, and no packages")
        situation = situation_of_build(site, state, stage, target_name, build_url)
    else:
        if target_name is not None:
            options.named_target(site, target_name)
            raise CannotRun("packages that wait are checked on all targets", "leave out --target, or add --build URL")
        for name in packages:
            options.named_package(site, name)
        situation = situation_of_waiting(site, state, stage).level()
        _require_waiting(situation, packages)
        if packages:
            joined = together(situation, packages)
            situation = situation.only({*packages, *(each.package for each in joined)})
    result = answer(situation, overrides, joined)
    return result.model_copy(update={"seconds": time.monotonic() - begun})


def _require_waiting(situation: Situation, asked: Sequence[str]) -> None:
    stage, previous = situation.stage, stage_before(situation.site, situation.stage)
    missing = sorted(set(asked) - {p.package.name for p in situation.passing})
    if missing or not situation.passing:
        of = f" of {', '.join(missing)}" if missing else ""
        raise CannotRun(
            f"nothing{of} waits in {previous.name} for {stage.name}",
            f"publish a build there (kitten publish --stage {previous.name}); kitten repo-status lists what waits",
        )


def answer(
    situation: Situation,
    overrides: Overrides = NONE,
    joined: Iterable[sets.Joined] = (),
    *,
    thorough: bool = True,
) -> GateResult:
    """The gate's answer to a situation.

    :param thorough: apply every rule; if False, the expensive ones only while no other rule refuses.
    :raises CannotRun: if an override is not allowed.
    """
    require_allowed(situation.site, situation.stage, overrides)
    every = rules_of(situation.stage)
    verdicts: tuple[RuleVerdict, ...] = ()
    for names in [every] if thorough else [_cheap(every), *([name] for name in EXPENSIVE if name in every)]:
        if refused_of(verdicts, overrides.rules):
            break
        verdicts += evaluate(situation, names)
    verdicts, records = override(verdicts, overrides, situation.now)
    refused = refused_of(verdicts)
    packages = {p.package.name: p.package for p in situation.passing}
    return GateResult(
        outcome="failed" if refused else "passed",
        summary=_summary(situation, refused, len(records)),
        cause="\n".join(map(str, refused)),
        stage=situation.stage.name,
        verdicts=verdicts,
        overrides=records,
        joined=tuple(f"{each.package}: {each.why}" for each in joined),
        debts=tuple(f"{name}: {debt}" for name, package in packages.items() for debt in debts(situation, package)),
    )


def stopped_by_records(situation: Situation, overrides: Overrides = NONE) -> bool:
    """Return whether a rule over records alone refuses a build of a required target, whatever packages join."""
    required = {passing.key for passing in situation.passing if passing.target.required}
    verdicts = evaluate(situation, _cheap(rules_of(situation.stage)))
    return any((verdict.package, verdict.target) in required for verdict in refused_of(verdicts, overrides.rules))


def _cheap(rules: Iterable[str]) -> list[str]:
    return [name for name in rules if name not in EXPENSIVE]


def refused_of(verdicts: Iterable[RuleVerdict], but: Collection[str] = ()) -> list[RuleVerdict]:
    """The refusals among verdicts, without those of some rules."""
    return [verdict for verdict in verdicts if verdict.outcome == "refused" and verdict.rule not in but]


def _summary(situation: Situation, refused: Sequence[RuleVerdict], overridden: int) -> str:
    builds = f"{len(situation.passing)} {'build' if len(situation.passing) == 1 else 'builds'}"
    by = f", {overridden} {'rule' if overridden == 1 else 'rules'} overridden" if overridden else ""
    if not refused:
        return f"{builds} may pass to {situation.stage.name}{by}"
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return f"{builds} may not pass to {situation.stage.name}{by}: {refused[0]}{more}"


def together(situation: Situation, asked: Sequence[str]) -> tuple[sets.Joined, ...]:
    """The packages that must join on any target; the search goes on until no target needs another one.

    :param situation: with everything that waits.
    """
    if situation.stage.rule("installable") is None:
        return ()
    world, joined = situation.world, dict[str, sets.Joined]()
    while True:
        known = len(joined)
        for target in situation.targets:
            here = {
                p.package.name: sets.Waiting(p.package.name, p.nevr, world.elements(p))
                for p in situation.of_target(target)
            }
            found = sets.extend([*asked, *joined], here, world.before(target), target.rpm_arch)
            for each in found.joined:
                joined.setdefault(each.package, each)
        if len(joined) == known:
            return tuple(joined.values())
