"""Opt-outs from frame pointers in a package's spec, and the architectures they apply to.

redhat-rpm-config adds the flags if the macro ``_include_frame_pointers`` is defined
(``%{?_include_frame_pointers:…}``), so the documented opt-out is ``%undefine _include_frame_pointers``. A definition as
0 or as nothing does not turn the flags off. rpm also expands macros in comments, so an ``%undefine`` in a comment is an
opt-out. A spec is read line by line and never expanded: a condition that only rpm can decide is shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from config import architectures
from workers.base.errors import MalformedError
from workers.formats.rpm_payload import Entry

_MAX_SPEC = 1 << 24  # bytes; the kernel's spec has some hundred thousand
_MAX_DEPTH = 100  # nested conditions
_MAX_STEPS = 100  # lines that define or undefine the macro

_SETS = {name: members for one in architectures.by_name().values() for name, members in one.rpm_sets.items()}

_CONDITIONAL = re.compile(r"\s*%(ifarch|ifnarch|ifos|ifnos|if|elifarch|elifos|elif|else|endif)\b(.*)")
# A % that no other % escapes, with braces or without.
_MACRO = r"(?<!%)(?:%%)*%\{?"
_UNDEFINED = re.compile(_MACRO + r"undefine\s+_include_frame_pointers\b")
_DEFINED = re.compile(_MACRO + r"(?:global|define)\s+_include_frame_pointers\b[ \t]*(?P<value>\S*)")
_OMITS = re.compile(r"-fomit-frame-pointer\b|-momit-leaf-frame-pointer\b|-mno-backchain\b")
_FLAG = r"-(?:fno-omit-frame-pointer|mno-omit-leaf-frame-pointer|mbackchain)\b"
_REMOVES = re.compile(rf"\b(?:sed|gsub|filter-out)\b.*{_FLAG}|\$\{{\w+/+{_FLAG}")
_CHANGELOG = re.compile(r"\s*%changelog\b")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition around a statement."""

    text: str
    """The text in the spec, without its ``%``: ``ifarch s390x``."""
    architectures: frozenset[str] | None = None
    """The architectures of an ``ifarch``, if its list is known; ``None`` for any other condition."""
    constant: bool | None = None
    """The value of ``if 0`` and ``if 1``."""
    negated: bool = False

    def is_true(self, architecture: str) -> bool | None:
        """Return whether it is true in a build for an RPM architecture; ``None`` if only rpm can decide."""
        value = self.constant if self.architectures is None else architecture in self.architectures
        return value if value is None or not self.negated else not value

    def __str__(self) -> str:
        return f"not ({self.text})" if self.negated else self.text


@dataclass(frozen=True, slots=True)
class OptOut:
    """One statement of a spec that turns frame pointers off, or tries to."""

    line: int
    """The number of the line; the first line is 1."""
    statement: str
    kind: Literal["undefined", "defined", "flags"]
    """``undefined``: the opt-out. ``defined`` as 0 or nothing: probably meant as an opt-out, but without effect.
    ``flags``: the statement changes compiler flags; the result is judged in the code and in the compile units."""
    conditions: tuple[Condition, ...] = ()
    """All of them must be true."""
    steps: tuple[tuple[int, tuple[Condition, ...]], ...] = field(default=(), repr=False)
    """Every line of the spec that defines (1) or undefines (-1) the macro, and its conditions, in order."""

    def applies_to(self, architecture: str) -> bool | None:
        """Return whether it takes effect in a build for an RPM architecture; ``None`` if only rpm can decide.

        rpm keeps a stack of definitions, and ``%undefine`` removes the top one. The distribution's is at the bottom.
        """
        if self.kind != "undefined" or _all(self.conditions, architecture) is False:
            return False
        depths = {1}
        for step, conditions in self.steps:
            is_true = _all(conditions, architecture)
            if is_true is not False:
                after = {max(0, depth + step) for depth in depths}
                depths = after if is_true else depths | after
        if 0 not in depths:
            return False
        return True if depths == {0} else None

    def __str__(self) -> str:
        where = " and ".join(map(str, self.conditions))
        return f"line {self.line}: {self.statement}" + (f" ({where})" if where else "")


