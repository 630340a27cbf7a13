"""Which line of a build log a person should read first. Pure."""

from __future__ import annotations

import re

_PHASE = re.compile(r"^Executing\((%\w+)\):", re.MULTILINE)
_BAD_EXIT = re.compile(r"^error: Bad exit status from \S+ \((%\w+)\)", re.MULTILINE)

# What names a cause, the more telling first. Compilers: GNU coding standards' "FILE:LINE: error:"; test suites: the words
# that automake, TAP and CTest use.
_TELLING = (
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
_LISTS = re.compile(r"^error: (Failed build dependencies|Installed \(but unpackaged\) file\(s\) found):$")


def cause(log: str, *, nothing_found: str = "rpmbuild failed") -> str:
    """The line that matters of a failed build's log, with the phase in which it stands: ``%check failed: …``."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if _LISTS.match(line):
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
        return f"{phase} failed: {_telling(part) or 'see the log'}"
    if error := next((line for line in lines if line.startswith("error: ")), None):
        return error.removeprefix("error: ").strip()
    return _telling(lines) or nothing_found


def timed_out(log: str, minutes: float) -> str:
    """The same for a build that was ended because its time was up."""
    phases = _PHASE.findall(log)
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    return f"{phases[-1] if phases else 'the build'} did not end within {minutes:g} min; its last words: {last[:200]}"


def _telling(lines: list[str]) -> str:
    """The telling line of the last command that said anything.

    rpm's shells trace (``+ make check``) and stop at the first failure, so that what came before went well, whatever a
    test suite may have provoked and printed on the way.
    """
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        if line.startswith("+ "):
            sections.append((line[2:].strip(), []))
        elif line.strip():
            sections[-1][1].append(line.strip())
    command, said = next((section for section in reversed(sections) if section[1]), sections[-1])
    for pattern in _TELLING:
        for line in said:
            if pattern.match(line):
                return line[:300]
    return f"{command[:100]}: {said[-1][:300]}".removeprefix(": ") if said else command[:100]
