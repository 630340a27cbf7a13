"""What a guest reports, read strictly: TAP 14 with one subtest per test script, and a marker at the very end.

A pass needs the plan, every line the plan promises, and the end marker. What is missing is a failing case of its own, so
that a guest that fell silent can never look like one that had nothing to say.

The guest (init.sh) adds when things were said: ``# at SECONDS`` after a script's own points, ``# from SECONDS to SECONDS`` after
the point of the script. A case took as long as it was since what was said before it, unless its YAML block has a ``duration_ms``.
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
_STATUS = re.compile(r"exit status (\d+)$", re.MULTILINE)
_SPAN = re.compile(r"# from (\d{1,9}(?:\.\d{1,9})?) to (\d{1,9}(?:\.\d{1,9})?)$")
_AT = re.compile(r"# at (\d{1,9}(?:\.\d{1,9})?)$")
_DURATION = re.compile(r"\s+duration_ms:\s*(\d{1,9}(?:\.\d{1,9})?)\s*$")
_DETAIL_LINES = 20


@dataclass
class _Clock:
    """When a point was said, in seconds of the guest's uptime; what is not known is negative."""

    at: float = -1.0
    begun: float = -1.0
    ended: float = -1.0
    took: float = -1.0
    """As the test itself says."""


@dataclass
class _Level:
    """One level of TAP while it is being read."""

    cases: list[Case] = field(default_factory=list)
    details: list[list[str]] = field(default_factory=list)
    clocks: list[_Clock] = field(default_factory=list)
    in_yaml: bool = False
    plan: int | None = None
    all_skipped: str | None = None
    wrong: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def spoke_tap(self) -> bool:
        return self.plan is not None or bool(self.cases)

    def read(self, line: str) -> bool:
        """Take one line. Whether it was a test point."""
        if self._said_of_the_last_point(line):
            return False
        if plan := _PLAN.match(line):
            if self.plan is not None:
                self.wrong.append("a second plan")
            self.plan = int(plan["count"])
            self.all_skipped = plan["reason"] or "no reason given" if self.plan == 0 else None
        elif line.lower().startswith("bail out!"):
            self.wrong.append(line.strip())
        elif point := _POINT.match(line):
            self._point(point["no"] is None, point["number"], point["name"] or "")
            return True
        elif self.details and line.startswith("#"):
            self.details[-1].append(line.removeprefix("#").strip())
        else:
            self.other.append(line)
        return False

    def _said_of_the_last_point(self, line: str) -> bool:
        """Take a line that is a time, or belongs to a YAML block, which ends with ``...``."""
        if not self.cases:
            return False
        clock = self.clocks[-1]
        if self.in_yaml:
            if line.strip() == "...":
                self.in_yaml = False
            elif duration := _DURATION.match(line):
                clock.took = float(duration[1]) / 1000
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
        if number is not None and int(number) != expected:
            self.wrong.append(f"test {number} where {expected} was due")
        outcome, reason, code = "passed" if passed else "failed", "", ""
        if directive := _DIRECTIVE.search(name):
            name = name[: directive.start()]
            reason = directive["reason"] or "no reason given"
            if directive["kind"].lower() == "skip":
                outcome, code = "skipped", "tap"
            elif not passed:  # a known fault: shown, and neither a pass nor a failure
                outcome, code = "skipped", "todo"
        known = {"name": name or f"test {expected}", "outcome": outcome, "reason": reason, "code": code}
        self.cases.append(Case.model_validate(known))
        self.details.append([])
        self.clocks.append(_Clock())

    def finished(self) -> tuple[Case, ...]:
        """The cases with their details, and a failing case for everything the plan promised and nobody told."""
        cases = [
            case.model_copy(update={"detail": "\n".join(detail[-_DETAIL_LINES:])}) if case.outcome != "passed" else case
            for case, detail in zip(self.cases, self.details, strict=True)
        ]
        wrong = list(self.wrong)
        if self.plan is None:
            wrong.append("no plan")
        elif self.all_skipped is not None and not self.cases:
            cases.append(Case(name="all", outcome="skipped", code="tap", reason=self.all_skipped))
        elif len(self.cases) != self.plan:
            wrong.append(f"{len(self.cases)} results where the plan says {self.plan}")
        return (*cases, *(Case(name="protocol", outcome="failed", reason=what) for what in wrong))


