"""DWARF: the compile units of a file, read directly from its bytes.

``read_units`` goes from unit to unit and reads the topmost entry of each: compiler and flags, source file, language and
addresses of the code. It reads nothing below that entry. It trusts nothing: data that is outside its section, that does
not end, or that costs more than a valid file can, raises :class:`workers.base.errors.MalformedError`.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.base.errors import MalformedError
from workers.formats.dwarf.ranges import UnitTable
from workers.formats.dwarf.sections import DebugSection, debug_sections
from workers.formats.dwarf.units import UnitReader
from workers.formats.elf import Elf
from workers.formats.facts import Unit

__all__ = ["Supplementary", "Unit", "UnitTable", "read_units", "supplementary_link"]


@dataclass(frozen=True, slots=True)
class Supplementary:
    """The file into which dwz moved what several files share."""

    path: str
    """As installed, or relative to the referring file."""
    identity: str
    """The build-id that the file must have, or the checksum in its ``.debug_sup``; hexadecimal."""


def read_units(elf: Elf, supplementary: Elf | None = None, stripped: Elf | None = None) -> tuple[Unit, ...]:
    """Return the compile units of a file's debug data, in order; empty if it has none.

    Partial and type units have no code and are left out. A skeleton of split DWARF stands for a unit in another file:
    its ``name`` is the name of that file (``….dwo``), and its ``producer`` is empty.

    :param supplementary: the file that :func:`supplementary_link` names, if dwz moved texts into one.
    :param stripped: the stripped file, if ``elf`` is its debug file. In an ET_REL file (a kernel module), offsets stand
        in for addresses: ranges are then those of ``stripped``. In other files they are the same.
    :raises MalformedError: the data is damaged, or the supplementary file is missing or the wrong one.
    """
    link = supplementary_link(elf) if supplementary is not None else None
    if (
        link is not None
        and supplementary is not None
        and link.identity not in (supplementary.build_id, _checksum(supplementary))
    ):
        raise MalformedError(f"the supplementary file given is not {link.path} of identity {link.identity}")
    return UnitReader(elf, supplementary, stripped).read()


def supplementary_link(elf: Elf) -> Supplementary | None:
    """Return the supplementary file that ``.gnu_debugaltlink`` or ``.debug_sup`` (DWARF 5, 7.3.6) names.

    :raises MalformedError: the section is damaged.
    """
    for section in debug_sections(elf, ".gnu_debugaltlink"):
        name, position = section.text(0)
        return Supplementary(name.decode("utf-8", "replace"), bytes(section.data[position:]).hex())
    for section in debug_sections(elf, ".debug_sup"):
        is_supplementary, path, checksum = _sup(section)
        if not is_supplementary:
            return Supplementary(path, checksum)
    return None


def _checksum(elf: Elf) -> str:
    """Return the checksum in a supplementary file's ``.debug_sup``; empty if it has none."""
    for section in debug_sections(elf, ".debug_sup"):
        is_supplementary, _, checksum = _sup(section)
        if is_supplementary:
            return checksum
    return ""


def _sup(section: DebugSection) -> tuple[bool, str, str]:
    """Read a ``.debug_sup``: whether this is the supplementary file, the path of the other file, the checksum.

    Layout: version (2 bytes), is_supplementary (1), path, length and bytes of the checksum.
    """
    path, position = section.text(3)
    length, position = section.uleb(position)
    if length > len(section) - position:
        raise section.damage(position)
    return (
        bool(section.number(2, 1)),
        path.decode("utf-8", "replace"),
        bytes(section.data[position : position + length]).hex(),
    )
