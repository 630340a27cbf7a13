"""Packages → ``Evidence``: headers, the ELF files in the payloads, and the compile units in the debuginfo packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from workers.results import Check
from workers.verify.archive import archive_members, is_archive, is_elf
from workers.verify.dwarf import read_units, supplementary_link
from workers.verify.elf import Elf
from workers.verify.facts import Unit
from workers.verify.header import Header, MalformedError, read_header
from workers.verify.judge import CodeFile, ElfFile, Evidence
from workers.verify.payload import Entry, unpack


def gather(packages: Sequence[Path], scratch: Path) -> Evidence:
    """Read packages. What is damaged becomes a violated check that names it; the rest is read all the same.

    :param scratch: an empty folder for the payloads; the caller removes it.
    """
    headers: dict[str, Header] = {}
    broken: list[Check] = []
    payloads: dict[str, tuple[Entry, ...]] = {}
    for number, package in enumerate(packages):
        try:
            header = read_header(package)
            headers[package.name] = header
            if header.arch != "src":
                payloads[package.name] = unpack(package, header, scratch / str(number))
        except MalformedError as error:
            broken.append(Check(rule="payload", file=package.name, outcome="violated", detail=str(error)))
    supplementary = {
        PurePosixPath(entry.path).name: entry.content
        for entries in payloads.values()
        for entry in entries
        if entry.path.startswith("/usr/lib/debug/.dwz/") and entry.content
    }
    files: list[CodeFile] = []
    debug: dict[str, tuple[Unit, ...]] = {}
    for package_name, entries in payloads.items():
        header = headers[package_name]
        for entry in entries:
            if entry.content is None or entry.path.startswith("/usr/lib/debug/.dwz/"):
                continue
            name = f"{header.name}:{entry.path}"
            try:
                if not header.is_debug:
                    files += _code_files(name, entry.content)
                elif is_elf(entry.content):
                    elf, units = _read(entry.content, supplementary)
                    debug[elf.build_id] = units
            except MalformedError as error:
                broken.append(Check(rule="elf", file=name, outcome="violated", detail=str(error)))
    debug.pop("", None)
    return Evidence(headers, tuple(files), debug, tuple(broken))


def _code_files(name: str, content: Path) -> Iterator[CodeFile]:
    if is_elf(content):
        elf, units = _read(content, {})
        yield CodeFile(name, elf, units)
    elif is_archive(content):
        for member, data in archive_members(content):
            object_file = Elf(data)
            yield CodeFile(f"{name}({member})", _described(object_file), read_units(object_file))


def _read(content: Path, supplementary: Mapping[str, Path]) -> tuple[ElfFile, tuple[Unit, ...]]:
    elf = Elf(content.read_bytes())
    link = supplementary_link(elf)
    other = supplementary.get(PurePosixPath(link.path).name) if link else None
    return _described(elf), read_units(elf, Elf(other.read_bytes()) if other else None)


def read_elf(data: bytes) -> ElfFile:
    """Read what the proof needs of an ELF file.

    :raises MalformedError: for a damaged file.
    """
    return _described(Elf(data))


def _described(elf: Elf) -> ElfFile:
    return ElfFile(elf.machine, elf.type, elf.build_id, bool(elf.code), elf.has_debug_info)
