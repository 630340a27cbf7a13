"""Checks of the flags in compile units, without a real file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from config.exemptions import Exemptions
from tests.workers.verify.compilers import SITE, target
from workers.formats.facts import FileFacts, Unit
from workers.results import Check
from workers.verify.evidence import Item
from workers.verify.promise import Observed, Promise
from workers.verify.rules.declared import judge_declared, verdicts


def declared(name: str, units: Sequence[Unit]) -> list[Check]:
    """Return the checks of a file with these units, for a target."""
    promise = Promise(SITE, target(name), Exemptions("p", (), date(2026, 11, 24)))
    facts = FileFacts("elf", target(name).elf_machine, "ET_DYN", has_code=True, units=tuple(units))
    file = Observed(Item("f", "/f", Path("f"), "p"), facts, target(name).isa_level, has_debug=True)
    return list(judge_declared(promise, file, verdicts(promise, file)))
