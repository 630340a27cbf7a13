"""The package files for a guest: their headers, their programs, their unpacked files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from config.models import Site, Target
from config.nevra import is_debug
from workers.base.errors import CannotRun, MalformedError
from workers.formats.elf import MAGIC, Elf
from workers.formats.rpm_header import RpmHeader
from workers.formats.rpm_payload import Entry
from workers.lab import dependencies, rpms
from workers.lab.guest import rpmtools
from workers.repository.buildroot import Solvable, read_repository, read_solvable, solvable_of
from workers.results import Case


def solvables(headers: Mapping[Path, RpmHeader]) -> tuple[Solvable, ...]:
    """The packages as the solver takes them."""
    return tuple(solvable_of(path.absolute(), header) for path, header in headers.items())


def loadable_files(target: Target, entries: Mapping[Path, Sequence[Entry]]) -> tuple[str, ...]:
    """Paths of the files that the target's loader loads: dynamic programs and libraries."""
    found = []
    for entry, elf in _elf_files(entries):
        linked = elf.type in ("ET_EXEC", "ET_DYN") and elf.machine == target.elf_machine and elf.bits == 64
        if linked and elf.dynamic and not entry.path.startswith("/usr/lib/debug/"):
            found.append(entry.path)
    return tuple(found)


def _elf_files(entries: Mapping[Path, Sequence[Entry]]) -> Iterable[tuple[Entry, Elf]]:
    for payload in entries.values():
        for entry in payload:
            if entry.kind != "file" or entry.content is None:
                continue
            with entry.content.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    continue
            try:
                yield entry, Elf(entry.content.read_bytes())
            except MalformedError:
                continue  # the proof reports it


def rpath_case(site: Site, entries: Mapping[Path, Sequence[Entry]], headers: Mapping[Path, RpmHeader]) -> Case:
    """Check that no program searches libraries in a forbidden folder, with the rules and exemptions of the proof."""
    from datetime import UTC, datetime

    from config.exemptions import Exemptions
    from workers.formats import rpath
    from workers.formats.traits import read_traits

    sources = {header.source for header in headers.values()}
    configured = [package for package in site.packages if package.name in sources]
    exemptions = [exemption for package in configured for exemption in package.exemptions]
    excused = Exemptions(", ".join(sources), exemptions, datetime.now(UTC).date())
    files = frozenset(path for header in headers.values() for path in header.files)
    wrong = [
        f"{entry.path}: {folder or '(empty)'}: {why}"
        for entry, elf in _elf_files(entries)
        for folder in read_traits(elf, ()).rpath
        if (why := rpath.problem_of(folder, str(entry.path), files)) and not excused.cover("rpath", str(entry.path))
    ]
    return Case(
        name="rpath",
        outcome="failed" if wrong else "passed",
        reason=wrong[0] if wrong else "",
        detail="\n".join(wrong),
    )


def unpack_with_needs(
    site: Site, target: Target, state: Path, packages: Sequence[Path], scratch: Path, extra: Sequence[Path] = ()
) -> tuple[tuple[Entry, ...], ...]:
    """Unpack packages, and those of the target's staged packages that they need, below ``scratch``.

    :raises CannotRun: if a package is damaged or for another target, or no package provides what one needs.
    """
    from workers.repository.buildroot import staged_folder

    wanted = solvables(headers_for_guest(target, packages) | headers_for_guest(target, extra))
    available = [
        package for package in read_repository(staged_folder(site, state, target)) if not is_debug(package.name)
    ]
    names = {package.name for package in wanted}
    others = [package for package in available if package.name not in names]
    base = read_solvable(rpmtools.stand_in_package(site, target))
    found = dependencies.resolve(wanted, others, [base], target.rpm_arch)
    for package, why in (*found.impossible, *found.excluded):
        raise CannotRun(
            f"{package.nevra} cannot be installed for {target.name}: {why}",
            "stage the package that provides it, or name its file: --with PATH",
        )
    for package in found.packages:
        if package not in wanted:
            click.echo(f"with {package.path.name}")
    headers = headers_for_guest(target, [package.path for package in found.packages])
    return tuple(
        rpms.unpack_package(path, header, scratch / "payloads" / str(number))
        for number, (path, header) in enumerate(headers.items())
    )


def headers_for_guest(target: Target, packages: Sequence[Path]) -> dict[Path, RpmHeader]:
    """The headers of the packages for a guest, without debuginfo and source packages.

    :raises CannotRun: if a package is damaged or for another architecture.
    """
    headers = {path: rpms.header_for(target, path) for path in packages}
    return {path: header for path, header in headers.items() if header.arch != "src" and not header.is_debug}
