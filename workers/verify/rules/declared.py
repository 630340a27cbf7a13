"""What was declared: the flags each compile unit carries, and that there are any units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from workers.results import Check
from workers.verify.go import missing_settings
from workers.verify.producers import UnitVerdict, judge_unit
from workers.verify.promise import LISTED, Observed, Promise, skip

RULE = "producer"


def verdicts(promise: Promise, file: Observed) -> tuple[UnitVerdict, ...]:
    """What each compile unit of a file proves."""
    units = file.facts.units
    beside_go = bool(file.facts.traits.go_settings) or any(unit.language == "go" for unit in units)
    return tuple(judge_unit(unit, promise.flags, beside_go) for unit in units)


def judge_declared(promise: Promise, file: Observed, units: Sequence[UnitVerdict]) -> Iterator[Check]:
    """The checks of one file: a check for each unit that lacks a flag, one for all that hold, one per excuse.

    :param units: what :func:`verdicts` made of it.
    """
    item, facts = file.item, file.facts
    if facts.format == "efi":
        yield skip(RULE, item, "efi")
        return
    if not facts.has_code:
        yield skip(RULE, item, "no-code")
        return
    settings = facts.traits.go_settings
    if settings:
        yield _go(promise, file)
    if units:
        yield from _units(promise, file, units)
    elif settings:
        return  # a stripped Go program: its settings are all that was declared
    elif not item.package:
        # A file given by itself: the packages that hold its debug data were not given along.
        yield skip(RULE, item, "no-debuginfo")
    elif facts.type == "ET_REL" and not facts.traits.build_id:
        # rpm strips objects and static libraries and keeps no debug data of them anywhere.
        yield skip(RULE, item, "stripped-object")
    else:
        if not facts.traits.build_id:
            why = "no build-id, so no debuginfo can belong to it"
        elif not file.has_debug:
            why = f"no debuginfo package holds a file of its build-id {facts.traits.build_id}"
        else:
            why = "its debuginfo holds no compile unit"
        yield Check(rule="debuginfo", file=item.name, outcome="failed", detail=why)


def _units(promise: Promise, file: Observed, units: Sequence[UnitVerdict]) -> Iterator[Check]:
    name = file.item.name
    held = sum(unit.outcome == "passed" for unit in units)
    broken = [unit.detail for unit in units if unit.outcome == "failed"]
    excused = Counter(unit.reason for unit in units if unit.outcome == "skipped")
    for detail in broken[:LISTED]:
        yield Check(rule=RULE, file=name, outcome="failed", detail=detail)
    if len(broken) > LISTED:
        yield Check(rule=RULE, file=name, outcome="failed", detail=f"and {len(broken) - LISTED:,} more compile units")
    if held:
        yield Check(
            rule=RULE, file=name, outcome="passed", detail=f"{held} compile units carry {' '.join(promise.flags)}"
        )
    elif not broken and set(excused) <= {"lto-partition"}:
        yield Check(rule=RULE, file=name, outcome="failed", detail="no compile unit could be judged")
    for reason, count in sorted(excused.items()):
        yield skip(RULE, file.item, reason, f"{count} compile units")


def _go(promise: Promise, file: Observed) -> Check:
    """The level a Go program was built for: its tool chain takes it from the environment, not from flags."""
    lacking = missing_settings(file.facts.traits.go_settings, promise.target)
    wanted = " ".join(f"{name}={value}" for name, value in promise.target.flags.go.items())
    detail = f"built without {' '.join(lacking)}: set it in %build" if lacking else wanted or "no setting is asked for"
    return Check(rule="go-settings", file=file.item.name, outcome="failed" if lacking else "passed", detail=detail)
