"""An EFI program without signatures, signing keys, and the program with two signatures."""

from __future__ import annotations

import pytest

from workers.base.run import run
from workers.lab.uefi import signing


@pytest.fixture(scope="session")
def efi_program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An EFI program, built as gnu-efi's makefiles do."""
    folder = tmp_path_factory.mktemp("efi")
    (folder / "main.c").write_text('static const char name[] = "x"; int _start(void) { return name[0]; }\n')
    run(["gcc", "-O1", "-nostdlib", "-shared", "-fPIC", "main.c", "-o", "main.so"], cwd=folder)
    options = ["-j", ".text", "-j", ".rodata", "--file-alignment=4096", "--target=efi-app-x86_64"]
    run(["objcopy", *options, "main.so", "main.efi"], cwd=folder)
    return (folder / "main.efi").read_bytes()


@pytest.fixture(scope="session")
def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, signing.Key]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: signing.new_key(name, folder) for name in ("2011", "2023", "owner", "stranger")}


@pytest.fixture(scope="session")
def twice_signed(efi_program, signing_keys, tmp_path_factory) -> bytes:
    """The program, signed with both keys of Microsoft's years, as the distribution's shim on x86_64."""
    folder = tmp_path_factory.mktemp("twice")
    return signing.sign(signing.sign(efi_program, signing_keys["2011"], folder), signing_keys["2023"], folder)
