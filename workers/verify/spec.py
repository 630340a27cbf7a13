"""What a package's spec says of frame pointers: opt-outs from the distribution's flags, and where they apply.

redhat-rpm-config adds the flags where the macro ``_include_frame_pointers`` is defined (``%{?_include_frame_pointers:…}``),
so ``%undefine _include_frame_pointers`` is the way out that packagers are told of. Defining it as 0 or as nothing leaves
it defined; a macro in a comment, on the other hand, is expanded like any other, and undefines. A spec is read line by line
and never expanded: what only rpm could know is named in words.
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
# A % that is not itself escaped by another, with braces or without.
_MACRO = r"(?<!%)(?:%%)*%\{?"
_UNDEFINED = re.compile(_MACRO + r"undefine\s+_include_frame_pointers\b")
_DEFINED = re.compile(_MACRO + r"(?:global|define)\s+_include_frame_pointers\b[ \t]*(?P<value>\S*)")
_OMITS = re.compile(r"-fomit-frame-pointer\b|-momit-leaf-frame-pointer\b|-mno-backchain\b")
_REMOVES = re.compile(r"\b(?:sed|gsub|filter-out)\b.*-(?:fno-omit-frame-pointer|mno-omit-leaf-frame-pointer|mbackchain)\b"
                      r"|\$\{\w+/+-(?:fno-omit-frame-pointer|mno-omit-leaf-frame-pointer|mbackchain)\b")  # fmt: skip
_CHANGELOG = re.compile(r"\s*%changelog\b")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition around a statement."""

    text: str
    """As the spec words it, without its ``%``: ``ifarch s390x``."""
    architectures: frozenset[str] | None = None
    """Of an ``ifarch`` whose list is known; ``None`` of any other."""
    constant: bool | None = None
    """Of ``if 0`` and ``if 1``."""
    negated: bool = False

    def holds(self, architecture: str) -> bool | None:
        """Whether it holds in a build for an RPM architecture; ``None`` where only rpm could tell."""
        value = self.constant if self.architectures is None else architecture in self.architectures
        return value if value is None or not self.negated else not value

    def __str__(self) -> str:
        return f"not ({self.text})" if self.negated else self.text


@dataclass(frozen=True, slots=True)
class OptOut:
    """One statement of a spec that takes frame pointers back, or tries to."""

    line: int
    """From 1."""
    statement: str
    kind: Literal["undefined", "defined", "flags"]
    """``undefined``: the opt-out. ``defined`` as 0 or nothing: meant as one, without effect. ``flags``: it changes compiler
    flags itself; what comes of that is in the code and in the compile units, not here: worth knowing, no more."""
    conditions: tuple[Condition, ...] = ()
    """All of them must hold."""
    steps: tuple[tuple[int, tuple[Condition, ...]], ...] = field(default=(), repr=False)
    """Every line of the spec that defines (1) or undefines (-1) the macro, and its conditions, in order."""

    def applies_to(self, architecture: str) -> bool | None:
        """Whether it takes effect in a build for an RPM architecture; ``None`` where only rpm could tell.

        Definitions lie on a stack, of which undefining takes the uppermost: the distribution's lies below the spec's own.
        """
        if self.kind != "undefined" or _all(self.conditions, architecture) is False:
            return False
        depths = {1}
        for step, conditions in self.steps:
            holds = _all(conditions, architecture)
            if holds is not False:
                after = {max(0, depth + step) for depth in depths}
                depths = after if holds else depths | after
        if 0 not in depths:
            return False
        return True if depths == {0} else None

    def __str__(self) -> str:
        where = " and ".join(map(str, self.conditions))
        return f"line {self.line}: {self.statement}" + (f" ({where})" if where else "")


def opt_outs(spec_text: str) -> tuple[OptOut, ...]:
    """The statements of a spec that take frame pointers back, in order; what ``%if 0`` switches off is left out.

    :raises MalformedError: when its conditions do not add up.
    """
    found: list[OptOut] = []
    steps: list[tuple[int, tuple[Condition, ...]]] = []
    for number, line, conditions in _lines(spec_text):
        if any(condition.holds("") is False for condition in conditions if condition.architectures is None):
            continue
        kind: Literal["undefined", "defined", "flags"] | None = None
        if macro := _UNDEFINED.search(line):
            kind = "undefined"
        elif macro := _DEFINED.search(line):
            if macro["value"].rstrip("}") in ("", "0", "%{nil", "%nil"):
                kind = "defined"
        elif not line.lstrip().startswith("#") and (_OMITS.search(line) or _REMOVES.search(line)):
            kind = "flags"
        if macro and line[: macro.start()].strip("# \t"):  # %{?with_x:%undefine …}: what stands before decides
            conditions = (*conditions, Condition(line[: macro.start()].strip()))
        if macro:
            steps.append((-1 if kind == "undefined" else 1, conditions))
            if len(steps) > _MAX_STEPS:
                raise MalformedError(f"line {number} of the spec: more than {_MAX_STEPS} lines on one macro")
        if kind:
            found.append(OptOut(number, line.strip(), kind, conditions))
    return tuple(OptOut(o.line, o.statement, o.kind, o.conditions, tuple(steps)) for o in found)


def spec_of(entries: Iterable[Entry]) -> str:
    """The text of the one spec among the unpacked files of a source package.

    :raises MalformedError: when it holds none or several, or one too large to be one.
    """
    specs = [entry for entry in entries if entry.kind == "file" and entry.path.endswith(".spec")]
    if len(specs) != 1:
        raise MalformedError(f"a source package holds one spec; this one holds {len(specs)}")
    if specs[0].content is None or specs[0].size > _MAX_SPEC:
        raise MalformedError(f"{specs[0].path}: a spec of {specs[0].size} bytes")
    return specs[0].content.read_bytes().decode("utf-8", "replace")


def _lines(text: str) -> Iterator[tuple[int, str, tuple[Condition, ...]]]:
    """Number and text of each line up to the change log, and the conditions around it. Conditions themselves are left out."""
    stack: list[list[Condition]] = []  # of each open %if: the branches before, negated, and the present one
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
                raise MalformedError(f"line {number} of the spec: more than {_MAX_DEPTH} conditions within each other")
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
    values = [condition.holds(architecture) for condition in conditions]
    if False in values:
        return False
    return None if None in values else True
