"""Letting a build pass a rule of a gate: by somebody who may, for a reason, and never without a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from config.models import NEVER_OVERRIDDEN, Site, Stage
from workers.base.errors import CannotRun
from workers.promotion.gate.evaluate import rules_of
from workers.promotion.gate.situation import Passing
from workers.results import GateResult, OverrideRecord, RuleVerdict

LEAST = 10
"""Characters of a reason."""


@dataclass(frozen=True)
class Overrides:
    """Rules that somebody lets builds pass."""

    rules: tuple[str, ...] = ()
    reason: str = ""
    user: str = ""
    """An account named in web.yaml, whose role has ``override-gate`` or ``everything``."""


NONE = Overrides()


def require_allowed(site: Site, stage: Stage, overrides: Overrides) -> None:
    """Refuse overrides that nobody, or not this user, may make at a stage.

    :raises CannotRun: when the user may not, the reason is too short, or the rule is one that nobody overrides or that
        the stage has not.
    """
    if not overrides.rules:
        return
    user, reason = overrides.user, overrides.reason.strip()
    if not site.may(user, "override-gate"):
        may = sorted({u for role in site.web.roles for u in role.users if site.may(u, "override-gate")})
        raise CannotRun(
            f"{user or 'nobody'} may not override the gate", f"those may: {', '.join(may) or 'nobody'}; see web.yaml"
        )
    if len(reason) < LEAST:
        raise CannotRun(f"the reason {reason!r} is too short", f"say why, in at least {LEAST} characters")
    known = rules_of(stage)
    for rule in overrides.rules:
        if rule in NEVER_OVERRIDDEN:
            raise CannotRun(f"nobody overrides the rule {rule}", "mend what it refused")
        if rule not in known:
            raise CannotRun(f"the gate of {stage.name} has no rule {rule}", f"its rules: {', '.join(sorted(known))}")


def override(
    verdicts: Sequence[RuleVerdict], overrides: Overrides, now: datetime | None = None
) -> tuple[tuple[RuleVerdict, ...], tuple[OverrideRecord, ...]]:
    """Turn refusals of some rules into overridden ones; the records are to be kept with what is published.

    A rule that refused nothing leaves no record.
    """
    when = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    records = []
    for rule in dict.fromkeys(overrides.rules):
        refused = tuple(str(v) for v in verdicts if v.rule == rule and v.outcome == "refused")
        if refused:
            words = {"user": overrides.user, "when": when, "reason": overrides.reason.strip()}
            records.append(OverrideRecord.model_validate({"rule": rule, "refused": refused, **words}))
    after = tuple(
        v.model_copy(update={"outcome": "overridden"}) if v.outcome == "refused" and v.rule in overrides.rules else v
        for v in verdicts
    )
    return after, tuple(records)


def overrides_of(result: GateResult, passing: Passing) -> tuple[OverrideRecord, ...]:
    """The overrides in a gate's answer that one build needed, with what had been refused of it."""
    found = []
    for record in result.overrides:
        mine = tuple(
            str(verdict)
            for verdict in result.verdicts
            if (verdict.rule, verdict.outcome) == (record.rule, "overridden")
            and (verdict.package, verdict.target) == passing.key
        )
        if mine:
            found.append(record.model_copy(update={"refused": mine}))
    return tuple(found)
