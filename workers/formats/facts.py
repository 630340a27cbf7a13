"""What is observed of one file: plain records, made by the readers and scanners, judged by :mod:`workers.verify.judge`.

They hold no bytes of the file and can be pickled: files are read by several processes, and what was read once is kept.
The smallest are tuples, since a file may have a hundred thousand of them.
Addresses are those of the file; in an ET_REL file a place's file offset stands in for its address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Function(NamedTuple):
    """A function of a file: where it lies and what it is called."""

    address: int
    size: int
    """Bytes; 0 where only its start is known."""
    name: str = ""
    """Of debug data or a symbol table; empty where neither names it."""
    section: str = ""

    def __str__(self) -> str:
        return self.name or f"{self.address:#x}"


class Unframed(NamedTuple):
    """A function that should keep a frame pointer (s390x: a back chain) and does not."""

    function: Function
    why: str
    """What was seen: "moves the stack pointer, and no CFA is computed from rbp" …"""


@dataclass(frozen=True, slots=True)
class Framing:
    """Frame pointers of one file, function by function."""

    evidence: str
    """What the answer was read from: ``cfi``, ``code``, ``cfi and code``, or empty where nothing could be read."""
    functions: int
    """Functions seen: ``framed + leaf + len(unframed)``."""
    framed: int
    """Make a frame and keep the frame pointer."""
    leaf: int
    """Make no frame at all: nothing to keep (the compilers leave these so even with the flags)."""
    unframed: tuple[Unframed, ...] = ()


class Hit(NamedTuple):
    """One instruction above the level."""

    address: int
    size: int
    features: tuple[str, ...]
    """What the processor must have for it beyond the level: ``AVX2``, ``lse``, ``z15`` …"""
    text: str
    """Disassembled."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan of some code found."""

    hits: tuple[Hit, ...]
    """Every instruction above the level, by address."""
    undecoded: int
    """Bytes that are no instruction of the decoder, as far as they had to be decoded."""


@dataclass(frozen=True, slots=True)
class AboveLevel:
    """A function with instructions above the level."""

    function: Function
    features: tuple[str, ...]
    """Of all its hits, sorted."""
    count: int
    """Instructions above the level; ``hits`` holds the first of them."""
    hits: tuple[Hit, ...]
    dispatch: str = ""
    """Why it is lawful, in words: "ifunc: reached from the resolver memcpy"; empty where nothing explains it."""


@dataclass(frozen=True, slots=True)
class IsaFacts:
    """Instructions above a level in one file."""

    level: str
    code_bytes: int
    """Executable bytes that were decoded."""
    undecoded: int
    """Bytes of these that are no instruction of the decoder: data between functions, or newer than it."""
    functions: tuple[AboveLevel, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """One compile unit of the debug data."""

    name: str
    """Source file, as the compiler was told it."""
    producer: str
    language: str = ""
    """Of the languages that have rules of their own: rust, go, assembler …; else empty."""
    folder: str = ""
    """Working directory of the compile."""
    ranges: tuple[tuple[int, int], ...] = ()
    """(first address, address behind the last) of the unit's code, where the debug data says it."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How a file was linked, as far as a rule asks for it. ``None`` where the question makes no sense of such a file."""

    build_id: str = ""
    executable_stack: bool | None = None
    relro: str = ""
    """``full``, ``partial``, ``none``; empty where nothing is loaded dynamically."""
    pie: bool | None = None
    """Of a program: position independent."""
    text_relocations: bool | None = None
    rpath: tuple[str, ...] = ()
    """Each folder of DT_RPATH and DT_RUNPATH."""
    build_paths: tuple[str, ...] = ()
    """Texts in it that name the tree it was built in, the first few."""
    go_settings: tuple[tuple[str, str], ...] = ()
    """Build settings of a Go program: (GOAMD64, v2) …"""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Everything that is observed of one ELF or PE file."""

    format: str
    """``elf`` or ``efi``."""
    machine: str
    """As ``elf_machine`` of a target: EM_X86_64 …; of a PE file the ELF name of the same machine."""
    type: str
    """ET_EXEC, ET_DYN (also of programs), ET_REL (objects, kernel modules); PE of an EFI file."""
    has_code: bool
    has_debug_info: bool = False
    is_module: bool = False
    """A Linux kernel module."""
    is_kernel_image: bool = False
    """A Linux kernel that firmware starts: an EFI file whose code is compressed."""
    traits: Traits = field(default_factory=Traits)
    units: tuple[Unit, ...] = ()
    """Of the file itself or of its debuginfo, whichever has them."""
    framing: Framing | None = None
    isa: IsaFacts | None = None
    problems: tuple[str, ...] = ()
    """Damage met on the way, a line each: what it left unread is not proven."""
