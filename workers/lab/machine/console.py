"""What a guest's console says when something is wrong. These rules are always on: no test may be green beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from config.text import plain_line


@dataclass(frozen=True)
class Rule:
    """A pattern of one console line, and what it means."""

    name: str
    pattern: re.Pattern[str]
    meaning: str

    @property
    def fatal(self) -> bool:
        """Whether nothing more is to be expected of the guest; after the others its tests go on to their end."""
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
        # Soft lockups are left out: an emulated processor on a busy host looks like one.
        ("bug", r"kernel BUG at|\bBUG: (?!soft lockup|workqueue lockup|unable to handle)", "a kernel bug"),
        (
            "lockdep",
            r"possible (circular|recursive|irq) lock|inconsistent lock state|suspicious RCU usage",
            "the kernel's lock checker complains",
        ),
        (
            "emergency",
            r"(?i)(entering|you are in) emergency mode|give root password for maintenance",
            "an emergency shell",
        ),
        ("out-of-memory", r"Out of memory: Killed process|oom-kill:", "the guest ran out of memory"),
        (
            "sigill",
            # x86; powerpc; any architecture's generic line; arm64; s390: operation and specification exception
            r"trap invalid opcode|illegal instruction \(4\)|unhandled signal 4\b|undefined instruction(: pc=| in )"
            r"|User process fault: interruption code 000[16]",
            "SIGILL: an instruction that this CPU does not have",
        ),
        (
            "cpu-model",
            r"Fatal glibc error: CPU (does not support|lacks)|CPU lacks (ISA|VXE)",
            "the guest's CPU is below what its C library needs: a wrong CPU model",
        ),
        # A guest of ours reports each core dump through its core_pattern (init.sh).
        ("core-dump", r"lab: core dump: ", "a program dumped core"),
        ("warning", r"\bWARNING: CPU: \d+ PID: \d+ at ", "the guest's kernel warns"),
        ("selinux", r"avc: +denied", "SELinux denied something"),
        ("init", r"^kitten: ", "the guest could not be set up"),
    )
)


def plain(line: str) -> str:
    """Return a line without control sequences and blanks around it. Serial lines pad with NUL: those go as well."""
    return plain_line(line.replace("\0", "")).strip()


def hits(text: str) -> tuple[Hit, ...]:
    """Every line of a console (or of a test's output) that a rule knows, with the first rule that knows it."""
    found = []
    for raw in text.split("\n"):
        line = plain(raw)
        for rule in RULES:
            if rule.pattern.search(line):
                found.append(Hit(rule, line[:300]))
                break
    return tuple(found)
