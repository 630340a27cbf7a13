"""What a package may break, where, why and until when: ``exemptions`` of its YAML file, or of a file given by hand.

An exemption covers a rule at a path, or at a function of a path. One that has expired covers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase

from config.models import Exemption


@dataclass
class Exemptions:
    """The exemptions of one package, and which of them were needed so far."""

    package: str
    entries: Sequence[Exemption]
    today: date
    used: set[int] = field(default_factory=set)
    """Numbers of those in force that covered something."""
    expired_used: set[int] = field(default_factory=set)
    """Numbers of those that would have, had they not expired."""

    def cover(self, rule: str, path: str, symbol: str = "") -> Exemption | None:
        """The exemption for what breaks a rule at a place, if one is in force.

        :param path: as installed, without the package's name.
        :param symbol: the function, where the rule speaks of one. A pattern without a symbol covers every function.
        """
        found = None
        for number, entry in enumerate(self.entries):
            if entry.rule != rule or not _matches(entry.where, path, symbol):
                continue
            if date.fromisoformat(entry.until) < self.today:
                self.expired_used.add(number)
            elif found is None:
                self.used.add(number)
                found = entry
        return found


def _matches(where: str, path: str, symbol: str) -> bool:
    """``/usr/lib64/*.so`` or ``/usr/lib64/libx.so*:fast_*``; a colon in a C++ name is part of the symbol's pattern."""
    place, colon, pattern = where.partition(":")
    if not fnmatchcase(path, place):
        return False
    return not colon or bool(symbol and fnmatchcase(symbol, pattern))
