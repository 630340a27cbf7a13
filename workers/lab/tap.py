"""What a guest reports, read strictly: TAP 14 with one subtest per test script, and a marker at the very end.

A pass needs the plan, every line the plan promises, and the end marker. What is missing is a failing case of its own, so
that a guest that fell silent can never look like one that had nothing to say.
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
_DETAIL_LINES = 20


@dataclass
class _Level:
    """One level of TAP while it is being read."""

    cases: list[Case] = field(default_factory=list)
    details: list[list[str]] = field(default_factory=list)
    plan: int | None = None
    all_skipped: str | None = None
    wrong: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def spoke_tap(self) -> bool:
        return self.plan is not None or bool(self.cases)

    def read(self, line: str) -> bool:
        """Take one line. Whether it was a test point."""
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

    def _point(self, passed: bool, number: str | None, name: str) -> None:
        expected = len(self.cases) + 1
        if number is not None and int(number) != expected:
            self.wrong.append(f"test {number} where {expected} was due")
        outcome, reason = "pass" if passed else "fail", ""
        if directive := _DIRECTIVE.search(name):
            name = name[: directive.start()]
            reason = directive["reason"] or "no reason given"
            if directive["kind"].lower() == "skip":
                outcome = "skip"
            elif not passed:  # a known fault: shown, and neither a pass nor a failure
                outcome, reason = "skip", f"todo: {reason}"
        self.cases.append(
            Case.model_validate({"name": name or f"test {expected}", "outcome": outcome, "reason": reason})
        )
        self.details.append([])

    def finished(self) -> tuple[Case, ...]:
        """The cases with their details, and a failing case for everything the plan promised and nobody told."""
        cases = [
            case.model_copy(update={"detail": "\n".join(detail[-_DETAIL_LINES:])}) if case.outcome != "pass" else case
            for case, detail in zip(self.cases, self.details, strict=True)
        ]
        wrong = list(self.wrong)
        if self.plan is None:
            wrong.append("no plan")
        elif self.all_skipped is not None and not self.cases:
            cases.append(Case(name="all", outcome="skip", reason=self.all_skipped))
        elif len(self.cases) != self.plan:
            wrong.append(f"{len(self.cases)} results where the plan says {self.plan}")
        return (*cases, *(Case(name="protocol", outcome="fail", reason=what) for what in wrong))


def ended(data: bytes | bytearray) -> bool:
    """Whether the last line is the end marker."""
    return data.endswith(b"\n" + END.encode() + b"\n")


def parse(text: str) -> tuple[Case, ...]:
    """The cases of a whole report. A subtest's cases are named ``script: case``."""
    top = _Level()
    cases: list[Case] = []
    nested: list[str] = []
    script = ""
    lines = text.replace("\r\n", "\n").split("\n")
    for line in lines:
        if line.startswith(_INDENT):
            nested.append(line[len(_INDENT) :])
        elif found := _SUBTEST.match(line):
            script = found["name"]
        elif line == END:
            continue
        elif top.read(line):
            cases += _subtest(top.cases[-1].name, nested)
            nested, script = [], ""
    if script or nested:
        cases += _subtest(script or "unnamed", nested)
        cases.append(Case(name=script or "unnamed", outcome="fail", reason="it did not finish", detail=_tail(nested)))
    points = top.finished()
    for index, point in enumerate(points):
        if point.outcome != "pass" and index < len(top.cases):
            cases.append(_explained(point, _output_of(point.name, text)))
        elif index >= len(top.cases) or not any(case.name.startswith(f"{point.name}: ") for case in cases):
            cases.append(point)
    if not ended(text.encode(errors="replace")):
        cases.append(Case(name="protocol", outcome="fail", reason="the report has no end"))
    return tuple(cases)


def _subtest(name: str, lines: Sequence[str]) -> tuple[Case, ...]:
    """The cases of a script that speaks TAP, and of the subtests it announces; none for one that only exits."""
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
    for point in level.finished():
        if point.outcome != "pass" or not any(case.name.startswith(f"{point.name}: ") for case in cases):
            cases.append(point)
    return tuple(case.model_copy(update={"name": f"{name}: {case.name}"}) for case in cases)


def _explained(point: Case, output: Sequence[str]) -> Case:
    """A script that failed, with the reason from its exit status and its last words."""
    reason = point.reason
    if point.outcome == "fail" and (found := _STATUS.search(point.detail)):
        reason = describe_status(int(found.group(1)))
    return point.model_copy(update={"reason": reason, "detail": _tail(output) or point.detail})


def describe_status(status: int) -> str:
    """A shell's exit status in words: ``exit status 1``, ``killed by SIGILL``."""
    if status > 128 and status - 128 in {int(number) for number in signal.Signals}:
        name = signal.Signals(status - 128).name
        meaning = ": an instruction that this CPU does not have" if name == "SIGILL" else ""
        return f"killed by {name}{meaning}"
    return f"exit status {status}"


def _output_of(script: str, text: str) -> list[str]:
    lines: list[str] = []
    inside = False
    for line in text.split("\n"):
        if found := _SUBTEST.match(line):
            inside = found["name"] == script
        elif inside and line.startswith(_INDENT):
            lines.append(line[len(_INDENT) :])
    return lines


def _tail(lines: Sequence[str]) -> str:
    return "\n".join(lines[-_DETAIL_LINES:]).strip()
