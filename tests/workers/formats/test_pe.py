"""PE files as EFI firmware loads them: real files if the host has some, files made byte by byte, and damaged ones."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workers.verify.compilers import tool
from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats.pe import Pe

CODE, DATA, BOTH = 0x60000020, 0xC0000040, 0xE0000020

# Of the packages systemd-boot-efi, grub-efi-*-bin, grub-efi-*-signed, shim-signed, shim-unsigned and fwupd-*-signed.
INSTALLED = sorted(
    path
    for folder in ("systemd/boot/efi", "grub", "shim")
    for pattern in ("*.efi", "*.efi.stub", "*.efi.signed")
    for path in Path("/usr/lib", folder).rglob(pattern)
) + sorted(Path("/usr/libexec/fwupd/efi").glob("*.efi*"))


def image(
    machine: int = 0x8664, base: int = 0x10000, entry: int = 0x1000,
    sections: tuple[tuple[bytes, int, bytes, int], ...] = ((b".text", 0x1000, b"\xc3" * 64, CODE),),
    exceptions: tuple[int, int] = (0, 0), symbols: bytes = b"", strings: bytes = b"", wide: bool = True,
) -> bytes:  # fmt: skip
    """Return a PE file.

    :param sections: (name, relative address, content, flags) of each.
    """
    optional = struct.pack("<HHIIIII", 0x20B if wide else 0x10B, 0, 0, 0, 0, entry, 0x1000)
    optional += struct.pack("<Q", base) if wide else struct.pack("<II", 0, base)
    optional += bytes(68 - len(optional)) + struct.pack("<HH", 10, 0)
    optional += bytes((108 if wide else 92) - len(optional)) + struct.pack("<I", 16)
    optional += bytes(24) + struct.pack("<II", *exceptions) + bytes(96)
    headers_end = 0x40 + 24 + len(optional) + 40 * len(sections)
    rows, content = b"", b""
    for name, address, data, flags in sections:
        place = headers_end + len(content)
        rows += struct.pack("<8sIIII12xI", name, len(data), address, len(data), place, flags)
        content += data
    at = headers_end + len(content) if symbols or strings else 0
    coff = struct.pack("<HHIIIHH", machine, len(sections), 0, at, len(symbols) // 18, len(optional), 0x22)
    return (
        b"MZ" + bytes(0x3A) + struct.pack("<I", 0x40) + b"PE\0\0" + coff + optional + rows + content + symbols + strings
    )


def symbol(name: bytes, value: int, section: int = 1, kind: int = 0x20, auxiliary: int = 0, storage: int = 3) -> bytes:
    return struct.pack("<8sIhHBB", name, value, section, kind, storage, auxiliary)


@pytest.mark.parametrize(
    ("number", "machine"),
    [(0x8664, "EM_X86_64"), (0xAA64, "EM_AARCH64"), (0x14C, "EM_386"), (0x1C2, "EM_ARM"), (0x1234, "PE_0x1234")],
)
def test_the_machine_has_its_elf_name(number, machine):
    assert Pe(image(number)).machine == machine


@pytest.mark.parametrize("wide", [True, False])
def test_code_and_entry_are_read(wide):
    sections = (
        (b".data", 0x1000, b"d" * 9, DATA),
        (b".both", 0x3000, b"b" * 5, BOTH),
        (b".text", 0x2000, b"t" * 7, CODE),
    )
    pe = Pe(image(entry=0x2002, sections=sections, wide=wide))
    assert [(code.section, code.address, bytes(code.data)) for code in pe.code] == [
        (".text", 0x12000, b"t" * 7), (".both", 0x13000, b"b" * 5)
    ]  # fmt: skip
    assert pe.starts == (0x12002,)
    assert not pe.is_kernel_image


def test_functions_come_from_the_unwind_table_the_symbols_and_the_entry_point():
    table = struct.pack("<6I", 0x1000, 0x1010, 0, 0x1010, 0x1018, 0)
    symbols = symbol(b"first", 0) + symbol(bytes(4) + struct.pack("<I", 4), 0x20, auxiliary=1) + b"\xff" * 18
    symbols += symbol(b"datum", 8, kind=0) + symbol(b"absolute", 8, section=-1)
    symbols += symbol(b"global", 0x28, kind=0, storage=2)
    sections = ((b".text", 0x1000, b"\xc3" * 64, CODE), (b".pdata", 0x2000, table, DATA), (b"/11", 0x3000, b"e", DATA))
    strings = struct.pack("<I", 99) + b"longer_name\0"
    pe = Pe(image(entry=0x1030, sections=sections, exceptions=(0x2000, 24), symbols=symbols, strings=strings))
    assert [(f.address, f.size, f.name, f.section) for f in pe.functions] == [
        (0x11000, 16, "first", ".text"), (0x11010, 8, "", ".text"), (0x11020, 0, "longer_name", ".text"),
        (0x11028, 0, "global", ".text"), (0x11030, 0, "", ".text"),
    ]  # fmt: skip
    assert [section.name for section in pe.sections] == [".text", ".pdata", "name"]


def test_the_unwind_table_of_aarch64_has_only_starts():
    sections = (
        (b".text", 0x1000, bytes(64), CODE),
        (b".pdata", 0x2000, struct.pack("<4I", 0x1004, 1, 0x1010, 1), DATA),
    )
    pe = Pe(image(0xAA64, entry=0, sections=sections, exceptions=(0x2000, 16)))
    assert [(f.address, f.size) for f in pe.functions] == [(0x11004, 0), (0x11010, 0)]


def kernel(place: int, magic: bytes) -> bytes:
    """Return a PE file with the magic of a kernel; its PE header comes later."""
    plain = image()
    head = bytearray(b"MZ" + bytes(0x3FE))
    struct.pack_into("<I", head, 0x3C, 0x400)
    head[place : place + len(magic)] = magic
    return bytes(head) + plain[0x40:]


@pytest.mark.parametrize(
    ("place", "magic", "kind"),
    [
        (0x1FE, b"\x55\xaa\xeb\x6aHdrS", "bzImage"),
        (0x38, b"ARM\x64", "arm64 Image"),
        (4, b"zimg", "EFI zboot"),
        (0x38, b"RSC\x05", "riscv Image"),
        (0x202, b"HdrS", ""),  # no boot sector
    ],
)
def test_a_kernel_image_is_recognised(place, magic, kind):
    pe = Pe(kernel(place, magic))
    assert (pe.kernel_image, pe.is_kernel_image) == (kind, bool(kind))
    assert pe.machine == "EM_X86_64"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a PE file"),
        (b"\x7fELF" + bytes(100), "not a PE file"),
        (b"MZ", "nothing at offset 60"),
        (b"MZ" + bytes(100), "a DOS header and no PE header"),
        (image()[:0x50], "truncated PE file"),
        (image().replace(b"\x0b\x02", b"\x07\x01", 1), "no optional header"),
        (image()[:-10], r"\.text, 64 bytes at \d+, is outside the file"),
        (image()[:340], "the section headers"),
        (image(exceptions=(0x9000, 24)), "is in no section"),
        (image(exceptions=(0x1000, 0xFFFFFFFF)), "is in no section"),
        (image(symbols=symbol(b"f", 0) * 3)[:-1], "the symbol table"),
    ],
)
def test_damage_is_reported_in_one_line(data, message):
    with pytest.raises(MalformedError, match=message) as caught:
        read_all(data)
    assert "\n" not in str(caught.value)


def test_sections_that_have_the_same_bytes_are_refused():
    data = bytearray(image(sections=((b".text", 0x1000, b"\xc3" * 400, CODE),) * 3))
    table = data.index(b".text")
    for number in range(3):
        struct.pack_into("<I", data, table + 40 * number + 20, len(data) - 400)
    Pe(bytes(data)).code  # 1,200 bytes of a file of more  # noqa: B018
    struct.pack_into("<III", data, table + 8, len(data), 0x1000, len(data))
    struct.pack_into("<I", data, table + 20, 0)
    with pytest.raises(MalformedError, match="code sections overlap"):
        Pe(bytes(data)).code  # noqa: B018


def test_symbols_that_share_one_long_name_are_refused():
    symbols = b"".join(symbol(bytes(4) + struct.pack("<I", 4 + at), at) for at in range(40))
    with pytest.raises(MalformedError, match="names of its symbols overlap"):
        Pe(image(symbols=symbols, strings=bytes(4) + b"x" * 4000)).functions  # noqa: B018


def read_all(data: bytes) -> Pe:
    """Read every property of a file."""
    pe = Pe(data)
    for function in pe.functions:
        assert any(code.address <= function.address < code.end for code in pe.code)
    assert list(pe.starts) == sorted(set(pe.starts))
    assert sum(len(code.data) for code in pe.code) <= len(data)
    assert isinstance(pe.kernel_image, str)
    return pe


@pytest.mark.skipif(
    not INSTALLED, reason="no EFI program is installed (apt-get install systemd-boot-efi shim-unsigned)"
)
def test_real_programs_are_read():
    for path in INSTALLED:
        pe = read_all(path.read_bytes())
        assert ".text" in {code.section for code in pe.code}, path
        assert pe.starts, path


def test_an_efi_program_of_a_linker_is_read(tmp_path):
    """GNU objcopy makes EFI programs from ELF files, as in gnu-efi."""
    gcc, objcopy = tool("x86_64", "gcc"), tool("x86_64", "objcopy")
    (tmp_path / "main.c").write_text("int helper(int a) { return a * 3; }\nint _start(void) { return helper(4); }\n")
    run([gcc, "-O1", "-fno-inline", "-nostdlib", "-shared", "-fPIC", "main.c", "-o", "main.so"], cwd=tmp_path)
    run([objcopy, "-j", ".text", "--target=efi-app-x86_64", "main.so", "main.efi"], cwd=tmp_path)
    pe = read_all((tmp_path / "main.efi").read_bytes())
    assert pe.machine == "EM_X86_64"
    assert {"helper", "_start"} <= {function.name for function in pe.functions}
    elf_code = run([tool("x86_64", "objdump"), "-d", "--no-show-raw-insn", "main.efi"], cwd=tmp_path).output
    for function in pe.functions:
        if function.name:
            assert f"{function.address:x} <{function.name}>:" in elf_code


SEEDS = [
    image(),
    image(
        0xAA64, exceptions=(0x2000, 16), symbols=symbol(b"name", 0), strings=bytes(4), sections=(
            (b".text", 0x1000, bytes(64), CODE),
            (b".pdata", 0x2000, struct.pack("<4I", 0x1004, 1, 0x1010, 1), DATA),
        ),
    ),
    kernel(4, b"zimg"),
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    seeds = [*SEEDS, *(path.read_bytes()[: 1 << 16] for path in INSTALLED[:3])]
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, min(len(data), 1024) - 1))
        value = draw(
            st.sampled_from([b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\1"])
            | st.binary(min_size=1, max_size=8)
        )
        data[at : at + len(value)] = value
    return bytes(data[: draw(st.integers(1, len(data)))]) if draw(st.booleans()) else bytes(data)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=mutated() | st.binary(max_size=600).map(lambda rest: b"MZ" + rest))
def test_any_bytes_are_read_or_refused(data):
    """Inputs: real and generated files with changed headers, cut files, random bytes."""
    with contextlib.suppress(MalformedError):
        read_all(data)
