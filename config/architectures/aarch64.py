"""64-bit Arm. Levels: Arm Architecture Reference Manual (DDI 0487), A2, "Armv8.x extensions", "Armv9.x extensions"."""

from __future__ import annotations

from config.architecture import Architecture, Disassembler, Excuse, Level, Machine, Programs, Uefi

_BASE = ("EXCLUSIVES", "FP_SIMD")
_CORTEX = Excuse(code="emulates-more", reason="a Cortex-A57 has it, ARMv8.0-A does not require it")
_PROGRAMS = {
    "ARMv8.0-A": Programs(
        under=(),
        own=_BASE,
        above=("AES", "CRC32", "DOTPROD", "FP16", "LRCPC", "LSE", "RDM"),
        excuses={("own", name): _CORTEX for name in ("AES", "CRC32")},
    ),
}


def _level(generation: int, minor: int) -> Level:
    name = f"ARMv{generation}.{minor}-A"
    march = f"armv{generation}.{minor}-a" if minor else f"armv{generation}-a"
    return Level(
        name=name, features=frozenset(), assembler=(f"-march={march}",), hwcaps="", programs=_PROGRAMS.get(name)
    )


ARCHITECTURE = Architecture(
    name="aarch64",
    machine=Machine(
        elf_name="EM_AARCH64",
        elf_number=183,
        pe_number=0xAA64,
        bits=64,
        executable_stack=False,
        entry_cfa=(31, 0),  # AAPCS64; DWARF for the Arm 64-bit Architecture
        absolute={257: 8, 258: 4},  # R_AARCH64_ABS64, _ABS32
        symbolic=frozenset([257, 1025, 1026]),
        relative=frozenset([1027]),
        irelative=frozenset([1032]),
        runtime_function=8,
    ),
    further_machines=(),
    levels=(*(_level(8, minor) for minor in range(10)), *(_level(9, minor) for minor in range(6))),
    rpm_sets={"%{arm64}": ("aarch64",), "%{arm}": ()},
    debian_arch="arm64",
    triplet="aarch64-linux-gnu",
    emulator="qemu-system-aarch64",
    emulator_package="qemu-system-arm",
    emulator_files=(),
    user_emulator="qemu-aarch64",
    console="ttyAMA0",
    serial_bus="virtio-serial-pci",
    kernel_package="linux-image-arm64",
    uefi=Uefi(suffix="aa64", grub="arm64-efi"),
    disassembler=Disassembler(options=("-m", "aarch64", "-EL"), slot=1, filler=b""),
    feature_words={
        "lse": frozenset(["lse"]),
        "sve": frozenset(["sve"]),
        "sve2": frozenset(["sve", "sve2"]),
        "sme": frozenset(["sve", "sve2", "sme"]),
        "dotprod": frozenset(["dotprod"]),
        "i8mm": frozenset(["i8mm"]),
        "bf16": frozenset(["bf16"]),
    },
    feature_prefixes={},
    go_tests=frozenset(["lse"]),
)
