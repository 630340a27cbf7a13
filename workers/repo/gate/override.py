"""Letting a build pass a rule of a gate: by somebody who may, for a reason, and never without a trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from config.models import Site
from workers.errors import CannotRun
from workers.results import OverrideRecord, RuleVerdict

NEVER = ("built", "no-replaced-file")
"""Rules nobody overrides: a build that is none, and a file that users have with other content under its name."""
LEAST = 10
"""Characters of a reason."""


def override(
    site: Site,
    verdicts: Sequence[RuleVerdict],
    rules: Iterable[str],
    *,
    reason: str,
    user: str,
    now: datetime | None = None,
) -> tuple[tuple[RuleVerdict, ...], tuple[OverrideRecord, ...]]:
    """Turn refusals of some rules into overridden ones; the records are to be kept with what is published.

    A rule that refused nothing leaves no record.

    :param user: an account named in web.yaml, whose role has ``override-gate`` or ``everything``.
    :raises CannotRun: when the user may not, the reason is too short, or the rule is one that nobody overrides or that
        was not asked.
    """
    named = tuple(dict.fromkeys(rules))
    if not named:
        return tuple(verdicts), ()
    if not site.may(user, "override-gate"):
        may = sorted({u for role in site.web.roles for u in role.users if site.may(u, "override-gate")})
        raise CannotRun(
            f"{user or 'nobody'} may not override the gate", f"those may: {', '.join(may) or 'nobody'}; see web.yaml"
        )
    if len(reason.strip()) < LEAST:
        raise CannotRun(f"the reason {reason.strip()!r} is too short", f"say why, in at least {LEAST} characters")
    known = {verdict.rule for verdict in verdicts}
    for rule in named:
        if rule in NEVER:
            raise CannotRun(f"nobody overrides the rule {rule}", "mend what it refused")
        if rule not in known:
            raise CannotRun(f"the gate has no rule {rule}", f"its rules: {', '.join(sorted(known))}")
    when = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    after = tuple(
        v.model_copy(update={"outcome": "overridden"}) if v.outcome == "refused" and v.rule in named else v
        for v in verdicts
    )
    records = []
    for rule in named:
        refused = tuple(str(v) for v in verdicts if v.rule == rule and v.outcome == "refused")
        if refused:
            records.append(OverrideRecord(rule=rule, user=user, when=when, reason=reason.strip(), refused=refused))
    return after, tuple(records)
