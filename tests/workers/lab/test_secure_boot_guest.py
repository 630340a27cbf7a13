"""Secure Boot with real firmware: a signed chain from packages boots, and an unsigned shim is refused."""

from __future__ import annotations

import dataclasses
import lzma
from pathlib import Path

import pytest

from config.loading import load_site
from tests.workers.lab import helpers
from tests.workers.lab.test_uefi_parts import package_of
from workers.lab.suites import Report, secure_boot
from workers.lab.suites.secure_boot_verdicts import CHECKS
from workers.lab.uefi import images, parts

pytestmark = pytest.mark.guest

SITE = load_site("demo")
TARGET = SITE.target("x86_64")
SIGNED = ["the shim is signed by Microsoft", "the loader is signed", "the kernel is signed"]
CHAIN = [
    "signed chain: boots",
    *(f"signed chain: {check}" for check in CHECKS),
    "signed chain: the same module with its signature loads",
]


@pytest.fixture(scope="module")
def chain() -> parts.Chain:
    return parts.debian_chain(TARGET)


def run_with(chain: parts.Chain, folder: Path) -> Report:
    """The short form of the suite on a chain that comes from packages, laid out as the distribution's are."""
    release = f"lib/modules/{chain.release}"
    files = {
        f"boot/efi/EFI/{chain.vendor}/shimx64.efi": chain.shim,
        f"boot/efi/EFI/{chain.vendor}/grubx64.efi": chain.loader,
        f"{release}/vmlinuz": chain.kernel,
        **{f"{release}/kernel/{name}.ko.xz": lzma.compress(data, preset=0) for name, data in chain.modules.items()},
    }
    package = package_of(folder, files)
    return secure_boot.run(helpers.request("secure-boot", TARGET, folder, [package], quick=True))


def test_a_signed_chain_boots_and_its_unsigned_shim_is_refused(chain, tmp_path):
    report = run_with(chain, tmp_path)
    assert [(case.name, case.reason) for case in report.cases if case.outcome != "passed"] == []
    assert [case.name for case in report.cases] == [
        *SIGNED, *CHAIN, "unsigned shim: refused by the firmware"
    ]  # fmt: skip
    assert report.kernel == chain.release
    assert report.extra["chain"] == "chain-1-1"
    console = (tmp_path / "logs" / "unsigned-shim-console.log").read_text(errors="replace")
    assert "Access Denied" in console


def test_a_chain_whose_shim_is_not_signed_fails(chain, tmp_path):
    unsigned = dataclasses.replace(chain, shim=images.replace_signatures(chain.shim, ()))
    report = run_with(unsigned, tmp_path)
    failed = {case.name: case.reason for case in report.cases if case.outcome != "passed"}
    assert failed["the shim is signed by Microsoft"] == "it is signed by nobody"
    assert failed["signed chain: boots"].startswith("the firmware refused it: BdsDxe: failed to load")
    assert failed["signed chain: boots"].endswith("Access Denied")
    passed = [case.name for case in report.cases if case.outcome == "passed"]
    assert passed == [*SIGNED[1:], "unsigned shim: refused by the firmware"]
