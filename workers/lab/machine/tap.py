"""A strict parser of a guest's report: TAP 14 with one subtest for each test script, and an end marker.

A report passes only with the plan, every test point of the plan, and the end marker. Each missing part is a failed
case. So the report of a guest that hangs or crashes cannot look complete.

The guest (init.sh) adds times of its clock: ``# at SECONDS`` after each point of a script, and
``# from SECONDS to SECONDS`` after the point of the script itself. The duration of a case is the time since the
previous point, unless its YAML block has a ``duration_ms``.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.results import Case

END = "# END"
_INDENT = "    "
_POINT = re.compile(r"(?P<no>not )?ok\b(?: +(?P<number>\d+))?(?: +(?:- )?(?P<name>.*))?$")
_PLAN = re.compile(r"1\.\.(?P<count>\d+)(?: +#\s*skip\S*\s*(?P<reason>.*))?\s*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"(?:^| )# *(?P<kind>skip|todo)\S*(?: +(?P<reason>.*))?$", re.IGNORECASE)
_SUBTEST = re.compile(r"# Subtest: (?P<name>.+)$")
_STATUS = re.compile(r"exit status (\d{1,9})$", re.MULTILINE)
SECONDS = r"\d{1,9}(?:\.\d{1,9})?"
"""A pattern for a time of the guest's clock. The guest may print any number, also one that no float can have."""
_SPAN = re.compile(rf"# from ({SECONDS}) to ({SECONDS})$")
_AT = re.compile(rf"# at ({SECONDS})$")
_DURATION = re.compile(rf"\s+duration_ms:\s*({SECONDS})\s*$")
_DETAIL_LINES = 20
_DEEPEST = 20  # subtests inside each other; a guest inside a guest needs three levels


@dataclass
class _Clock:
    """The times of a test point, in seconds of the guest's uptime; negative if unknown."""

    at: float = -1.0
    begun: float = -1.0
    ended: float = -1.0
    duration: float = -1.0
    """From the YAML block of the test."""


@dataclass
class _Level:
    """The parser's state for one level of TAP."""

    cases: list[Case] = field(default_factory=list)
    details: list[list[str]] = field(default_factory=list)
    clocks: list[_Clock] = field(default_factory=list)
    in_yaml: bool = False
    plan: int | None = None
    all_skipped: str | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def is_tap(self) -> bool:
        return self.plan is not None or bool(self.cases)

    def read(self, line: str) -> bool:
        """Parse one line. Return whether it is a test point."""
        if self._add_to_last_point(line):
            return False
        if plan := _PLAN.match(line):
            if self.plan is not None:
                self.errors.append("a second plan")
            self.plan = _number(plan["count"])
            self.all_skipped = plan["reason"] or "no reason given" if self.plan == 0 else None
        elif line.lower().startswith("bail out!"):
            self.errors.append(line.strip())
        elif point := _POINT.match(line):
            self._point(point["no"] is None, point["number"], point["name"] or "")
            return True
        elif self.details and line.startswith("#"):
            self.details[-1].append(line.removeprefix("#").strip())
        return False

    def _add_to_last_point(self, line: str) -> bool:
        """Parse a line that is a time or part of a YAML block, which ends with ``...``. Return whether it is one."""
        if not self.cases:
            return False
        clock = self.clocks[-1]
        if self.in_yaml:
            if line.strip() == "...":
                self.in_yaml = False
            elif duration := _DURATION.match(line):
                clock.duration = float(duration[1]) / 1000
            else:
                self.details[-1].append(line.strip())
        elif span := _SPAN.match(line):
            clock.begun, clock.ended = float(span[1]), float(span[2])
        elif at := _AT.match(line):
            clock.at = float(at[1])
        else:
            self.in_yaml = line.startswith(" ") and line.strip() == "---"
            return self.in_yaml
        return True

    def _point(self, passed: bool, number: str | None, name: str) -> None:
        expected = len(self.cases) + 1
        if number is not None and _number(number) != expected:
            self.errors.append(f"test number {number[:20]}, expected {expected}")
        outcome, reason, code = "passed" if passed else "failed", "", ""
        if directive := _DIRECTIVE.search(name):
            name = name[: directive.start()]
            reason = directive["reason"] or "no reason given"
            if directive["kind"].lower() == "skip":
                outcome, code = "skipped", "tap"
            elif not passed:  # a known bug: shown, but neither passed nor failed
                outcome, code = "skipped", "todo"
        case = {"name": name or f"test {expected}", "outcome": outcome, "reason": reason, "code": code}
        self.cases.append(Case.model_validate(case))
        self.details.append([])
        self.clocks.append(_Clock())

    def all_cases(self) -> tuple[Case, ...]:
        """Return the cases with their details, and a failed case for each error and for missing test points."""
        cases = [
            case.model_copy(update={"detail": "\n".join(detail[-_DETAIL_LINES:])}) if case.outcome != "passed" else case
            for case, detail in zip(self.cases, self.details, strict=True)
        ]
        errors = list(self.errors)
        if self.plan is None:
            errors.append("no plan")
        elif self.all_skipped is not None and not self.cases:
            cases.append(Case(name="all", outcome="skipped", code="tap", reason=self.all_skipped))
        elif len(self.cases) != self.plan:
            errors.append(f"{len(self.cases)} results, but the plan has {self.plan}")
        return (*cases, *(Case(name="protocol", outcome="failed", reason=error) for error in errors))


