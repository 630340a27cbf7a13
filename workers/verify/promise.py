"""The promise that a set of files must keep, the observed facts of a file, and helpers that all rules share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from config.exemptions import Exemptions
from config.models import Site, Target
from workers.formats.dwarf import UnitTable
from workers.formats.facts import FileFacts
from workers.results import Check, Place
from workers.verify.evidence import Item

LISTED = 1000
"""Functions that a check lists. The check also has their number."""


@dataclass(frozen=True)
class Promise:
    """The promises of a target, and the exceptions of a package."""

    site: Site
    target: Target
    exceptions: Exemptions
    opted_out: str = ""
    """The line of the spec that turns frame pointers off, or empty: ``line 12: %undefine _include_frame_pointers``."""

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that each compile unit must carry; only those for the level if the spec opts out."""
        flags = self.target.flags
        return flags.isa if self.opted_out else flags.compiler

    def apply_exceptions(self, item: Item, check: Check) -> Check:
        """Return the check, or a skip if the check failed and an exception covers the whole file."""
        if check.outcome != "failed" or not self.exceptions.entries:
            return check
        entry = self.exceptions.cover(check.rule, item.path)
        if entry is None:
            return check
        return skip(check.rule, item, "exception", f"{entry.reason} ({check.detail})")


@dataclass(frozen=True)
class Observed:
    """One file and its observed facts."""

    item: Item
    facts: FileFacts
    level: str
    """The instruction set level that it must not exceed."""
    has_debug: bool = False
    """Whether it has debug data, in the file itself or in a debuginfo package."""

    @cached_property
    def units(self) -> UnitTable:
        """Return the compile units by address."""
        return UnitTable(self.facts.units)

    def compiled_by(self, address: int) -> str:
        """Return the unit and the producer of the code at an address; empty if debug data has neither."""
        unit = self.units.at(address)
        return f"{unit.name}: {unit.producer}" if unit else ""


def skip(rule: str, item: Item, reason: str, detail: str = "", places: Sequence[Place] = ()) -> Check:
    """Return a skipped check with its reason."""
    return Check(
        rule=rule, file=item.name, outcome="skipped", reason=reason, detail=detail, places=tuple(places[:LISTED])
    )


def answer(rule: str, file: str, passed: bool, detail: str) -> Check:
    """Return a check that passed or failed."""
    return Check(rule=rule, file=file, outcome="passed" if passed else "failed", detail=detail)


def count_functions(number: int) -> str:
    """Return ``1 function`` or ``1,234 functions``."""
    return f"{number:,} function{'' if number == 1 else 's'}"
