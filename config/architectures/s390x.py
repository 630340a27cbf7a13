"""IBM Z, 64 bits. Levels: z/Architecture Principles of Operation, facilities 58, 134, 135 (z14), 61, 148 (z15)."""

from __future__ import annotations

from config.architecture import Architecture, Disassembler, Excuse, Level, Machine, Programs

_Z13 = ("VECTOR",)
_Z14 = ("AGH", "MSGRKC", "VFASB", "VFCESB", "VFMASB", "VFSQSB", "VLIP", "WFAXB")
_Z15 = ("NNGRK", "SELGR", "VLBRF")
_DECODED = Excuse(code="emulates-more", reason="QEMU decodes it with every s390x CPU model")
_NO_DECIMALS = Excuse(code="no-emulation", reason="QEMU's TCG has no packed decimal vectors")


def _level(version: int, programs: Programs | None, *, hwcaps: bool = True) -> Level:
    name = f"z{version}"
    return Level(
        name=name,
        features=frozenset(),
        assembler=(f"-march={name}",),
        hwcaps=name if hwcaps else "",
        programs=programs,
    )


ARCHITECTURE = Architecture(
    name="s390x",
    machine=Machine(
        elf_name="EM_S390",
        elf_number=22,
        pe_number=None,
        bits=64,
        executable_stack=True,
        entry_cfa=(15, 160),  # s390x ELF ABI 1.6: above the callee's save area of 160 bytes
        absolute={4: 4, 22: 8},  # R_390_32, R_390_64
        symbolic=frozenset([10, 11, 22]),
        relative=frozenset([12]),
        irelative=frozenset([61]),
        runtime_function=None,
    ),
    further_machines=(),
    levels=(
        _level(
            13,
            Programs(
                under=(),
                own=_Z13,
                above=_Z14,
                excuses={("own", name): _DECODED for name in ("AGH", "MSGRKC")},
            ),
        ),
        _level(
            14,
            Programs(
                under=_Z13,
                own=_Z14,
                above=_Z15,
                excuses={
                    **{("below", name): _DECODED for name in ("AGH", "MSGRKC")},
                    **{("own", name): _DECODED for name in _Z15},
                    ("own", "VLIP"): _NO_DECIMALS,
                },
            ),
        ),
        _level(
            15,
            Programs(
                under=_Z14,
                own=_Z15,
                above=(),
                excuses={
                    **{("below", name): _DECODED for name in _Z15},
                    ("below", "VLIP"): _NO_DECIMALS,
                    ("own", "VLIP"): _NO_DECIMALS,
                },
            ),
        ),
        _level(16, None),
        _level(17, None, hwcaps=False),
    ),
    rpm_sets={},
    debian_arch="s390x",
    triplet="s390x-linux-gnu",
    emulator="qemu-system-s390x",
    emulator_package="qemu-system-misc",
    emulator_files=(),
    user_emulator="qemu-s390x",
    console="ttysclp0",
    serial_bus="virtio-serial-ccw",
    kernel_package="linux-image-s390x",
    uefi=None,
    # objdump skips 4 bytes of an unknown instruction, not its 2 or 6 bytes, and may decode the next ones wrongly.
    # After at most 12 bytes it decodes correctly again.
    disassembler=Disassembler(options=("-m", "s390:64-bit", "-EB"), slot=12, filler=b"\x07\x00"),
    feature_words={
        "z15": frozenset(["z15"]),
        "arch13": frozenset(["z15"]),
        "z16": frozenset(["z15", "z16"]),
        "arch14": frozenset(["z15", "z16"]),
    },
    feature_prefixes={},
    go_tests=frozenset(),
)
