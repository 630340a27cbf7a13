"""What each instruction set level holds. ``isa_level`` of a target (targets.yaml) names one of these."""

from __future__ import annotations

from dataclasses import dataclass

# x86-64 psABI, "Micro-Architecture Levels" (table 3.1), in iced-x86's names of the features, which follow Intel's and
# AMD's manuals. The baseline has what every 64-bit processor has: SCE and the like are no instructions of their own. It also
# has the hints that a processor which does not know them runs as NOP: ENDBR (0F 1E), CLDEMOTE (0F 1C), PREFETCHIT (0F 18),
# and PREFETCHW and its kin (0F 0D; the AMD64 manual, volume 3, "PREFETCH", has them in every processor with long mode).
# OSXSAVE of level 3 says that the system enabled XSAVE, which is then there; XSAVEOPT, XSAVEC and XSAVES are no part of it.
_X86_64_V1 = frozenset(
    "INTEL8086 INTEL8086_ONLY INTEL186 INTEL286 INTEL286_ONLY INTEL386 INTEL386_ONLY INTEL386_A0_ONLY INTEL486 X64 CPUID "  # noqa: SIM905
    "CX8 CMOV FPU FPU287 FPU387 FXSR MMX SSE SSE2 TSC MSR PAUSE CLFSH SYSCALL MULTIBYTENOP SEP RDPMC SMM "
    "CET_IBT CLDEMOTE PREFETCHITI PREFETCHW PREFETCHWT1".split()
)
_X86_64_V2 = _X86_64_V1 | frozenset(["CMPXCHG16B", "LAHF_SAHF", "POPCNT", "SSE3", "SSE4_1", "SSE4_2", "SSSE3"])
_X86_64_V3 = _X86_64_V2 | frozenset(["AVX", "AVX2", "BMI1", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE", "XSAVE"])
_X86_64_V4 = _X86_64_V3 | frozenset(["AVX512F", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512VL"])


@dataclass(frozen=True, slots=True)
class Level:
    """One level of one architecture."""

    name: str
    machine: str
    """As ``elf_machine`` of a target."""
    features: frozenset[str] = frozenset()
    """x86: the processor features an instruction may need."""
    assembler: tuple[str, ...] = ()
    """Elsewhere: the options with which GNU as accepts this level's instructions and no others."""


LEVELS = {
    level.name: level
    for level in (
        Level("x86-64", "EM_X86_64", _X86_64_V1),
        Level("x86-64-v2", "EM_X86_64", _X86_64_V2),
        Level("x86-64-v3", "EM_X86_64", _X86_64_V3),
        Level("x86-64-v4", "EM_X86_64", _X86_64_V4),
        Level("ARMv8.0-A", "EM_AARCH64", assembler=("-march=armv8-a",)),
        Level("POWER8", "EM_PPC64", assembler=("-mpower8",)),
        Level("POWER9", "EM_PPC64", assembler=("-mpower9",)),
        Level("POWER10", "EM_PPC64", assembler=("-mpower10",)),
        Level("z13", "EM_S390", assembler=("-march=z13",)),
        Level("z14", "EM_S390", assembler=("-march=z14",)),
        Level("z15", "EM_S390", assembler=("-march=z15",)),
        Level("z16", "EM_S390", assembler=("-march=z16",)),
    )
}
