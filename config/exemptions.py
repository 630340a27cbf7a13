"""Exemptions from rules of the proof: the key ``exemptions`` of a package's YAML file, or a file given by hand.

An exemption covers a rule at a path, or at one function of that file. An expired exemption covers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase

from config.models import Exemption


@dataclass
class Exemptions:
    """The exemptions of one package, with a record of those that were needed so far."""

    package: str
    entries: Sequence[Exemption]
    today: date
    used: set[int] = field(default_factory=set)
    """Indexes of valid exemptions that covered a finding."""
    expired_used: set[int] = field(default_factory=set)
    """Indexes of expired exemptions that would have covered a finding."""

    def cover(self, rule: str, path: str, symbol: str = "") -> Exemption | None:
        """Return the valid exemption for a finding of a rule, if there is one, and record that it was needed.

        :param path: the path of the installed file.
        :param symbol: the function, if the finding is about one. A pattern without a symbol covers every function.
        """
        exemption = None
        for number, entry in enumerate(self.entries):
            if entry.rule != rule or not _matches(entry.where, path, symbol):
                continue
            if date.fromisoformat(entry.until) < self.today:
                self.expired_used.add(number)
            elif exemption is None:
                self.used.add(number)
                exemption = entry
        return exemption


def _matches(where: str, path: str, symbol: str) -> bool:
    """Check whether a pattern matches: ``/usr/lib64/*.so`` or ``/usr/lib64/libx.so*:fast_*``.

    The first colon ends the path; later ones, as in C++ names, belong to the symbol.
    """
    place, colon, pattern = where.partition(":")
    if not fnmatchcase(path, place):
        return False
    return not colon or bool(symbol and fnmatchcase(symbol, pattern))
