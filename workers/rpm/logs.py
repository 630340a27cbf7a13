"""Find the line of a build log that a person should read first. Pure."""

from __future__ import annotations

import re

_PHASE = re.compile(r"^Executing\((%\w+)\):", re.MULTILINE)
_BAD_EXIT = re.compile(r"^error: Bad exit status from \S+ \((%\w+)\)", re.MULTILINE)

# Lines that name a cause, the most useful first. Compilers: "FILE:LINE: error:" (GNU coding standards); test suites:
# the words of automake, TAP and CTest.
_CAUSES = (
    re.compile(r"^\S+:\d+(:\d+)?: (fatal )?error: .*"),
    re.compile(r".*: undefined reference to .*"),
    re.compile(r".*\bcannot find -l\S+.*"),
    re.compile(r"^(not ok|FAIL(ED)?:?|ERROR:)\s.*"),
    re.compile(r".*\b(FAILED|FAILURE)\b.*"),
    re.compile(r"^(configure|CMake|meson\S*|cc1\S*|ld|\S*gcc|\S*g\+\+|collect2): [Ee]rror:? .*"),
    re.compile(
        r".*(command not found|: not found|No such file or directory|Permission denied|Illegal instruction"
        r"|Segmentation fault|No space left on device|Exec format error)$"
    ),
    re.compile(r"^patch: \*\*\*\* .*|^Hunk #\d+ FAILED.*"),
    re.compile(r"^ERROR +\d+: .*"),  # check-rpaths
    re.compile(r"^g?make(\[\d+\])?: \*\*\* .*"),
)
_LIST_HEADING = re.compile(r"^error: (Failed build dependencies|Installed \(but unpackaged\) file\(s\) found):$")


def cause(log: str, *, nothing_found: str = "rpmbuild failed") -> str:
    """Return the cause in the log of a failed build, with its phase: ``%check failed: …``."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if _LIST_HEADING.match(line):
            items = []
            for item in lines[number + 1 :]:
                if not item.startswith((" ", "\t")):
                    break
                items.append(item.strip())
            return f"{line.removeprefix('error: ')} {', '.join(items)}"
    if bad := _BAD_EXIT.search(log):
        phase = bad[1]
        begins = [match.start() for match in _PHASE.finditer(log) if match[1] == phase]
        part = log[begins[-1] if begins else 0 : bad.start()].splitlines()[1:]
        return f"{phase} failed: {_likely_cause(part) or 'see the log'}"
    if error := next((line for line in lines if line.startswith("error: ")), None):
        return error.removeprefix("error: ").strip()
    return _likely_cause(lines) or nothing_found


def timeout_cause(log: str, minutes: float) -> str:
    """Return the cause for a build that was stopped at its time limit."""
    phases = _PHASE.findall(log)
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    return f"{phases[-1] if phases else 'the build'} did not end within {minutes:g} min; its last line: {last[:200]}"


def _likely_cause(lines: list[str]) -> str:
    """Return the most useful line of the last command with output.

    rpm's shells trace commands (``+ make check``) and stop at the first failure. So all earlier commands passed, even
    if a test suite printed errors.
    """
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        if line.startswith("+ "):
            sections.append((line[2:].strip(), []))
        elif line.strip():
            sections[-1][1].append(line.strip())
    command, output = next((section for section in reversed(sections) if section[1]), sections[-1])
    for pattern in _CAUSES:
        for line in output:
            if pattern.match(line):
                return line[:300]
    return f"{command[:100]}: {output[-1][:300]}".removeprefix(": ") if output else command[:100]
