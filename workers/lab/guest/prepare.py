"""``kitten guests``: fetch the guests of several targets. A failure for one target does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Iterable

from config.models import Target
from workers.base.errors import CannotRun
from workers.lab.guest import file_system
from workers.lab.machine.launch import LaunchFailedError
from workers.results import GuestsResult, TargetGuest


def prepare(targets: Iterable[Target]) -> GuestsResult:
    """Make the base of each target's guests. Print one line for each target.

    :returns: the targets that are ready, and why the others are not.
    """
    began = time.monotonic()
    records = tuple(_prepare_target(target) for target in targets)
    failed = [record for record in records if record.outcome != "passed"]
    reasons = "".join(
        f"\n  {record.target}: {record.cause}" + (f"\n    → {record.hint}" if record.hint else "") for record in failed
    )
    return GuestsResult(
        outcome="cannot-run" if failed else "passed",
        summary=f"guests of {len(records) - len(failed)} of {len(records)} targets are ready",
        seconds=time.monotonic() - began,
        cause=f"no guests for {len(failed)} of {len(records)} targets:{reasons}" if failed else "",
        targets=records,
    )


def _prepare_target(target: Target) -> TargetGuest:
    try:
        base = file_system.base(target)
    except (CannotRun, LaunchFailedError) as error:
        cause, hint = (error.what, error.hint) if isinstance(error, CannotRun) else (str(error), "")
        record = TargetGuest(target=target.name, outcome="cannot-run", cause=cause.splitlines()[0], hint=hint)
        _print(f"no guest of {record.target}: {record.cause}")
        return record
    chosen = base.accelerator
    record = TargetGuest(
        target=target.name,
        outcome="passed",
        kernel=base.parts.release,
        accelerator=chosen.name,
        reason=chosen.reason,
    )
    _print(f"guest of {record.target}: kernel {record.kernel}, {record.accelerator} ({record.reason})")
    return record


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - progress for people
