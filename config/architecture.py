"""The records that describe an architecture; each module of ``config.architectures`` fills them in.

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
    """Why the emulator does not behave like the CPU that it emulates."""

    code: Literal["emulates-more", "no-emulation"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programs that the suite ``cpu-level`` runs for a level: features, by their names in ``level-ARCH.s``."""

    under: tuple[str, ...]
    """Features of the next lower level."""
    own: tuple[str, ...]
    """Features of this level that the next lower level lacks."""
    above: tuple[str, ...]
    """Features that the level does not promise."""
    excuses: Mapping[tuple[Place, str], Excuse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One published microarchitecture level. A target names it as ``isa_level``."""

    name: str
    features: frozenset[str]
    """Processor features that instructions of the level may need; empty if iced does not decode the architecture."""
    assembler: tuple[str, ...]
    """Options with which GNU as accepts exactly this level's instructions; empty if iced decodes the architecture."""
    hwcaps: str
    """Folder below glibc-hwcaps/ for this level, or empty. Glibc manual, "Hardware Capability Subdirectories"."""
    programs: Programs | None
    """None: no program in ``level-ARCH.s`` needs this level and runs on no lower one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A kind of machine code: its numbers in file formats. Relocations are numbered as in its psABI."""

    elf_name: str
    """The name in elf.h: EM_X86_64 …"""
    elf_number: int
    pe_number: int | None
    """The number in "Machine Types" of the PE format; None: the machine has no EFI files."""
    bits: Literal[32, 64]
    executable_stack: bool
    """Whether the stack is executable by default, if a file has no PT_GNU_STACK. glibc: DEFAULT_STACK_PERMS in
    sysdeps/*/stackinfo.h; binutils: elf_backend_default_execstack in bfd/elf*.c. The two agree."""
    entry_cfa: tuple[int, int]
    """DWARF's number of the stack pointer, and the CFA's offset from it at a function's entry."""
    absolute: Mapping[int, int]
    """Relocation that stores an absolute value in debug data → its size in bytes."""
    symbolic: frozenset[int]
    """Relocations to a symbol's address."""
    relative: frozenset[int]
    """Relocations to the load address plus an addend."""
    irelative: frozenset[int]
    """Relocations to the address that a resolver function (IFUNC) returns."""
    runtime_function: int | None
    """Size in bytes of an entry in the exception table of PE files; None: the proof does not read the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disassembler:
    """How GNU binutils disassemble raw code, without a file header around it."""

    options: tuple[str, ...]
    """Options of objdump."""
    slot: int
    """Bytes to which each encoding is padded, so that objdump decodes each one separately."""
    filler: bytes
    """A no-operation instruction for padding; empty if each encoding has the size of a slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uefi:
    """How UEFI firmware and GRUB name the architecture."""

    suffix: str
    """Suffix in the names of EFI files: ``x64``."""
    grub: str
    """GRUB's platform: ``x86_64-efi``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One architecture. A target may name any of its levels."""

    name: str
    """The output of ``uname -m``; the module has the same name."""
    machine: Machine
    further_machines: tuple[Machine, ...]
    """Older machines whose code its processors and firmware run too."""
    levels: tuple[Level, ...]
    """All published levels, the lowest first."""
    rpm_sets: Mapping[str, tuple[str, ...]]
    """RPM architecture or macro (with its ``%``) → what %ifarch accepts for it, if more than the same word."""

    debian_arch: str
    """Debian's name: arm64, ppc64el …"""
    triplet: str
    """GNU triplet of Debian's (cross) toolchain: aarch64-linux-gnu …"""

    emulator: str
    """QEMU system binary."""
    emulator_package: str
    """Debian package that contains the emulator."""
    emulator_files: tuple[str, ...]
    """Firmware files that the emulator loads for a machine with a display: their paths in Debian."""
    user_emulator: str
    """QEMU user emulator, for %check on a host of another architecture."""
    console: str
    """Console device of a guest kernel."""
    serial_bus: Literal["virtio-serial-pci", "virtio-serial-ccw"]
    kernel_package: str
    """Debian metapackage of a guest kernel."""
    uefi: Uefi | None
    """None: the architecture has no UEFI firmware."""

    disassembler: Disassembler | None
    """None: iced decodes the code and names the features."""
    feature_words: Mapping[str, frozenset[str]]
    """Word in a function's name → the features that it stands for, named as in the levels or by the assembler."""
    feature_prefixes: Mapping[str, frozenset[str]]
    """The same for words that begin with the key."""
    go_tests: frozenset[str]
    """Features that Go's compiler uses after a run-time test."""

    @property
    def debian_triplet(self) -> str:
        """The triplet in Debian's package names: x86-64 instead of x86_64."""
        return self.triplet.replace("_", "-")

    @property
    def machines(self) -> tuple[Machine, ...]:
        """All machines whose code its processors run."""
        return (self.machine, *self.further_machines)