def _number(digits: str) -> int:
    """Return a number from its digits. Only the first 4,000 count: Python refuses longer numbers."""
    return int(digits[:4000])


def has_end_marker(data: bytes | bytearray) -> bool:
    """Return whether the last line is the end marker."""
    return data.endswith(b"\n" + END.encode() + b"\n")


def parse(text: str) -> tuple[Case, ...]:
    """Return the cases of a whole report. The cases of a subtest are named ``script: case``."""
    top = _Level()
    scripts: list[list[str]] = []  # the output of each script, in the order of their points
    nested: list[str] = []
    script = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith(_INDENT):
            nested.append(line[len(_INDENT) :])
        elif subtest := _SUBTEST.match(line):
            script = subtest["name"]
        elif line == END:
            continue
        elif top.read(line):
            scripts.append(nested)
            nested, script = [], ""
    cases: list[Case] = []
    points = top.all_cases()
    for point, clock, output in zip(points, top.clocks, scripts, strict=False):
        inner = _subtest(point.name, output, clock.begun)
        cases += inner
        rest = max(0.0, clock.ended - clock.begun - sum(case.seconds for case in inner))
        timed = point.model_copy(update={"seconds": round(rest, 3)})
        if point.outcome != "passed":
            cases.append(_with_reason(timed, output))
        elif not inner:
            cases.append(timed)
    if script or nested:
        cases += _subtest(script or "unnamed", nested)
        cases.append(Case(name=script or "unnamed", outcome="failed", reason="it did not finish", detail=_tail(nested)))
    cases += points[len(top.cases) :]
    if not has_end_marker(text.encode(errors="replace")):
        cases.append(Case(name="protocol", outcome="failed", reason="the report has no end"))
    return tuple(cases)


def _subtest(name: str, lines: Sequence[str], begun: float = -1.0, depth: int = 1) -> tuple[Case, ...]:
    """Return the cases of a script that prints TAP, and of its subtests; empty if the script prints no TAP.

    :param begun: when the script started, on the guest's clock; negative if unknown.
    :param depth: 1 for a script, 2 for a subtest of it …
    """
    if depth > _DEEPEST:
        return (Case(name=name, outcome="failed", reason=f"subtests are nested more than {_DEEPEST} deep"),)
    level = _Level()
    cases: list[Case] = []
    nested: list[str] = []
    subtest = ""
    for line in lines:
        if subtest and line.startswith(_INDENT):
            nested.append(line[len(_INDENT) :])
        elif start := _SUBTEST.match(line):
            subtest = start["name"]
        elif level.read(line) and subtest:
            cases += _subtest(level.cases[-1].name, nested, depth=depth + 1)
            nested, subtest = [], ""
    if subtest:
        cases += _subtest(subtest, nested, depth=depth + 1)
        level.errors.append(f"{subtest} did not finish")
    if not level.is_tap and not level.errors:
        return ()
    seconds = []
    for clock in level.clocks:
        since = clock.at - begun if clock.at >= 0 <= begun else 0.0
        seconds.append(round(max(0.0, since if clock.duration < 0 else clock.duration), 3))
        begun = max(begun, clock.at)
    points = level.all_cases()
    seconds += [0.0] * (len(points) - len(seconds))
    for point, duration in zip(points, seconds, strict=True):
        if point.outcome != "passed" or not any(case.name.startswith(f"{point.name}: ") for case in cases):
            cases.append(point.model_copy(update={"seconds": duration}))
    return tuple(case.model_copy(update={"name": f"{name}: {case.name}"}) for case in cases)


def _with_reason(point: Case, output: Sequence[str]) -> Case:
    """Return the case of a script that did not pass, with the reason from its exit status and its last output."""
    reason = point.reason
    if point.outcome == "failed" and (status := _STATUS.search(point.detail)):
        reason = describe_status(int(status.group(1)))
    return point.model_copy(update={"reason": reason, "detail": _tail(output) or point.detail})


def describe_status(status: int) -> str:
    """Describe a shell's exit status in words: ``exit status 1``, ``killed by SIGILL``."""
    if status > 128 and status - 128 in {int(number) for number in signal.Signals}:
        name = signal.Signals(status - 128).name
        meaning = ": an instruction that this CPU does not have" if name == "SIGILL" else ""
        return f"killed by {name}{meaning}"
    return f"exit status {status}"


def _tail(lines: Sequence[str]) -> str:
    """Return the last lines, without the times of the guest's clock."""
    return "\n".join([line for line in lines if not _AT.match(line)][-_DETAIL_LINES:]).strip()
