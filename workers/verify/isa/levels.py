"""What each instruction set level holds. ``isa_level`` of a target (targets.yaml) names one of these."""

from __future__ import annotations

from dataclasses import dataclass

from config import architectures


@dataclass(frozen=True, slots=True)
class Level:
    """One level of one architecture."""

    name: str
    machine: str
    """As ``elf_machine`` of a target."""
    features: frozenset[str] = frozenset()
    """x86: the processor features an instruction may need."""
    assembler: tuple[str, ...] = ()
    """Elsewhere: the options with which GNU as accepts this level's instructions and no others."""


LEVELS = {
    level.name: Level(level.name, architecture.machine.elf_name, level.features, level.assembler)
    for architecture in architectures.by_name().values()
    for level in architecture.levels
}
