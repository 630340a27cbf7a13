"""Rules for error messages on the console of every guest. A match is a failure, even if all tests passed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from config.text import plain_line


@dataclass(frozen=True)
class Rule:
    """A pattern for one console line, and its meaning."""

    name: str
    pattern: re.Pattern[str]
    meaning: str

    @property
    def fatal(self) -> bool:
        """Whether the guest cannot continue after such a line. After other lines its tests continue."""
        return self.name in ("panic", "oops", "emergency", "init")


@dataclass(frozen=True)
class Hit:
    """A rule and the line that matched it."""

    rule: Rule
    line: str

    def __str__(self) -> str:
        return f"{self.rule.meaning}: {self.line}"


RULES = tuple(
    Rule(name, re.compile(pattern), meaning)
    for name, pattern, meaning in (
        ("panic", r"Kernel panic - not syncing", "the guest's kernel panicked"),
        (
            "oops",
            r"\bOops\b|BUG: unable to handle|Unable to handle kernel|kernel tried to execute|Internal error:",
            "the guest's kernel made an invalid access",
        ),
        # Not soft lockups: on a busy host an emulated processor causes them without a bug.
        ("bug", r"kernel BUG at|\bBUG: (?!soft lockup|workqueue lockup|unable to handle)", "a kernel bug"),
        (
            "lockdep",
            r"possible (circular|recursive|irq) lock|inconsistent lock state|suspicious RCU usage",
            "the kernel's lock checker reports an error",
        ),
        (
            "emergency",
            r"(?i)(entering|you are in) emergency mode|give root password for maintenance",
            "an emergency shell",
        ),
        ("out-of-memory", r"Out of memory: Killed process|oom-kill:", "the guest ran out of memory"),
        (
            "sigill",
            # x86; powerpc; the generic line of any architecture; arm64; s390: operation and specification exception
            r"trap invalid opcode|illegal instruction \(4\)|unhandled signal 4\b|undefined instruction(: pc=| in )"
            r"|User process fault: interruption code 000[16]",
            "SIGILL: an instruction that this CPU does not have",
        ),
        (
            "cpu-model",
            r"Fatal glibc error: CPU (does not support|lacks)|CPU lacks (ISA|VXE)",
            "wrong CPU model: the guest's C library needs a newer CPU",
        ),
        # The lab's guests report each core dump through core_pattern (init.sh).
        ("core-dump", r"lab: core dump: ", "a program dumped core"),
        ("warning", r"\bWARNING: CPU: \d+ PID: \d+ at ", "a warning of the guest's kernel"),
        ("selinux", r"avc: +denied", "SELinux denied something"),
        ("init", r"^kitten: ", "the guest could not be set up"),
    )
)


def plain(line: str) -> str:
    """Return a line without control sequences, NUL (the padding of serial lines), and blanks around it."""
    return plain_line(line.replace("\0", "")).strip()


def hits(text: str) -> tuple[Hit, ...]:
    """Return each line of a console, or of a test's output, that matches a rule, with the first rule that matches."""
    matches = []
    for raw in text.split("\n"):
        line = plain(raw)
        for rule in RULES:
            if rule.pattern.search(line):
                matches.append(Hit(rule, line[:300]))
                break
    return tuple(matches)
