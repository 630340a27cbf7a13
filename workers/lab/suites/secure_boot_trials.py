"""The trials of the ``secure-boot`` suite: images, trusted certificates and the expected result of each boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509

from config.models import Machine
from workers.lab.guest import file_system
from workers.lab.machine.command_line import kernel_command_line
from workers.lab.uefi import images, parts, signing
from workers.results import Case

LOADED = "GRUB-CFG-LOADED"
"""The message of the boot loader after the firmware started the shim, and the shim the loader."""

Link = Literal["firmware", "shim", "loader"]


@dataclass(frozen=True)
class Trial:
    """One boot and its expected result."""

    name: str
    files: Mapping[str, bytes]
    """The files on the system partition, by path."""
    trusted: Sequence[x509.Certificate] | None
    """The firmware accepts signatures with these. None: the firmware has no keys, Secure Boot is off."""
    refused_by: Link | None = None
    """The link that must refuse; None: it must boot."""
    until: Literal["loader", "report"] = "loader"
    """What proves that no link refused: the message of the boot loader, or a guest that is ready to report."""
    checks: Literal["pass", "fail"] = "pass"
    """The expected result of all ``CHECKS`` in a report."""


@dataclass(frozen=True)
class TrialSetup:
    """The parts that all trials share."""

    base: file_system.Base
    machine: Machine
    firmware: tuple[Path, Path]
    chain: parts.Chain
    owner: signing.Key
    """The owner of the platform. The firmware trusts this key together with Microsoft's, or alone."""
    stranger: signing.Key
    microsoft: Mapping[str, x509.Certificate]
    payload: bytes
    logs: Path
    scratch: Path


def trials(setup: TrialSetup, signers: Sequence[frozenset[str]], *, quick: bool) -> Iterator[Trial]:
    """Yield the trials of the suite, in order.

    :param signers: ``signing.signers`` of the shim.
    :param quick: only the signed chain and the unsigned shim.
    """
    shim, loader, kernel = setup.chain.shim, setup.chain.loader, setup.chain.kernel
    unsigned = images.replace_signatures(shim, ())
    microsoft = tuple(setup.microsoft.values())
    yield Trial("signed chain", _partition(setup, shim, loader, kernel), microsoft, until="report")
    yield Trial("unsigned shim", _partition(setup, unsigned, loader), microsoft, refused_by="firmware")
    if quick:
        return
    bad_shim, bad_loader, bad_kernel = (images.tamper(image) for image in (shim, loader, kernel))
    yield Trial("tampered shim", _partition(setup, bad_shim, loader), microsoft, refused_by="firmware")
    yield Trial("tampered loader", _partition(setup, shim, bad_loader), microsoft, refused_by="shim")
    yield Trial(
        "tampered kernel", _partition(setup, shim, loader, bad_kernel), microsoft, refused_by="loader", until="report"
    )
    all_bad = _partition(setup, images.tamper(unsigned), bad_loader, bad_kernel)
    yield Trial("without Secure Boot", all_bad, None, until="report", checks="fail")
    yield from _own_key_trials(setup)
    yield from _certificate_trials(setup, signers)


def _own_key_trials(setup: TrialSetup) -> Iterator[Trial]:
    """Yield trials of a platform that trusts only its owner's key, with a unified kernel image instead of the chain."""
    image = images.unified_image(
        parts.stub(setup.base.target),
        {
            ".osrel": b"ID=linux\nNAME=Linux\n",
            ".cmdline": kernel_command_line(setup.machine).encode(),
            ".uname": setup.chain.release.encode(),
            ".initrd": _initrd(setup),
            ".linux": setup.chain.kernel,
        },
    )
    path = _first_image(setup)
    own = (setup.owner.certificate,)
    signed, foreign = (signing.sign(image, key, setup.scratch) for key in (setup.owner, setup.stranger))
    yield Trial("own key, signed UKI", {path: signed}, own, until="report")
    yield Trial("own key, unsigned UKI", {path: image}, own, refused_by="firmware", until="report")
    yield Trial("own key, UKI signed by another", {path: foreign}, own, refused_by="firmware", until="report")


def _certificate_trials(setup: TrialSetup, signers: Sequence[frozenset[str]]) -> Iterator[Trial]:
    """Yield trials of firmware that trusts none, one or both of Microsoft's certificates.

    If the shim has two signatures, each is tried alone, too. The expected result follows from the signers of the shim.
    """
    shim, loader = setup.chain.shim, setup.chain.loader
    matrix = [(shim, signers, "", years) for years in ((), ("2011",), ("2023",), ("2011", "2023"))]
    signatures = images.signatures(shim)
    if len(signatures) > 1:
        for signature, signer in zip(signatures, signers, strict=True):
            image = images.replace_signatures(shim, (signature,))
            suffix = f", shim signed by {signer_names((signer,))} alone"
            matrix += [(image, (signer,), suffix, (year,)) for year in ("2011", "2023")]
    for image, image_signers, suffix, years in matrix:
        trusted = [setup.owner.certificate, *(setup.microsoft[year] for year in years)]
        accepted = any(signer.intersection(years) for signer in image_signers)
        name = f"certificates {'+'.join(years) or 'none'}{suffix}"
        yield Trial(name, _partition(setup, image, loader), trusted, refused_by=None if accepted else "firmware")


def signer_names(signers: Sequence[frozenset[str]]) -> str:
    """The signers of a shim as text: ``2011 and 2023``."""
    return " and ".join("/".join(sorted(signer)) or "somebody else" for signer in signers) or "nobody"


def signature_cases(chain: parts.Chain, signers: Sequence[frozenset[str]]) -> Iterator[Case]:
    """Check that each link is signed. So the reason is clear if an unsigned chain does not boot."""
    reasons = {
        "the shim is signed by Microsoft": "" if any(signers) else f"it is signed by {signer_names(signers)}",
        "the loader is signed": "" if images.signatures(chain.loader) else "it has no signature",
        "the kernel is signed": "" if images.signatures(chain.kernel) else "it has no signature",
    }
    for name, reason in reasons.items():
        yield Case(name=name, outcome="failed" if reason else "passed", reason=reason)


def _first_image(setup: TrialSetup) -> str:
    """The path of the image that the firmware boots from a disk without a boot entry."""
    return f"EFI/BOOT/BOOT{parts.efi_name(setup.base.target).upper()}.EFI"


def _partition(setup: TrialSetup, shim: bytes, loader: bytes, kernel: bytes | None = None) -> dict[str, bytes]:
    """The files of a chain, by path. Without a kernel the loader prints its message and stops."""
    files = {
        _first_image(setup): shim,
        f"EFI/BOOT/grub{parts.efi_name(setup.base.target)}.efi": loader,
        f"EFI/{setup.chain.vendor}/grub.cfg": f"set timeout=0\necho {LOADED}\n".encode(),
    }
    if kernel is not None:
        commands = f"linux /vmlinuz {kernel_command_line(setup.machine)}\ninitrd /initrd\nboot\n"
        files[f"EFI/{setup.chain.vendor}/grub.cfg"] += commands.encode()
        files |= {"vmlinuz": kernel, "initrd": _initrd(setup)}
    return files


def _initrd(setup: TrialSetup) -> bytes:
    return setup.base.archive.read_bytes() + setup.chain.boot_modules()
