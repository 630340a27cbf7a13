"""What is asked of a set of files, what was observed of one, and the few words all rules share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from config.exemptions import Exemptions
from config.models import Site, Target
from workers.formats.dwarf.table import UnitTable
from workers.formats.facts import FileFacts
from workers.results import Check, Place
from workers.verify.evidence import Item

LISTED = 1000
"""Functions that a check lists; its detail tells how many there are."""


@dataclass(frozen=True)
class Promise:
    """A target of a site, and what a package may break of what it promises."""

    site: Site
    target: Target
    exceptions: Exemptions
    opted_out: str = ""
    """Where the spec turns frame pointers off: "line 12: %undefine _include_frame_pointers"; empty where it does not."""

    @property
    def flags(self) -> tuple[str, ...]:
        """The compiler flags a compile unit must carry: those for frame pointers not, where the spec opts out of them."""
        flags = self.target.flags
        return flags.isa if self.opted_out else flags.compiler

    def apply_exceptions(self, item: Item, check: Check) -> Check:
        """A violation of a whole file becomes a skip where an exception covers it."""
        if check.outcome != "failed" or not self.exceptions.entries:
            return check
        entry = self.exceptions.cover(check.rule, item.path)
        if entry is None:
            return check
        return skip(check.rule, item, "exception", f"{entry.reason} ({check.detail})")


@dataclass(frozen=True)
class Observed:
    """One file and what was observed of it."""

    item: Item
    facts: FileFacts
    level: str
    """The instruction set level it was held against."""
    has_debug: bool = False
    """Whether debug data of it was found, in itself or in a debuginfo package."""

    @cached_property
    def units(self) -> UnitTable:
        """Its compile units by address."""
        return UnitTable(self.facts.units)

    def compiled_by(self, address: int) -> str:
        """How the code at an address was compiled, in words; empty where debug data does not say."""
        unit = self.units.at(address)
        return f"{unit.name}: {unit.producer}" if unit else ""


def skip(rule: str, item: Item, reason: str, detail: str = "", places: Sequence[Place] = ()) -> Check:
    """A question that was not asked, and why."""
    return Check(
        rule=rule, file=item.name, outcome="skipped", reason=reason, detail=detail, places=tuple(places[:LISTED])
    )


def answer(rule: str, file: str, held: bool, detail: str) -> Check:
    """A question with a plain answer."""
    return Check(rule=rule, file=file, outcome="passed" if held else "failed", detail=detail)


def count_functions(number: int) -> str:
    """``1 function``, ``1,234 functions``."""
    return f"{number:,} function{'' if number == 1 else 's'}"
