"""The parts of a Secure Boot guest: firmware, and the chain from packages."""

from __future__ import annotations

import dataclasses
import gzip
import lzma
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard

from config.loading import load_site
from config.models import Machine
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.lab.machine.command_line import Boot, arguments
from workers.lab.uefi import parts

SITE = load_site("demo")
TARGET = SITE.target("x86_64")


def flash_of(machine: Machine) -> list[str]:
    return arguments(Boot(machine, "tcg", flash=("/code", "/proc/self/fd/9")), 3, 4, 5)


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_the_firmware_is_in_flash_and_only_its_variables_are_writable(name):
    argv = flash_of(SITE.target(name).machine.variant("secure-boot"))
    machine = argv[argv.index("-machine") + 1]
    assert machine.endswith(",pflash0=flash0,pflash1=flash1")
    assert "driver=file,filename=/code,node-name=flash0,read-only=on,locking=off" in argv
    assert "driver=file,filename=/proc/self/fd/9,node-name=flash1,read-only=off,locking=off" in argv
    assert "-kernel" not in argv
    assert ("smm=on" in machine) == (name == "x86_64")
    assert ("driver=cfi.pflash01,property=secure,value=on" in argv) == (name == "x86_64")


def test_a_module_loses_its_signature_and_nothing_else():
    signature = b"\x30" * 300
    module = b"\x7fELF code" + signature + bytes(8) + struct.pack(">I", 300) + b"~Module signature appended~\n"
    chain = parts.Chain(b"", b"", b"", "x", {parts.PROBE_MODULE: module}, "here")
    assert chain.unsigned_module == b"\x7fELF code"
    with pytest.raises(CannotRun, match="not signed"):
        _ = dataclasses.replace(chain, modules={parts.PROBE_MODULE: b"\x7fELF code"}).unsigned_module


def package_of(tmp_path: Path, files: Mapping[str, bytes], name: str = "chain", arch: str = "x86_64") -> Path:
    """Build a package of these files with rpmbuild."""
    top = tmp_path / name
    for path, data in files.items():
        (top / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (top / "tree" / path).write_bytes(data)
    (top / "it.spec").write_text(
        f"Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\n%global debug_package %{{nil}}\n"
        f"%global __os_install_post %{{nil}}\n%description\nx\n%install\nmkdir -p %{{buildroot}}\n"
        f"cp -a {top}/tree/. %{{buildroot}}/\n%files\n/*\n"
    )
    run(
        [
            "rpmbuild",
            "-bb",
            "--target",
            f"{arch}-redhat-linux",
            "--define",
            f"_topdir {top}",
            "--nodeps",
            top / "it.spec",
        ]
    )
    return next((top / "RPMS").rglob("*.rpm"))


def module(name: str, *needs: str) -> bytes:
    return (
        b"\x7fELF\0depends="
        + ",".join(needs).encode()
        + b"\0name="
        + name.encode()
        + b"\0vermagic=6.12.0-1.el10 SMP \0"
    )


CHAIN = {
    "boot/efi/EFI/BOOT/BOOTX64.EFI": b"the shim",
    "boot/efi/EFI/almalinux/shimx64.efi": b"the shim",
    "boot/efi/EFI/almalinux/grubx64.efi": b"the loader",
    "lib/modules/6.12.0-1.el10.x86_64/vmlinuz": b"the kernel",
    "lib/modules/6.12.0-1.el10.x86_64/kernel/drivers/net/dummy.ko.xz": lzma.compress(module("dummy")),
    "lib/modules/6.12.0-1.el10.x86_64/kernel/drivers/block/virtio_blk.ko.zst": zstandard.compress(
        module("virtio_blk", "virtio-ring")
    ),
    "lib/modules/6.12.0-1.el10.x86_64/kernel/drivers/virtio/virtio_ring.ko.gz": gzip.compress(
        module("virtio_ring", "virtio")
    ),
    "lib/modules/6.12.0-1.el10.x86_64/kernel/drivers/virtio/virtio.ko": module("virtio"),
    "lib/modules/6.12.0-1.el10.x86_64/kernel/fs/other.ko": module("other", "nothing"),
}


def test_packages_bring_the_chain(tmp_path):
    chain = parts.chain(TARGET, [package_of(tmp_path, CHAIN)], tmp_path / "staged", tmp_path / "scratch")
    assert (chain.shim, chain.loader, chain.kernel) == (b"the shim", b"the loader", b"the kernel")
    assert chain.vendor == "almalinux"
    assert list(chain.modules) == ["virtio", "virtio_ring", "virtio_blk", "dummy"]
    assert chain.modules["virtio_ring"] == module("virtio_ring", "virtio")
    assert chain.release == "6.12.0-1.el10"
    assert chain.origin == "chain-1-1"


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("shimx64", "shimx64.efi"),
        ("grubx64", "grubx64.efi"),
        ("vmlinuz", "vmlinuz"),
        ("dummy", "module dummy of 6.12.0-1.el10.x86_64"),
        ("virtio_ring", "module virtio_ring"),
    ],
)
def test_a_missing_link_of_the_chain_is_named(tmp_path, without, missing):
    package = package_of(tmp_path, {path: data for path, data in CHAIN.items() if without not in path})
    with pytest.raises(CannotRun, match=missing):
        parts.chain(TARGET, [package], tmp_path / "staged", tmp_path / "scratch")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"no xz", r"dummy\.ko\.xz: damaged"),
        (lzma.compress(bytes(1 << 20)) * 257, r"dummy\.ko\.xz: it unpacks to more than 268435456 bytes"),
        (lzma.compress(module("dummy", "a(")), r"no package contains the module a\("),
    ],
)
def test_a_hostile_module_is_refused(tmp_path, content, problem):
    files = {path: content if "dummy" in path else data for path, data in CHAIN.items()}
    with pytest.raises(CannotRun, match=problem):
        parts.chain(TARGET, [package_of(tmp_path, files)], tmp_path / "staged", tmp_path / "scratch")


