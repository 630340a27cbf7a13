"""Records of what readers and scanners observe in one file; :mod:`workers.verify.judge` judges them.

They contain no bytes of the file and can be pickled: several processes read files, and their records are cached.
The smallest are tuples, because a file may have a hundred thousand of them.
Addresses are those of the file; in an ET_REL file, file offsets stand in for addresses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Function(NamedTuple):
    """A function of a file: its place and its name."""

    address: int
    size: int
    """Bytes; 0 if only its start is known."""
    name: str = ""
    """From debug data or a symbol table; empty if neither names it."""
    section: str = ""

    def __str__(self) -> str:
        return self.name or f"{self.address:#x}"


class Unframed(NamedTuple):
    """A function that should keep a frame pointer (s390x: a back chain) and does not."""

    function: Function
    why: str
    """What the reader saw: "moves the stack pointer, and no CFA is computed from rbp" …"""


@dataclass(frozen=True, slots=True)
class Framing:
    """Frame pointers of one file: how many functions keep one, and which do not."""

    evidence: str
    """What the counts come from: ``cfi``, ``code``, ``cfi and code``; empty if nothing could be read."""
    functions: int
    """Functions seen: ``framed + leaf + len(unframed)``."""
    framed: int
    """Functions that make a frame and keep the frame pointer."""
    leaf: int
    """Functions that make no frame, so keep no frame pointer (compilers do this even with the flags)."""
    unframed: tuple[Unframed, ...] = ()


class Hit(NamedTuple):
    """One instruction that is above the level."""

    address: int
    size: int
    features: tuple[str, ...]
    """Features that it needs beyond the level: ``AVX2``, ``lse``, ``z15`` …"""
    text: str
    """Disassembled."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The result of a scan of some code."""

    hits: tuple[Hit, ...]
    """Every instruction above the level, by address."""
    undecoded: int
    """Bytes that the decoder does not know, of those that it had to decode."""


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
    """Why it is allowed: "ifunc: reached from the resolver memcpy"; empty if nothing explains it."""


@dataclass(frozen=True, slots=True)
class IsaFacts:
    """Instructions above a level in one file."""

    level: str
    code_bytes: int
    """Executable bytes that were decoded."""
    undecoded: int
    """Of these, bytes that the decoder does not know: data between functions, or newer instructions."""
    functions: tuple[AboveLevel, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """One compile unit of the debug data."""

    name: str
    """Source file, as in the compiler's command line."""
    producer: str
    language: str = ""
    """A language that has its own rules: rust, go, assembler …; empty for others."""
    folder: str = ""
    """Working directory of the compile."""
    ranges: tuple[tuple[int, int], ...] = ()
    """(first address, address behind the last) of the unit's code, if the debug data has them."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How a file was linked, as far as a rule needs it. ``None`` if a property does not apply to such a file."""

    build_id: str = ""
    executable_stack: bool | None = None
    relro: str = ""
    """``full``, ``partial``, ``none``; empty if nothing is loaded dynamically."""
    pie: bool | None = None
    """Whether a program is position independent."""
    text_relocations: bool | None = None
    rpath: tuple[str, ...] = ()
    """Each folder of DT_RPATH and DT_RUNPATH."""
    build_paths: tuple[str, ...] = ()
    """The first few texts in it that name the build tree."""
    go_settings: tuple[tuple[str, str], ...] = ()
    """Build settings of a Go program: (GOAMD64, v2) …"""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """All observations of one ELF or PE file."""

    format: str
    """``elf`` or ``efi``."""
    machine: str
    """As ``elf_machine`` of a target: EM_X86_64 …; for a PE file, the ELF name of the same machine."""
    type: str
    """ET_EXEC, ET_DYN (libraries, programs), ET_REL (objects, kernel modules); PE for an EFI file."""
    has_code: bool
    has_debug_info: bool = False
    is_module: bool = False
    """A Linux kernel module."""
    is_kernel_image: bool = False
    """A Linux kernel that firmware starts. It is an EFI file whose code is compressed."""
    traits: Traits = field(default_factory=Traits)
    units: tuple[Unit, ...] = ()
    """From the file or from its debuginfo."""
    framing: Framing | None = None
    isa: IsaFacts | None = None
    problems: tuple[str, ...] = ()
    """Damage that the readers found, one line each. What could not be read is not proven."""