def has_end_marker(data: bytes | bytearray) -> bool:
    """Whether the last line is the end marker."""
    return data.endswith(b"\n" + END.encode() + b"\n")


def parse(text: str) -> tuple[Case, ...]:
    """The cases of a whole report. A subtest's cases are named ``script: case``."""
    top = _Level()
    scripts: list[list[str]] = []  # what each said, by the number of its point
    nested: list[str] = []
    script = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith(_INDENT):
            nested.append(line[len(_INDENT) :])
        elif found := _SUBTEST.match(line):
            script = found["name"]
        elif line == END:
            continue
        elif top.read(line):
            scripts.append(nested)
            nested, script = [], ""
    cases: list[Case] = []
    points = top.finished()
    for point, clock, said in zip(points, top.clocks, scripts, strict=False):
        inner = _subtest(point.name, said, clock.begun)
        cases += inner
        rest = max(0.0, clock.ended - clock.begun - sum(case.seconds for case in inner))
        timed = point.model_copy(update={"seconds": round(rest, 3)})
        if point.outcome != "passed":
            cases.append(_explained(timed, said))
        elif not inner:
            cases.append(timed)
    if script or nested:
        cases += _subtest(script or "unnamed", nested)
        cases.append(Case(name=script or "unnamed", outcome="failed", reason="it did not finish", detail=_tail(nested)))
    cases += points[len(top.cases) :]
    if not has_end_marker(text.encode(errors="replace")):
        cases.append(Case(name="protocol", outcome="failed", reason="the report has no end"))
    return tuple(cases)


def _subtest(name: str, lines: Sequence[str], begun: float = -1.0) -> tuple[Case, ...]:
    """The cases of a script that speaks TAP, and of the subtests it announces; none for one that only exits.

    :param begun: when the script was started, on the guest's clock; negative: unknown.
    """
    level = _Level()
    cases: list[Case] = []
    nested: list[str] = []
    announced = ""
    for line in lines:
        if announced and line.startswith(_INDENT):
            nested.append(line[len(_INDENT) :])
        elif found := _SUBTEST.match(line):
            announced = found["name"]
        elif level.read(line) and announced:
            cases += _subtest(level.cases[-1].name, nested)
            nested, announced = [], ""
    if announced:
        cases += _subtest(announced, nested)
        level.wrong.append(f"{announced} did not finish")
    if not level.spoke_tap and not level.wrong:
        return ()
    seconds = []
    for clock in level.clocks:
        since = clock.at - begun if clock.at >= 0 <= begun else 0.0
        seconds.append(round(max(0.0, since if clock.took < 0 else clock.took), 3))
        begun = max(begun, clock.at)
    points = level.finished()
    seconds += [0.0] * (len(points) - len(seconds))
    for point, took in zip(points, seconds, strict=True):
        if point.outcome != "passed" or not any(case.name.startswith(f"{point.name}: ") for case in cases):
            cases.append(point.model_copy(update={"seconds": took}))
    return tuple(case.model_copy(update={"name": f"{name}: {case.name}"}) for case in cases)


def _explained(point: Case, output: Sequence[str]) -> Case:
    """A script that failed, with the reason from its exit status and its last words."""
    reason = point.reason
    if point.outcome == "failed" and (found := _STATUS.search(point.detail)):
        reason = describe_status(int(found.group(1)))
    return point.model_copy(update={"reason": reason, "detail": _tail(output) or point.detail})


def describe_status(status: int) -> str:
    """A shell's exit status in words: ``exit status 1``, ``killed by SIGILL``."""
    if status > 128 and status - 128 in {int(number) for number in signal.Signals}:
        name = signal.Signals(status - 128).name
        meaning = ": an instruction that this CPU does not have" if name == "SIGILL" else ""
        return f"killed by {name}{meaning}"
    return f"exit status {status}"


def _tail(lines: Sequence[str]) -> str:
    """The last lines, without the guest's clock."""
    return "\n".join([line for line in lines if not _AT.match(line)][-_DETAIL_LINES:]).strip()
