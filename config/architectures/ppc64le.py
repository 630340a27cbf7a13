"""IBM POWER, 64 bits, little endian. Levels: Power ISA 2.07 (POWER8), 3.0 B (POWER9), 3.1 (POWER10)."""

from __future__ import annotations

from config.architecture import Architecture, Disassembler, Level, Machine, Programs

_POWER8 = ("vaddudm",)
_POWER9 = ("addpcis", "cnttzd", "darn", "maddld", "modsd", "mtvsrdd", "setb", "vabsdub", "xsaddqp")
_POWER10 = ("brd", "paddi", "setbc", "xvf32ger", "xxspltiw")


def _level(version: int, hwcaps: str, programs: Programs | None) -> Level:
    return Level(
        name=f"POWER{version}",
        features=frozenset(),
        assembler=(f"-mpower{version}",),
        hwcaps=hwcaps,
        programs=programs,
    )


ARCHITECTURE = Architecture(
    name="ppc64le",
    machine=Machine(
        elf_name="EM_PPC64",
        elf_number=21,
        pe_number=None,
        bits=64,
        executable_stack=False,
        entry_cfa=(1, 0),  # 64-bit ELF V2 ABI for Power 2.4
        absolute={1: 4, 24: 4, 38: 8, 43: 8},  # R_PPC64_ADDR32, _UADDR32, _ADDR64, _UADDR64
        symbolic=frozenset([20, 21, 38]),
        relative=frozenset([22]),
        irelative=frozenset([247, 248]),
        runtime_function=None,
    ),
    further_machines=(),
    levels=(
        _level(8, "", Programs(under=(), own=_POWER8, above=_POWER9, excuses={})),
        _level(9, "power9", Programs(under=_POWER8, own=_POWER9, above=_POWER10, excuses={})),
        _level(10, "power10", Programs(under=_POWER9, own=_POWER10, above=(), excuses={})),
        _level(11, "", None),
    ),
    rpm_sets={"%{power64}": ("ppc64", "ppc64p7", "ppc64le")},
    debian_arch="ppc64el",
    triplet="powerpc64le-linux-gnu",
    emulator="qemu-system-ppc64",
    emulator_package="qemu-system-ppc",
    emulator_files=(),
    user_emulator="qemu-ppc64le",
    console="hvc0",
    serial_bus="virtio-serial-pci",
    kernel_package="linux-image-powerpc64le",
    uefi=None,
    # A prefixed instruction must not cross a boundary of 64 bytes.
    disassembler=Disassembler(options=("-m", "powerpc:common64", "-EL"), slot=8, filler=b"\0\0\0\x60"),
    feature_words={
        "power10": frozenset(["power10"]),
        "cpu_power10": frozenset(["power10"]),
        "power11": frozenset(["power10", "power11"]),
        "cpu_power11": frozenset(["power10", "power11"]),
    },
    feature_prefixes={},
    go_tests=frozenset(),
)
