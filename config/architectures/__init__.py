"""The architectures that the project knows, a module each. docs/how-to/add-an-architecture.md says how to write another one.

Light on purpose: readers of file formats import this.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path

from config.architecture import Architecture, Machine

PARTS = (
    "config/architectures/{name}.py",
    "workers/verify/architectures/{name}.py",
    "workers/lab/guest/programs/frames-{name}.s",
    "workers/lab/guest/programs/level-{name}.s",
    "workers/lab/guest/programs/renew-{name}.s",
)
"""The files of an architecture, from the top of the checkout: its record, how its code is judged, programs for guests."""

_TOP = Path(__file__).parents[2]
IMPORT_ERRORS = (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError)
"""What the import of a module raises that somebody still writes."""


@functools.cache
def known() -> Mapping[str, Architecture]:
    """The architectures by name. A module that cannot be used is left out; :func:`missing` says why."""
    return {name: found for name in _names() if isinstance(found := _read(name), Architecture)}


@functools.cache
def machines() -> Mapping[str, Machine]:
    """The machines of all architectures by their name in elf.h."""
    return {machine.elf_name: machine for one in known().values() for machine in one.machines}


@functools.cache
def architecture_of(elf_name: str) -> Architecture | None:
    """The architecture whose processors run a machine's code."""
    return next((one for one in known().values() for machine in one.machines if machine.elf_name == elf_name), None)


def missing(name: str) -> tuple[str, ...]:
    """The files that the project lacks of an architecture; of a record that cannot be read, the reason too."""
    record, *others = (part.format(name=name) for part in PARTS)
    absent = [part for part in others if not (_TOP / part).is_file()]
    if name not in known():
        absent.insert(0, f"{record} ({_read(name)})" if name in _names() else record)
    return tuple(absent)


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _read(name: str) -> Architecture | str:
    """The record of a module, or why there is none."""
    try:
        found = importlib.import_module(f"{__name__}.{name}").ARCHITECTURE
    except IMPORT_ERRORS as error:
        return str(error)
    if not isinstance(found, Architecture) or found.name != name:
        return f"ARCHITECTURE is not the Architecture of {name}"
    return found
