"""The declared flags: in each package header and in each compile unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from workers.formats.rpm_header import RpmHeader
from workers.results import Check
from workers.verify.go import missing_settings
from workers.verify.producers import UnitVerdict, judge_unit, missing_flags
from workers.verify.promise import LISTED, Observed, Promise, answer, skip

RULE = "producer"


def verdicts(promise: Promise, file: Observed) -> tuple[UnitVerdict, ...]:
    """Return a verdict for each compile unit of a file."""
    units = file.facts.units
    beside_go = bool(file.facts.traits.go_settings) or any(unit.language == "go" for unit in units)
    return tuple(judge_unit(unit, promise.flags, beside_go) for unit in units)


def judge_declared(promise: Promise, file: Observed, units: Sequence[UnitVerdict]) -> Iterator[Check]:
    """Yield a check for each unit that lacks a flag, one for all units that passed, and one for each reason of a skip.

    :param units: as :func:`verdicts` returns them.
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
        return  # a stripped Go program: it records nothing but its settings
    elif not item.package:
        # A single file: nobody gave the packages with its debug data.
        yield skip(RULE, item, "no-debuginfo")
    elif facts.type == "ET_REL" and not facts.traits.build_id:
        # rpm strips objects and static libraries, and keeps no debug data of them.
        yield skip(RULE, item, "stripped-object")
    else:
        if not facts.traits.build_id:
            why = "no build-id, so no debuginfo can belong to it"
        elif not file.has_debug:
            why = f"no debuginfo package has a file with its build-id {facts.traits.build_id}"
        else:
            why = "its debuginfo has no compile unit"
        yield Check(rule="debuginfo", file=item.name, outcome="failed", detail=why)


def judge_header(promise: Promise, name: str, header: RpmHeader) -> Iterator[Check]:
    """Yield the checks of a package header: architecture, platform, and the flags that rpmbuild got.

    :param name: file name of the package.
    """
    target = promise.target
    if header.arch == "src":
        yield Check(rule="header-arch", file=name, outcome="skipped", reason="source-package")
        return
    fits = header.arch in (target.rpm_arch, "noarch")
    yield answer("header-arch", name, fits, f"{header.arch}; {target.name} takes {target.rpm_arch} and noarch")
    if header.arch == "noarch":
        yield Check(rule="header-optflags", file=name, outcome="skipped", reason="noarch")
        return
    # A GNU triplet, as the distribution or as the sandbox spells it:
    # ppc64le-redhat-linux-gnu, powerpc64le-linux-gnu.
    processors = {target.rpm_arch, target.machine_arch, target.architecture.triplet.split("-")[0]}
    platform_fits = header.platform.split("-")[0] in processors
    yield answer("header-platform", name, platform_fits, header.platform or "no PLATFORM in the header")
    missing = missing_flags(header.optflags.split(), (*promise.site.build.optflags, *promise.flags))
    detail = f"OPTFLAGS lacks {' '.join(missing)}: {header.optflags or '(empty)'}" if missing else header.optflags
    yield answer("header-optflags", name, not missing, detail)


def _units(promise: Promise, file: Observed, units: Sequence[UnitVerdict]) -> Iterator[Check]:
    name = file.item.name
    passed = sum(unit.outcome == "passed" for unit in units)
    broken = [unit.detail for unit in units if unit.outcome == "failed"]
    excused = Counter(unit.reason for unit in units if unit.outcome == "skipped")
    for detail in broken[:LISTED]:
        yield Check(rule=RULE, file=name, outcome="failed", detail=detail)
    if len(broken) > LISTED:
        yield Check(rule=RULE, file=name, outcome="failed", detail=f"and {len(broken) - LISTED:,} more compile units")
    if passed:
        yield Check(
            rule=RULE, file=name, outcome="passed", detail=f"{passed} compile units carry {' '.join(promise.flags)}"
        )
    elif not broken and set(excused) <= {"lto-partition"}:
        yield Check(rule=RULE, file=name, outcome="failed", detail="no compile unit could be judged")
    for reason, count in sorted(excused.items()):
        yield skip(RULE, file.item, reason, f"{count} compile units")


def _go(promise: Promise, file: Observed) -> Check:
    """Check the level that a Go program was built for: Go takes it from the environment, not from flags."""
    lacking = missing_settings(file.facts.traits.go_settings, promise.target)
    wanted = " ".join(f"{name}={value}" for name, value in promise.target.flags.go.items())
    detail = (
        f"built without {' '.join(lacking)}: set it in %build"
        if lacking
        else wanted or "the target requires no setting"
    )
    return Check(rule="go-settings", file=file.item.name, outcome="failed" if lacking else "passed", detail=detail)
