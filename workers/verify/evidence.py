"""Packages, files and folders → ``Evidence``: headers, every file with code, and the debug data of these files."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from workers.base.errors import CannotRun, MalformedError
from workers.base.files import sha256_of
from workers.formats import ar
from workers.formats.compression import MAX_MODULE, unpacked_pieces
from workers.formats.elf import MAGIC as ELF_MAGIC
from workers.formats.elf import Elf
from workers.formats.pe import MAGIC as PE_MAGIC
from workers.formats.rpm_header import RpmHeader, read_header
from workers.formats.rpm_payload import unpack
from workers.formats.rpm_sections import LEAD_MAGIC as RPM_MAGIC
from workers.results import Check
from workers.verify.spec import spec_of

_PACKED_MODULES = (".ko.xz", ".ko.zst", ".ko.gz")


@dataclass(frozen=True)
class Item:
    """One file with code, or one member of a static library."""

    name: str
    """For people: ``package:/path``, ``package:/path(member)``, or the path that was given."""
    path: str
    """The installed path, or the path that was given."""
    content: Path
    """The file with its bytes."""
    package: str = ""
    """The binary package that contains it; empty for a single file."""
    offset: int = 0
    """Where a member begins in ``content``."""
    size: int | None = None
    """Bytes of a member; None if the item is a whole file."""

    @property
    def is_member(self) -> bool:
        """Whether it is a member of a static library."""
        return self.size is not None


@dataclass(frozen=True)
class Evidence:
    """Everything that was found in packages, files and folders."""

    headers: Mapping[str, RpmHeader] = field(default_factory=dict)
    """File name of the package → header."""
    items: tuple[Item, ...] = ()
    debug: Mapping[str, Path] = field(default_factory=dict)
    """Build-id → the file with its debug data."""
    supplementary: Mapping[str, Path] = field(default_factory=dict)
    """File name → file, for the files into which dwz moved common debug data."""
    installed: frozenset[str] = frozenset()
    """Every path of every package."""
    modules: tuple[tuple[str, Path], ...] = ()
    """Kernel modules and the lists beside them (``modules.*``): path and content."""
    spec: str = ""
    """The text of the spec file, if the source package was given."""
    broken: tuple[Check, ...] = ()
    """One failed check for each package or file that could not be read."""


def files_in(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the packages, ELF files, EFI files and static libraries among the paths and in their folders.

    :raises CannotRun: if a path does not exist, if a file is of another kind, or if nothing is found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.is_symlink())
            found += (file for file in inside if kind_of(file) or _is_module_list(file.name))
        elif not path.is_file():
            raise CannotRun(f"{path} does not exist", "give packages, ELF or EFI files, or folders of them")
        elif kind_of(path):
            found.append(path)
        else:
            raise CannotRun(f"{path} is no RPM, ELF or EFI file", "give packages, ELF or EFI files, or folders of them")
    if not any(kind_of(file) for file in found):
        raise CannotRun(
            f"no package, ELF or EFI file in {', '.join(map(str, paths))}", "give packages, files or folders of them"
        )
    return tuple(dict.fromkeys(found))


def kind_of(path: Path) -> str:
    """Return ``rpm``, ``elf``, ``pe``, ``archive``, ``module`` (a compressed kernel module), or an empty text."""
    with path.open("rb") as file:
        head = file.read(max(len(ar.MAGIC), 8))
    kinds = {RPM_MAGIC: "rpm", ELF_MAGIC: "elf", ar.MAGIC: "archive", PE_MAGIC: "pe"}
    found = next((kind for magic, kind in kinds.items() if head.startswith(magic)), "")
    if not found and path.suffix == ".rpm":
        return "rpm"  # even a file without content is a package, a damaged one, if its name says so
    return found or ("module" if path.name.endswith(_PACKED_MODULES) else "")


def _is_module_list(name: str) -> bool:
    return name.startswith("modules.") and not name.endswith(".bin")


def gather(files: Sequence[Path], scratch: Path, debuginfo: Sequence[Path] = ()) -> Evidence:
    """Read files. A damaged file becomes a failed check that names it; the others are still read.

    :param files: as :func:`files_in` returns them.
    :param scratch: an empty folder for the payloads; the caller removes it.
    :param debuginfo: packages or files from which only debug data is read.
    """
    collected = _Collection(scratch)
    for file in dict.fromkeys((*files, *debuginfo)):
        try:
            collected.add(file, only_debug=file in debuginfo)
        except MalformedError as error:
            collected.broken.append(Check(rule="payload", file=file.name, outcome="failed", detail=str(error)))
    return collected.evidence()


class _Collection:
    """Collects the evidence, file by file."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._folders = 0
        self._headers: dict[str, RpmHeader] = {}
        self._items: list[Item] = []
        self._debug: dict[str, Path] = {}
        self._supplementary: dict[str, Path] = {}
        self._installed: set[str] = set()
        self._modules: list[tuple[str, Path]] = []
        self._spec = ""
        self.broken: list[Check] = []

    def add(self, file: Path, *, only_debug: bool) -> None:
        """Add one file.

        :raises MalformedError: if it is a damaged package.
        """
        if kind_of(file) == "rpm":
            self._package(file, only_debug)
        else:
            self._file(str(file), str(file), file, "", only_debug)

    def _package(self, file: Path, only_debug: bool) -> None:
        header = read_header(file)
        self._headers[file.name] = header
        self._folders += 1
        entries = unpack(file, header, self._scratch / str(self._folders))
        if header.arch == "src":
            self._spec = self._spec or spec_of(entries)
            return
        self._installed.update(entry.path for entry in entries)
        for entry in entries:
            if entry.content is not None and entry.size:
                name = f"{header.name}:{entry.path}"
                self._file(name, entry.path, entry.content, header.name, only_debug or header.is_debug)

    def _file(self, name: str, path: str, content: Path, package: str, only_debug: bool) -> None:
        kind = kind_of(content)
        if not kind and path.endswith(_PACKED_MODULES):
            kind = "module"
        try:
            if path.startswith("/usr/lib/debug/.dwz/"):
                self._supplementary[PurePosixPath(path).name] = content
            elif kind == "elf":
                self._elf(Item(name, path, content, package), only_debug)
            elif only_debug:
                return
            elif kind == "archive":
                members = ar.members(content)
                self._items += (Item(f"{name}({m.name})", path, content, package, m.offset, m.size) for m in members)
            elif kind == "module":
                self._modules.append((path, content))
                self._items.append(Item(name, path, self._unpacked(content, path), package))
            elif kind == "pe":
                self._items.append(Item(name, path, content, package))
            elif _is_module_list(PurePosixPath(path).name):
                self._modules.append((path, content))
        except MalformedError as error:
            self.broken.append(Check(rule="elf", file=name, outcome="failed", detail=str(error)))

    def _elf(self, item: Item, only_debug: bool) -> None:
        if item.path.endswith(".ko") and not only_debug:
            self._modules.append((item.path, item.content))
        elf = Elf(map_file(item.content))
        if only_debug or elf.is_debug_file:
            if elf.build_id:
                self._debug.setdefault(elf.build_id, item.content)
            return
        self._items.append(item)

    def _unpacked(self, content: Path, path: str) -> Path:
        self._folders += 1
        self._scratch.mkdir(parents=True, exist_ok=True)
        plain = self._scratch / f"{self._folders}.ko"
        with content.open("rb") as packed, plain.open("wb") as file:
            file.writelines(unpacked_pieces(packed, path, MAX_MODULE))
        return plain

    def evidence(self) -> Evidence:
        """Return everything that was added."""
        return Evidence(
            self._headers,
            tuple(self._items),
            self._debug,
            self._supplementary,
            frozenset(self._installed),
            tuple(self._modules),
            self._spec,
            tuple(self.broken),
        )


def map_file(content: Path, offset: int = 0, size: int | None = None) -> memoryview:
    """Map a file, or a part of it, into memory. The mapping ends with the last view of it."""
    if content.stat().st_size == 0:
        return memoryview(b"")
    with content.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return whole[offset : len(whole) if size is None else offset + size]


def digest(item: Item) -> str:
    """Return the SHA-256 checksum of an item's bytes."""
    if not item.is_member:
        return sha256_of(item.content)
    return hashlib.sha256(map_file(item.content, item.offset, item.size)).hexdigest()
