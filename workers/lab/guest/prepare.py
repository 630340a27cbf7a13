"""The guests of several targets, fetched ahead of time: what fails for one target does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Iterable

from config.models import Target
from workers.base.errors import CannotRun
from workers.lab.guest import file_system
from workers.lab.machine.launch import LaunchFailedError
from workers.results import GuestsResult, TargetGuest


def prepare(targets: Iterable[Target]) -> GuestsResult:
    """Make the base of each target's guests; each line that it prints is one target.

    :returns: which targets are ready, and why the others are not.
    """
    began = time.monotonic()
    found = tuple(_prepared(target) for target in targets)
    failed = [one for one in found if one.outcome != "passed"]
    reasons = "".join(f"\n  {one.target}: {one.cause}" + (f"\n    → {one.hint}" if one.hint else "") for one in failed)
    return GuestsResult(
        outcome="cannot-run" if failed else "passed",
        summary=f"guests of {len(found) - len(failed)} of {len(found)} targets are ready",
        seconds=time.monotonic() - began,
        cause=f"no guests for {len(failed)} of {len(found)} targets:{reasons}" if failed else "",
        targets=found,
    )


def _prepared(target: Target) -> TargetGuest:
    try:
        base = file_system.base(target)
    except (CannotRun, LaunchFailedError) as error:
        cause, hint = (error.what, error.hint) if isinstance(error, CannotRun) else (str(error), "")
        one = TargetGuest(target=target.name, outcome="cannot-run", cause=cause.splitlines()[0], hint=hint)
        _say(f"no guest of {one.target}: {one.cause}")
        return one
    chosen = base.accelerator
    one = TargetGuest(
        target=target.name,
        outcome="passed",
        kernel=base.parts.release,
        accelerator=chosen.name,
        reason=chosen.reason,
    )
    _say(f"guest of {one.target}: kernel {one.kernel}, {one.accelerator} ({one.reason})")
    return one


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - progress for people
