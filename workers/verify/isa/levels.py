"""The instruction set levels. ``isa_level`` of a target (targets.yaml) names one of them.

A module of its own, because every decoder needs it and it imports no decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

from config import architectures


@dataclass(frozen=True, slots=True)
class Level:
    """One level of one architecture."""

    name: str
    machine: str
    """The same as ``elf_machine`` of a target."""
    features: frozenset[str] = frozenset()
    """On x86: the processor features that an instruction may need."""
    assembler: tuple[str, ...] = ()
    """On other architectures: the options with which GNU as accepts the instructions of this level and no others."""


LEVELS = {
    level.name: Level(level.name, architecture.machine.elf_name, level.features, level.assembler)
    for architecture in architectures.by_name().values()
    for level in architecture.levels
}
