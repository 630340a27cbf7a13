"""What the project knows about an architecture: the records that each module of ``config.architectures`` fills in.

No field has a default, so that a new module cannot forget one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Place = Literal["own", "below", "above"]
"""The CPUs of a target on which the suite ``cpu-level`` runs its programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuse:
    """Why the emulator does not do as the CPU it plays would."""

    code: Literal["emulates-more", "no-emulation"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """What the suite ``cpu-level`` runs for a level: features by the names in ``level-ARCH.s``."""

    under: tuple[str, ...]
    """What the level under it has."""
    own: tuple[str, ...]
    """What the level has and the one under it has not."""
    above: tuple[str, ...]
    """What it does not promise."""
    excuses: Mapping[tuple[Place, str], Excuse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One published level of an architecture. A target names it as ``isa_level``."""

    name: str
    features: frozenset[str]
    """The processor features that an instruction may need, if iced decodes the architecture; else empty."""
    assembler: tuple[str, ...]
    """The options with which GNU as accepts this level's instructions and no others, if binutils decode it; else empty."""
    hwcaps: str
    """Folder below glibc-hwcaps/ with files for this level (glibc manual, "Hardware Capability Subdirectories"), or empty."""
    programs: Programs | None
    """None: nothing in ``level-ARCH.s`` tells this level from the one under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A kind of machine code, as file formats number it and lay it out. Relocations are numbers of its psABI."""

    elf_name: str
    """As in elf.h: EM_X86_64 …"""
    elf_number: int
    pe_number: int | None
    """As "Machine Types" of the PE format has it; None: no EFI files of this machine."""
    bits: Literal[32, 64]
    executable_stack: bool
    """Whether a file that says nothing about its stack gets one that can be executed. glibc: DEFAULT_STACK_PERMS in
    sysdeps/*/stackinfo.h; binutils: elf_backend_default_execstack in bfd/elf*.c. The two agree."""
    entry_cfa: tuple[int, int]
    """DWARF's number of the stack pointer and the CFA's offset from it when a function is entered."""
    absolute: Mapping[int, int]
    """Relocation that stores an absolute value in debug data → bytes that it fills."""
    symbolic: frozenset[int]
    """Relocations to a symbol's address."""
    relative: frozenset[int]
    """Relocations to the load address plus an addend."""
    irelative: frozenset[int]
    """Relocations to what a resolver returns."""
    runtime_function: int | None
    """Bytes of an entry of the exception table of PE files; None: nothing reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disassembler:
    """How GNU binutils read code of an architecture that has no header around it."""

    options: tuple[str, ...]
    """Of objdump."""
    slot: int
    """Bytes that each encoding is filled up to, so that objdump does not see two as one or none."""
    filler: bytes
    """A no-operation to fill with; empty if each encoding has as many bytes as a slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uefi:
    """How UEFI firmware and GRUB name the architecture."""

    suffix: str
    """Of EFI files: ``x64``."""
    grub: str
    """GRUB's platform: ``x86_64-efi``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One architecture. Its levels are data: a target may name any of them."""

    name: str
    """What uname -m says there; the module has the same name."""
    machine: Machine
    further_machines: tuple[Machine, ...]
    """Older machines whose code its processors and its firmware run too."""
    levels: tuple[Level, ...]
    """All published ones, the lowest first."""
    rpm_sets: Mapping[str, tuple[str, ...]]
    """What %ifarch takes for one of its RPM architectures, if that is more than the same word; macros with their ``%``."""

    debian_arch: str
    """Debian's name: arm64, ppc64el …"""
    triplet: str
    """GNU triplet of Debian's (cross) tool chain: aarch64-linux-gnu …"""

    emulator: str
    """QEMU system binary."""
    emulator_package: str
    """Debian package that brings it."""
    emulator_files: tuple[str, ...]
    """Firmware that it loads for any machine with a display, by path in Debian."""
    user_emulator: str
    """QEMU user emulator, for %check on a host of another architecture."""
    console: str
    """Console device of a guest kernel."""
    serial_bus: Literal["virtio-serial-pci", "virtio-serial-ccw"]
    kernel_package: str
    """Debian metapackage of a guest kernel."""
    uefi: Uefi | None
    """None: there is no UEFI firmware for it."""

    disassembler: Disassembler | None
    """None: iced decodes it, by the features of its levels."""
    feature_words: Mapping[str, frozenset[str]]
    """Word in the name of a function → the features it stands for, as levels or the assembler name them."""
    feature_prefixes: Mapping[str, frozenset[str]]
    """The same for words that begin so."""
    go_tests: frozenset[str]
    """Features that Go's compiler uses behind a test."""

    @property
    def debian_triplet(self) -> str:
        """The triplet as Debian writes it in package names: x86-64 in place of x86_64."""
        return self.triplet.replace("_", "-")

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Those whose code its processors run."""
        return (self.machine, *self.further_machines)
