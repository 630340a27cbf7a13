"""The architectures that the project knows, one module each. To add one: docs/how-to/add-an-architecture.md.

The modules import nothing expensive, because the readers of file formats import them.
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
"""The files of an architecture, relative to the checkout: its record, its rules for the proof, its guest programs."""

_TOP = Path(__file__).parents[2]
IMPORT_ERRORS = (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError)
"""The errors that the import of an unfinished module raises."""


@functools.cache
def by_name() -> Mapping[str, Architecture]:
    """Return the architectures by name. Broken modules are left out; :func:`missing_files` returns the reason."""
    return {name: found for name in _names() if isinstance(found := _read(name), Architecture)}


@functools.cache
def machines() -> Mapping[str, Machine]:
    """Return the machines of all architectures by their name in elf.h."""
    return {machine.elf_name: machine for one in by_name().values() for machine in one.machines}


@functools.cache
def architecture_of(elf_name: str) -> Architecture | None:
    """Return the architecture whose processors run the code of a machine."""
    return next((one for one in by_name().values() for machine in one.machines if machine.elf_name == elf_name), None)


def missing_files(name: str) -> tuple[str, ...]:
    """Return the missing files of an architecture; for a record that cannot be read, with the reason."""
    record, *others = (part.format(name=name) for part in PARTS)
    absent = [part for part in others if not (_TOP / part).is_file()]
    if name not in by_name():
        absent.insert(0, f"{record} ({_read(name)})" if name in _names() else record)
    return tuple(absent)


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _read(name: str) -> Architecture | str:
    """Return the record of a module, or the reason why it cannot be read."""
    try:
        found = importlib.import_module(f"{__name__}.{name}").ARCHITECTURE
    except IMPORT_ERRORS as error:
        return str(error)
    if not isinstance(found, Architecture) or found.name != name:
        return f"ARCHITECTURE is not the record of {name}"
    return found
