"""Which compiler made each compile unit, and with which flags: DW_AT_producer, as GCC's -grecord-gcc-switches leaves it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from workers.verify.header import MalformedError

_LANGUAGE_CODES = {
    0x1C: "rust",
    0x16: "go",
    0x8001: "assembler",
    0x21: "ocaml",
    0x13: "d",
    0x1E: "swift",
}  # DWARF 5, 7.12


@contextmanager
def opened(stream: IO[bytes]) -> Iterator[Any]:
    """An ``ELFFile`` of pyelftools; whatever it stumbles over in a damaged file becomes one line.

    :raises MalformedError: for a file that is damaged.
    """
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        yield ELFFile(stream)
    except (
        ELFError, DWARFError, ConstructError, struct.error, UnicodeError,
        ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError, OverflowError, EOFError, MemoryError,
    ) as error:  # fmt: skip
        raise MalformedError(f"damaged ELF file: {type(error).__name__}: {str(error)[:200]}") from None


@dataclass(frozen=True)
class Unit:
    """One compile unit."""

    name: str
    """Source file, as the compiler was told it."""
    producer: str
    language: str = ""
    """Of the languages that have rules of their own: rust, go, assembler …; else empty."""


def read_units(stream: IO[bytes], supplementary: Path | None = None) -> tuple[Unit, ...]:
    """The compile units of a file's debug data; partial units and type units, which hold no code, are left out.

    :param supplementary: the file that ``.gnu_debugaltlink`` names, where dwz moved strings into one.
    :raises MalformedError: for a damaged file.
    """
    with opened(stream) as elf:
        if not elf.has_dwarf_info(strict=True):
            return ()
        dwarf = elf.get_dwarf_info(follow_links=False)
        if supplementary is None:
            return _units(dwarf)
        with supplementary.open("rb") as other, opened(other) as alternate:
            dwarf.supplementary_dwarfinfo = alternate.get_dwarf_info(follow_links=False)
            return _units(dwarf)


def supplementary_name(stream: IO[bytes]) -> str:
    """The path that ``.gnu_debugaltlink`` or ``.debug_sup`` gives, or an empty text."""
    with opened(stream) as elf:
        if section := elf.get_section_by_name(".gnu_debugaltlink"):
            return str(section.data().split(b"\0", 1)[0].decode("utf-8", "surrogateescape"))
        if section := elf.get_section_by_name(".debug_sup"):  # version (2), is_supplementary (1), name
            return str(section.data()[3:].split(b"\0", 1)[0].decode("utf-8", "surrogateescape"))
    return ""


def _units(dwarf: Any) -> tuple[Unit, ...]:
    units = []
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE()
        if top.tag != "DW_TAG_compile_unit":
            continue
        language = top.attributes.get("DW_AT_language")
        units.append(
            Unit(
                name=_text(top, "DW_AT_name"),
                producer=_text(top, "DW_AT_producer"),
                language=_LANGUAGE_CODES.get(language.value, "") if language else "",
            )
        )
    return tuple(units)


def _text(die: Any, attribute: str) -> str:
    found = die.attributes.get(attribute)
    if found is None:
        return ""
    if not isinstance(found.value, bytes):
        raise MalformedError(f"{attribute} lies in a supplementary file that is not there")
    return found.value.decode("utf-8", "replace")
