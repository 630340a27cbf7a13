"""Override rules of a gate: a user with the permission gives a reason, and a record of it is stored."""

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
"""Least number of characters of a reason."""


@dataclass(frozen=True)
class Overrides:
    """Rules that a user overrides."""

    rules: tuple[str, ...] = ()
    reason: str = ""
    user: str = ""
    """An account in web.yaml with a role that has ``override-gate`` or ``everything``."""


NONE = Overrides()


def require_allowed(site: Site, stage: Stage, overrides: Overrides) -> None:
    """Check that the user may make these overrides at a stage.

    :raises CannotRun: if the user lacks the permission, the reason is too short, the rule cannot be overridden, or the
        stage does not have it.
    """
    if not overrides.rules:
        return
    user, reason = overrides.user, overrides.reason.strip()
    if not site.may(user, "override-gate"):
        may = sorted({u for role in site.web.roles for u in role.users if site.may(u, "override-gate")})
        raise CannotRun(
            f"{user or 'nobody'} may not override the gate", f"users who may: {', '.join(may) or 'none'}; see web.yaml"
        )
    if len(reason) < LEAST:
        raise CannotRun(f"the reason {reason!r} is too short", f"say why, in at least {LEAST} characters")
    known = rules_of(stage)
    for rule in overrides.rules:
        if rule in NEVER_OVERRIDDEN:
            raise CannotRun(f"the rule {rule} cannot be overridden", "fix what it refused")
        if rule not in known:
            raise CannotRun(f"the gate of {stage.name} has no rule {rule}", f"its rules: {', '.join(sorted(known))}")


def override(
    verdicts: Sequence[RuleVerdict], overrides: Overrides, now: datetime | None = None
) -> tuple[tuple[RuleVerdict, ...], tuple[OverrideRecord, ...]]:
    """Turn refusals into overridden verdicts, and return the records to store with the published packages.

    A rule that refused nothing has no record.
    """
    when = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    records = []
    for rule in dict.fromkeys(overrides.rules):
        refused = tuple(str(v) for v in verdicts if v.rule == rule and v.outcome == "refused")
        if refused:
            origin = {"user": overrides.user, "when": when, "reason": overrides.reason.strip()}
            records.append(OverrideRecord.model_validate({"rule": rule, "refused": refused, **origin}))
    after = tuple(
        v.model_copy(update={"outcome": "overridden"}) if v.outcome == "refused" and v.rule in overrides.rules else v
        for v in verdicts
    )
    return after, tuple(records)


def overrides_of(result: GateResult, passing: Passing) -> tuple[OverrideRecord, ...]:
    """The overrides that one build needed, each with the refusals of this build."""
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
