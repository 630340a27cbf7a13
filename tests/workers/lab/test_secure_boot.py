"""Secure Boot without a guest: the trials, and the verdicts about the output of guests."""

from __future__ import annotations

import dataclasses

import pytest

from config.loading import load_site
from workers.lab.guest import file_system
from workers.lab.guest.accelerator import Accelerator
from workers.lab.guest.kernel import GuestParts
from workers.lab.machine.launch import Talk
from workers.lab.suites.secure_boot_trials import LOADED, Link, Trial, TrialSetup, signature_cases, trials
from workers.lab.suites.secure_boot_verdicts import CHECKS, refusal, report_cases, verdict
from workers.lab.uefi import images, parts, signing
from workers.results import Case

SITE = load_site("demo")
TARGET = SITE.target("x86_64")

# Messages of firmware, shim and loader on the console.
STARTING = '\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001 "UEFI Non-Block Boot Device" from PciRoot(0x0)/Pci(0x2,0x0)\r\n'
BY_FIRMWARE = (
    'BdsDxe: failed to load Boot0001 "UEFI Non-Block Boot Device" from PciRoot(0x0)/Pci(0x2,0x0): Access Denied\r\n'
)
BY_SHIM = "\x1b[37m│  Verification failed: (0x1A) Security Violation  │\x1b[0m\r\n"
BY_LOADER = f"{LOADED}\r\nerror: bad shim signature.\r\nerror: you need to load the kernel first.\r\n"
NO_DISK = 'BdsDxe: failed to load Boot0001 "UEFI Non-Block Boot Device" from PciRoot(0x0)/Pci(0x2,0x0): Not Found\r\n'
READY = b"# READY 4.52\n"


@pytest.fixture
def setup(efi_program, signing_keys, twice_signed, tmp_path) -> TrialSetup:
    (tmp_path / "base.cpio").write_bytes(b"base")
    return TrialSetup(
        base=file_system.Base(TARGET, GuestParts(tmp_path), tmp_path / "base.cpio", Accelerator("tcg", "")),
        machine=TARGET.machine.variant("secure-boot"),
        firmware=(tmp_path, tmp_path),
        chain=parts.Chain(
            twice_signed,
            twice_signed,
            efi_program,
            "almalinux",
            {parts.PROBE_MODULE: b"\0vermagic=6.12.0 \0"},
            "a test",
        ),
        owner=signing_keys["owner"],
        stranger=signing_keys["stranger"],
        microsoft={year: signing_keys[year].certificate for year in ("2011", "2023")},
        payload=b"",
        logs=tmp_path,
        scratch=tmp_path,
    )


def planned_refusals(
    setup: TrialSetup, monkeypatch: pytest.MonkeyPatch, efi_program: bytes, *, quick: bool = False
) -> dict[str, str | None]:
    monkeypatch.setattr(parts, "stub", lambda target: efi_program)
    vouched = signing.signers(setup.chain.shim, setup.microsoft)
    found = list(trials(setup, vouched, quick=quick))
    assert len({trial.name for trial in found}) == len(found)
    return {trial.name: trial.refused_by for trial in found}


def test_every_link_and_every_certificate_has_trials(setup, efi_program, monkeypatch):
    assert planned_refusals(setup, monkeypatch, efi_program) == {
        "signed chain": None,
        "unsigned shim": "firmware",
        "tampered shim": "firmware",
        "tampered loader": "shim",
        "tampered kernel": "loader",
        "without Secure Boot": None,
        "own key, signed UKI": None,
        "own key, unsigned UKI": "firmware",
        "own key, UKI signed by another": "firmware",
        "certificates none": "firmware",
        "certificates 2011": None,
        "certificates 2023": None,
        "certificates 2011+2023": None,
        "certificates 2011, shim signed by 2011 alone": None,
        "certificates 2023, shim signed by 2011 alone": "firmware",
        "certificates 2011, shim signed by 2023 alone": "firmware",
        "certificates 2023, shim signed by 2023 alone": None,
    }


def test_a_shim_with_one_signature_boots_if_its_signer_is_trusted(
    setup, efi_program, signing_keys, tmp_path, monkeypatch
):
    shim = signing.sign(efi_program, signing_keys["2023"], tmp_path)
    setup = dataclasses.replace(setup, chain=dataclasses.replace(setup.chain, shim=shim))
    found = planned_refusals(setup, monkeypatch, efi_program)
    assert {name: by for name, by in found.items() if name.startswith("certificates")} == {
        "certificates none": "firmware",
        "certificates 2011": "firmware",
        "certificates 2023": None,
        "certificates 2011+2023": None,
    }


def test_an_unsigned_link_is_named(setup, efi_program):
    """The shim and the loader of the chain are signed; its kernel and the program are not."""

    def reasons(chain: parts.Chain) -> list[str]:
        return [case.reason for case in signature_cases(chain, signing.signers(chain.shim, setup.microsoft))]

    assert reasons(setup.chain) == ["", "", "it has no signature"]
    assert reasons(dataclasses.replace(setup.chain, kernel=setup.chain.loader)) == ["", "", ""]
    assert reasons(dataclasses.replace(setup.chain, shim=efi_program, loader=efi_program))[:2] == [
        "it is signed by nobody",
        "it has no signature",
    ]


def test_the_short_form_has_the_signed_chain_and_the_unsigned_shim(setup, efi_program, monkeypatch):
    assert planned_refusals(setup, monkeypatch, efi_program, quick=True) == {
        "signed chain": None,
        "unsigned shim": "firmware",
    }