def test_packages_of_another_architecture_bring_no_chain(tmp_path):
    with pytest.raises(CannotRun, match="no package contains shimx64"):
        parts.chain(TARGET, [package_of(tmp_path, CHAIN, arch="aarch64")], tmp_path / "staged", tmp_path / "scratch")


def test_staged_packages_bring_the_other_links(tmp_path):
    """The package under test is a kernel. The suite must not test the staged kernel."""
    (tmp_path / "staged").mkdir()
    staged = package_of(tmp_path, CHAIN, "staged-chain")
    staged.rename(tmp_path / "staged" / staged.name)
    under_test = {
        path.replace("6.12.0-1", "6.12.0-2"): b"another kernel" if path.endswith("vmlinuz") else data
        for path, data in CHAIN.items()
        if "modules" in path
    }
    package = package_of(tmp_path, under_test, "kernel")
    chain = parts.chain(TARGET, [package], tmp_path / "staged", tmp_path / "scratch")
    assert (chain.shim, chain.kernel) == (b"the shim", b"another kernel")
    assert sorted(chain.origin.split(", ")) == ["kernel-1-1", "staged-chain-1-1"]
    without = {path: data for path, data in under_test.items() if "dummy" not in path}
    with pytest.raises(
        CannotRun, match="no package contains the module dummy"
    ):  # the module of the staged kernel would not load
        parts.chain(TARGET, [package_of(tmp_path, without, "other")], tmp_path / "staged", tmp_path / "scratch")


def test_a_damaged_package_is_named(tmp_path):
    package = package_of(tmp_path, CHAIN)
    package.write_bytes(package.read_bytes()[:-500])
    with pytest.raises(CannotRun, match="chain-1-1"):
        parts.chain(TARGET, [package], tmp_path / "staged", tmp_path / "scratch")


def test_a_target_without_uefi_is_refused():
    with pytest.raises(CannotRun, match="s390x has no UEFI"):
        parts.efi_name(SITE.target("s390x"))
