"""What a package may break, where, why and until when: ``exemptions`` of its YAML file, or of a file given by hand.

An exception covers a rule at a path, or at a function of a path. One that has expired covers nothing and says so; one that
covered nothing is reported, so that the list never outgrows its reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase

from config.models import Exemption
from workers.results import Check


@dataclass
class Exceptions:
    """The exceptions of one package, and which of them were needed so far."""

    package: str
    entries: Sequence[Exemption]
    today: date
    _used: set[int] = field(default_factory=set)
    _expired_used: set[int] = field(default_factory=set)

    def cover(self, rule: str, path: str, symbol: str = "") -> Exemption | None:
        """The exception for what breaks a rule at a place, if one is in force.

        :param path: as installed, without the package's name.
        :param symbol: the function, where the rule speaks of one. A pattern without a symbol covers every function.
        """
        found = None
        for number, entry in enumerate(self.entries):
            if entry.rule != rule or not _matches(entry.where, path, symbol):
                continue
            if date.fromisoformat(entry.until) < self.today:
                self._expired_used.add(number)
            elif found is None:
                self._used.add(number)
                found = entry
        return found

    def checks(self) -> Iterator[Check]:
        """What the exceptions themselves amount to: in use, unused, expired."""
        for number, entry in enumerate(self.entries):
            where = f"{self.package}: {entry.rule} at {entry.where}"
            if number in self._used:
                detail = f"in force until {entry.until}: {entry.reason}"
                yield Check(rule="exception", file=where, outcome="held", level="INFO", detail=detail)
            elif number in self._expired_used:
                detail = f"expired on {entry.until}: mend what it excused, or give it a new date ({entry.reason})"
                yield Check(rule="exception", file=where, outcome="violated", detail=detail)
            else:
                detail = "covers nothing here: remove it, if it covers nothing on any target"
                yield Check(rule="exception", file=where, outcome="held", level="INFO", detail=detail)


def _matches(where: str, path: str, symbol: str) -> bool:
    """``/usr/lib64/*.so`` or ``/usr/lib64/libx.so*:fast_*``; a colon in a C++ name is part of the symbol's pattern."""
    place, colon, pattern = where.partition(":")
    if not fnmatchcase(path, place):
        return False
    return not colon or bool(symbol and fnmatchcase(symbol, pattern))