def test_the_refused_images_boot_without_secure_boot(setup, efi_program, monkeypatch):
    """The refused images differ from the signed ones only in one bit and the signatures."""
    monkeypatch.setattr(parts, "stub", lambda target: efi_program)
    found = {
        trial.name: trial for trial in trials(setup, signing.signers(setup.chain.shim, setup.microsoft), quick=False)
    }
    shim, loader, kernel = "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "vmlinuz"
    control = found["without Secure Boot"]
    assert control.trusted is None
    assert control.files[shim] == images.tamper(found["unsigned shim"].files[shim])
    assert control.files[loader] == found["tampered loader"].files[loader] == images.tamper(setup.chain.loader)
    assert control.files[kernel] == found["tampered kernel"].files[kernel] == images.tamper(setup.chain.kernel)
    assert f"echo {LOADED}".encode() in control.files["EFI/almalinux/grub.cfg"]


# ---------------------------------------------------------------------------------------------------- what comes of it


def talk(console: str, tap: bytes = b"", ending: str = "") -> Talk:
    return Talk(console=bytearray(console.encode()), tap=bytearray(tap), ending=ending)


@pytest.mark.parametrize(
    ("text", "link"),
    [(STARTING, None), (NO_DISK, None), (LOADED, None), (BY_FIRMWARE, "firmware"), (STARTING + BY_SHIM, "shim"),
     (STARTING + BY_LOADER, "loader")],
)  # fmt: skip
def test_a_refusal_is_known_by_its_message(text, link):
    found = refusal(text)
    assert (found[0] if found else None) == link


BOOTS, REPORTS = Trial("it", {}, ()), Trial("it", {}, (), until="report")


def refusal_trial(link: Link, until: str = "loader") -> Trial:
    return Trial("it", {}, (), refused_by=link, until="report" if until == "report" else "loader")


@pytest.mark.parametrize(
    ("trial", "output", "outcome", "reason"),
    [
        (BOOTS, talk(STARTING + LOADED), "passed", ""),
        (BOOTS, talk(BY_FIRMWARE), "failed", "the firmware refused it: BdsDxe: failed to load"),
        (BOOTS, talk(STARTING, ending="timeout"), "failed", "no message within 9 s shows whether it boots (timeout)"),
        (BOOTS, talk("", ending="closed"), "failed", "its last line: none"),
        (BOOTS, talk(NO_DISK, ending="timeout"), "failed", "Not Found"),
        (REPORTS, talk(STARTING + LOADED, READY), "passed", ""),
        (REPORTS, talk(STARTING + LOADED, ending="timeout"), "failed", "no message within 9 s"),
        (REPORTS, talk(STARTING + BY_LOADER), "failed", "the loader refused it: bad shim signature"),
        (refusal_trial("firmware"), talk(BY_FIRMWARE), "passed", ""),
        (refusal_trial("firmware"), talk(STARTING + LOADED), "failed", "no link refused it"),
        (refusal_trial("firmware"), talk(STARTING + BY_SHIM), "failed", "the shim refused it"),
        (refusal_trial("firmware"), talk(STARTING, ending="timeout"), "failed", "no message within 9 s"),
        (refusal_trial("firmware"), talk("", ending="closed"), "failed", "no message within 9 s"),
        (refusal_trial("shim"), talk(STARTING + BY_SHIM), "passed", ""),
        (refusal_trial("shim"), talk(STARTING + LOADED), "failed", "no link refused it"),
        (refusal_trial("loader", "report"), talk(STARTING + BY_LOADER), "passed", ""),
        (refusal_trial("loader", "report"), talk(STARTING + LOADED, READY), "failed", "no link refused it"),
        (
            refusal_trial("loader", "report"),
            talk(STARTING + LOADED, ending="timeout"),
            "failed",
            "no message within 9 s",
        ),
    ],
)
def test_a_trial_passes_by_a_message_and_never_by_silence(trial, output, outcome, reason):
    case = verdict(trial, output, 9.0)
    assert case.outcome == outcome
    assert reason in case.reason
    assert bool(case.reason) == (outcome == "failed")


ALL_PASS = [
    Case(name=f"checks.sh: {name}", outcome="passed") for name in (*CHECKS, "the same module with its signature loads")
]
ALL_FAIL = [case.model_copy(update={"outcome": "failed"}) for case in ALL_PASS[:4]] + ALL_PASS[4:]
CONTROL = Trial("control", {}, None, until="report", checks="fail")


def test_each_check_of_the_signed_chain_is_a_case():
    found = report_cases(Trial("signed chain", {}, (), until="report"), ALL_FAIL)
    assert [case.name for case in found][:1] == ["signed chain: the firmware says that Secure Boot is on"]
    assert [case.outcome for case in found] == ["failed"] * 4 + ["passed"]


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        (ALL_FAIL, ""),
        (ALL_PASS, "did not fail: the firmware says"),
        (ALL_FAIL[:3] + ALL_PASS[3:], "did not fail: a module without its signature is refused"),
        (ALL_FAIL[1:], "did not fail: the firmware says"),  # not reported at all: it did not fail
        ([*ALL_FAIL[:4], ALL_PASS[4].model_copy(update={"outcome": "failed"})], "failed: the same module"),
        ([*ALL_FAIL, Case(name="guest", outcome="failed", reason="x")], "failed: guest"),
        ([], "did not fail"),
    ],
)  # fmt: skip
def test_without_secure_boot_every_check_must_fail(cases, reason):
    (case,) = report_cases(CONTROL, cases)
    assert case.outcome == ("failed" if reason else "passed")
    assert reason in case.reason