def opt_outs(spec_text: str) -> tuple[OptOut, ...]:
    """Return the statements of a spec that turn frame pointers off, in order, without those inside ``%if 0``.

    :raises MalformedError: if an ``%if`` and its ``%else`` or ``%endif`` do not match.
    """
    found: list[OptOut] = []
    steps: list[tuple[int, tuple[Condition, ...]]] = []
    for number, line, conditions in _lines(spec_text):
        if any(condition.is_true("") is False for condition in conditions if condition.architectures is None):
            continue
        kind: Literal["undefined", "defined", "flags"] | None = None
        if macro := _UNDEFINED.search(line):
            kind = "undefined"
        elif macro := _DEFINED.search(line):
            if macro["value"].rstrip("}") in ("", "0", "%{nil", "%nil"):
                kind = "defined"
        elif not line.lstrip().startswith("#") and (_OMITS.search(line) or _REMOVES.search(line)):
            kind = "flags"
        if macro and line[: macro.start()].strip("# \t"):  # %{?with_x:%undefine …}: the text before it is a condition
            conditions = (*conditions, Condition(line[: macro.start()].strip()))
        if macro:
            steps.append((-1 if kind == "undefined" else 1, conditions))
            if len(steps) > _MAX_STEPS:
                raise MalformedError(
                    f"line {number} of the spec: more than {_MAX_STEPS} lines define or undefine one macro"
                )
        if kind:
            found.append(OptOut(number, line.strip(), kind, conditions))
    return tuple(OptOut(o.line, o.statement, o.kind, o.conditions, tuple(steps)) for o in found)


def spec_of(entries: Iterable[Entry]) -> str:
    """Return the text of the spec among the unpacked files of a source package.

    :raises MalformedError: if it has no spec, several specs, or a spec that is too large.
    """
    specs = [entry for entry in entries if entry.kind == "file" and entry.path.endswith(".spec")]
    if len(specs) != 1:
        raise MalformedError(f"a source package has one spec; this one has {len(specs)}")
    if specs[0].content is None or specs[0].size > _MAX_SPEC:
        raise MalformedError(f"{specs[0].path}: a spec of {specs[0].size} bytes; the limit is {_MAX_SPEC}")
    return specs[0].content.read_bytes().decode("utf-8", "replace")


def _lines(text: str) -> Iterator[tuple[int, str, tuple[Condition, ...]]]:
    """Yield number, text and conditions of each line up to the changelog, without the lines of the conditions."""
    stack: list[list[Condition]] = []  # for each open %if: the earlier branches, negated, and the current branch
    for number, line in enumerate(text.split("\n"), 1):
        if _CHANGELOG.match(line):
            return
        words = _CONDITIONAL.match(line)
        if words is None:
            if not line.lstrip().startswith("%dnl"):
                yield number, line, tuple(condition for branch in stack for condition in branch)
            continue
        keyword, rest = words[1], words[2].strip()
        if keyword.startswith("if"):
            if len(stack) == _MAX_DEPTH:
                raise MalformedError(f"line {number} of the spec: more than {_MAX_DEPTH} nested conditions")
            stack.append([_condition(keyword, rest)])
        elif not stack:
            raise MalformedError(f"line {number} of the spec: %{keyword} without %if")
        elif keyword == "endif":
            stack.pop()
        else:
            before = stack[-1]
            before[-1] = _not(before[-1])
            if keyword != "else":
                before.append(_condition(keyword.removeprefix("el"), rest))
            else:
                before.append(Condition("else", constant=True))


def _condition(keyword: str, rest: str) -> Condition:
    rest = rest.split("#", 1)[0].strip() if keyword != "if" else rest
    text = f"{keyword} {rest}"
    if keyword in ("ifarch", "ifnarch"):
        names = rest.split()
        if any("%" in name and name not in _SETS for name in names):
            return Condition(text)
        known = frozenset(member for name in names for member in _SETS.get(name, (name,)))
        condition = Condition(f"ifarch {rest}", known)
        return _not(condition) if keyword == "ifnarch" else condition
    if keyword == "if" and rest.isdecimal():
        return Condition(text, constant=int(rest) != 0)
    return Condition(text)


def _not(condition: Condition) -> Condition:
    return Condition(condition.text, condition.architectures, condition.constant, not condition.negated)


def _all(conditions: tuple[Condition, ...], architecture: str) -> bool | None:
    values = [condition.is_true(architecture) for condition in conditions]
    if False in values:
        return False
    return None if None in values else True
