"""64-bit x86. Levels: System V ABI, AMD64 supplement, "Micro-Architecture Levels"."""

from __future__ import annotations

from config.architecture import Architecture, Excuse, Level, Machine, Programs, Uefi

# x86-64 psABI, "Micro-Architecture Levels" (table 3.1), with the feature names of iced-x86, which follow Intel's and
# AMD's manuals. The baseline has what every 64-bit processor has; SCE and others are flags without instructions. It
# also has the hints that older processors run as NOP: ENDBR (0F 1E), CLDEMOTE (0F 1C), PREFETCHIT (0F 18), PREFETCHW
# and its variants (0F 0D; AMD64 manual, volume 3, "PREFETCH": every processor with long mode has them). OSXSAVE of
# level 3 means that the system has enabled XSAVE; XSAVEOPT, XSAVEC and XSAVES are not part of the level.
_V1 = frozenset(
    "INTEL8086 INTEL8086_ONLY INTEL186 INTEL286 INTEL286_ONLY INTEL386 INTEL386_ONLY INTEL386_A0_ONLY "  # noqa: SIM905
    "INTEL486 X64 CPUID CX8 CMOV FPU FPU287 FPU387 FXSR MMX SSE SSE2 TSC MSR PAUSE CLFSH SYSCALL "
    "MULTIBYTENOP SEP RDPMC SMM CET_IBT CLDEMOTE PREFETCHITI PREFETCHW PREFETCHWT1".split()
)
_V2 = _V1 | frozenset(["CMPXCHG16B", "LAHF_SAHF", "POPCNT", "SSE3", "SSE4_1", "SSE4_2", "SSSE3"])
_V3 = _V2 | frozenset(["AVX", "AVX2", "BMI1", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE", "XSAVE"])
_V4 = _V3 | frozenset(["AVX512F", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512VL"])

_CRYPTO = frozenset(["AES", "PCLMULQDQ", "RDRAND", "RDSEED", "ADX", "FSGSBASE", "RDTSCP", "SHA", "XSAVEOPT", "XSAVEC"])
_AVX = frozenset(["AVX", "XSAVE"])
# AVX10 of later processors consists of these. Code named "avx512" may use any feature of the family.
_AVX512 = _V4 | frozenset(
    "AVX512_BF16 AVX512_BITALG AVX512_FP16 AVX512_IFMA AVX512_VBMI AVX512_VBMI2 AVX512_VNNI "  # noqa: SIM905
    "AVX512_VP2INTERSECT AVX512_VPOPCNTDQ GFNI VAES VPCLMULQDQ".split()
)

# Every processor with AVX2 has all of x86-64-v3 (Intel since Haswell, AMD since Excavator). Compilers, glibc, zstd and
# BLAS libraries use the word "avx2" in this sense.
_WORDS = {
    "sse3": frozenset(["SSE3"]),
    "ssse3": frozenset(["SSE3", "SSSE3"]),
    "avx": _AVX,
    "avx2": _V3,
    "fma3": _AVX | {"FMA"},
    "fma4": _AVX | {"FMA4"},
    "xop": _AVX | {"XOP", "FMA4"},
    "f16c": _AVX | {"F16C"},
    "bmi": frozenset(["BMI1"]),
    "bmi1": frozenset(["BMI1"]),
    "bmi2": frozenset(["BMI1", "BMI2", "LZCNT"]),
    "mulx": frozenset(["BMI1", "BMI2"]),
    "mulx4x": frozenset(["BMI1", "BMI2", "ADX"]),
    "mulx4": frozenset(["BMI1", "BMI2", "ADX"]),
    "adx": frozenset(["BMI1", "BMI2", "ADX"]),
    "adcx": frozenset(["BMI2", "ADX"]),
    "mulx8x": frozenset(["BMI1", "BMI2", "ADX"]),
    "lzcnt": frozenset(["LZCNT"]),
    "popcnt": frozenset(["POPCNT"]),
    "movbe": frozenset(["MOVBE"]),
    "aesni": frozenset(["AES", "PCLMULQDQ"]),
    "aes": frozenset(["AES"]),
    "vaes": _V3 | {"AES", "VAES", "VPCLMULQDQ", "PCLMULQDQ"},
    "clmul": frozenset(["PCLMULQDQ"]),
    "pclmul": frozenset(["PCLMULQDQ"]),
    "pclmulqdq": frozenset(["PCLMULQDQ"]),
    "vpclmulqdq": _V3 | {"VPCLMULQDQ", "PCLMULQDQ"},
    "gfni": frozenset(["GFNI"]),
    "shaext": frozenset(["SHA"]),
    "shani": frozenset(["SHA"]),
    "sha_ni": frozenset(["SHA"]),
    "rdrand": frozenset(["RDRAND"]),
    "rdseed": frozenset(["RDSEED"]),
    "rtm": frozenset(["RTM", "HLE_OR_RTM"]),
    "evex": _AVX512,
    "evex512": _AVX512,
    "vnni": _V3 | {"AVX_VNNI"},
    # Processors: GCC's manual, "x86 Options".
    "sandybridge": _AVX | {"AES", "PCLMULQDQ"},
    "ivybridge": _AVX | {"AES", "PCLMULQDQ", "F16C", "RDRAND", "FSGSBASE"},
    "bulldozer": _AVX | {"AES", "PCLMULQDQ", "FMA4", "XOP", "LWP"},
    "piledriver": _AVX | {"AES", "PCLMULQDQ", "FMA4", "XOP", "LWP", "FMA", "F16C", "BMI1", "TBM"},
    "steamroller": _AVX | {"AES", "PCLMULQDQ", "FMA4", "XOP", "LWP", "FMA", "F16C", "BMI1", "TBM"},
    "haswell": _V3 | _CRYPTO - {"ADX", "RDSEED", "SHA"},
    "broadwell": _V3 | _CRYPTO - {"SHA"},
    "skylake": _V3 | _CRYPTO - {"SHA"},
    "excavator": _V3 | {"AES", "PCLMULQDQ", "RDRAND", "FMA4", "XOP", "TBM"},
    **dict.fromkeys(("zen", "zen2", "zen3"), _V3 | _CRYPTO),
    **dict.fromkeys(("skylakex", "skx", "skylake_avx512", "knl", "cascadelake", "cooperlake"), _AVX512 | _CRYPTO),
    **dict.fromkeys(("icelake", "icl", "cannonlake", "tigerlake", "sapphirerapids", "spr"), _AVX512 | _CRYPTO),
    "x86_64_v2": _V2,
    "x86_64_v3": _V3,
    "x86_64_v4": _V4,
}
_PREFIXES = {
    "avx512": _AVX512,
    "avxifma": _V3 | {"AVX_IFMA"},
    "avx10": _AVX512,
    "znver": _V3 | _CRYPTO,
    "ifma": _AVX512,
}

# The programs of cpu-level. OSXSAVE and TZCNT are no feature names, but have programs too.
_V2_PROGRAMS = ("CMPXCHG16B", "LAHF_SAHF", "POPCNT", "SSE3", "SSE4_1", "SSE4_2", "SSSE3")
_V3_PROGRAMS = ("AVX", "AVX2", "BMI1", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE", "OSXSAVE", "TZCNT")
_V4_PROGRAMS = ("AVX512F",)
_HASWELL = Excuse(code="emulates-more", reason="a Haswell has it, x86-64-v3 does not require it")
_NO_AVX512 = Excuse(code="no-emulation", reason="QEMU's TCG has no AVX-512")


def _level(name: str, features: frozenset[str], hwcaps: str, programs: Programs | None) -> Level:
    return Level(name=name, features=features, assembler=(), hwcaps=hwcaps, programs=programs)


ARCHITECTURE = Architecture(
    name="x86_64",
    machine=Machine(
        elf_name="EM_X86_64",
        elf_number=62,
        pe_number=0x8664,
        bits=64,
        executable_stack=True,
        entry_cfa=(7, 8),  # AMD64 psABI 3.7
        absolute={1: 8, 10: 4, 11: 4},  # R_X86_64_64, _32, _32S
        symbolic=frozenset([1, 6, 7]),
        relative=frozenset([8]),
        irelative=frozenset([37]),
        runtime_function=12,
    ),
    further_machines=(
        Machine(
            elf_name="EM_386",
            elf_number=3,
            pe_number=0x014C,
            bits=32,
            executable_stack=True,
            entry_cfa=(4, 4),
            absolute={1: 4},  # R_386_32
            symbolic=frozenset([1, 6, 7]),
            relative=frozenset([8]),
            irelative=frozenset([42]),
            runtime_function=None,
        ),
    ),
    levels=(
        _level("x86-64", _V1, "", None),
        _level("x86-64-v2", _V2, "x86-64-v2", Programs(under=(), own=_V2_PROGRAMS, above=_V3_PROGRAMS, excuses={})),
        _level(
            "x86-64-v3",
            _V3,
            "x86-64-v3",
            Programs(
                under=_V2_PROGRAMS,
                own=_V3_PROGRAMS,
                above=("ADX", "AES", "AVX512F", "PCLMULQDQ", "RDRAND"),
                excuses={
                    **{("own", name): _HASWELL for name in ("AES", "PCLMULQDQ", "RDRAND")},
                    ("above", "AVX512F"): _NO_AVX512,
                },
            ),
        ),
        _level(
            "x86-64-v4",
            _V4,
            "x86-64-v4",
            Programs(
                under=_V3_PROGRAMS,
                own=_V4_PROGRAMS,
                above=(),
                excuses={("own", "AVX512F"): _NO_AVX512},
            ),
        ),
    ),
    # In Kitten's rpm, %ifarch x86_64 is true on x86_64_v2 too.
    rpm_sets={
        "x86_64": ("x86_64", "x86_64_v2"),
        "%{x86_64}": ("x86_64", "x86_64_v2", "x86_64_v3", "x86_64_v4", "amd64", "em64t"),
        "%{ix86}": ("i386", "i486", "i586", "i686", "pentium3", "pentium4", "athlon", "geode"),
    },
    debian_arch="amd64",
    triplet="x86_64-linux-gnu",
    emulator="qemu-system-x86_64",
    emulator_package="qemu-system-x86",
    emulator_files=(
        *(f"/usr/share/seabios/{name}.bin" for name in ("bios-256k", "vgabios-qxl", "vgabios-virtio")),
        *(f"/usr/share/qemu/{name}.bin" for name in ("kvmvapic", "linuxboot_dma")),
    ),
    user_emulator="qemu-x86_64",
    console="ttyS0",
    serial_bus="virtio-serial-pci",
    kernel_package="linux-image-amd64",
    uefi=Uefi(suffix="x64", grub="x86_64-efi"),
    disassembler=None,
    feature_words=_WORDS,
    feature_prefixes=_PREFIXES,
    # VFMADD231SD needs FMA, and AVX for its encoding.
    go_tests=frozenset(["POPCNT", "SSE4_1", "FMA", "AVX"]),
)
