"""DWARF: which compile units a file was made of, read directly from its bytes.

``read_units`` goes from unit to unit and reads the topmost entry of each: who made it, with which flags, from which
source, in which language, and where its code lies. Nothing below is read, and nothing is believed: what lies outside its
section, does not end, or would cost more than a valid file can, raises :class:`workers.base.errors.MalformedError`.
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
    """The file that dwz moved what several files share into."""

    path: str
    """As installed, or relative to the file that refers to it."""
    identity: str
    """What that file must carry, in hexadecimal: a build-id, or the checksum of its ``.debug_sup``."""


def read_units(elf: Elf, supplementary: Elf | None = None, stripped: Elf | None = None) -> tuple[Unit, ...]:
    """The compile units of a file's debug data, in order; empty where it has none.

    Partial and type units, which hold no code, are left out. A skeleton of split DWARF stands for a unit in another file:
    its ``name`` is that file's (``….dwo``), and its ``producer`` is empty.

    :param supplementary: the file that :func:`supplementary_link` names, where dwz moved texts into one.
    :param stripped: the file that ``elf`` is the debug file of. In an ET_REL file (a kernel module), where offsets stand
        in for addresses, ranges are those of ``stripped``; elsewhere the two agree.
    :raises MalformedError: damaged; without the supplementary file it needs, or with another than that.
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
    """The supplementary file that debug data refers to, by ``.gnu_debugaltlink`` or (DWARF 5, 7.3.6) ``.debug_sup``.

    :raises MalformedError: when the section is damaged.
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
    """What a supplementary file says it is, where it says so in a ``.debug_sup``."""
    for section in debug_sections(elf, ".debug_sup"):
        is_supplementary, _, checksum = _sup(section)
        if is_supplementary:
            return checksum
    return ""


def _sup(section: DebugSection) -> tuple[bool, str, str]:
    """Version (2 bytes), whether this is the supplementary file (1), the other's path, length and bytes of the checksum."""
    path, position = section.text(3)
    length, position = section.uleb(position)
    if length > len(section) - position:
        raise section.damage(position)
    return (
        bool(section.number(2, 1)),
        path.decode("utf-8", "replace"),
        bytes(section.data[position : position + length]).hex(),
    )
