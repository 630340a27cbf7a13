"""The boots of the ``secure-boot`` suite: which images, which trusted certificates, and what is expected of each."""

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
"""What the boot loader says once the firmware has started the shim, and the shim it."""

Link = Literal["firmware", "shim", "loader"]


@dataclass(frozen=True)
class Trial:
    """One boot and what should come of it."""

    name: str
    files: Mapping[str, bytes]
    """What lies on the system partition, by path."""
    trusted: Sequence[x509.Certificate] | None
    """Whose signatures the firmware accepts; None: it has no keys, Secure Boot is off."""
    refused_by: Link | None = None
    """Which link says no; None: it boots."""
    until: Literal["loader", "report"] = "loader"
    """What would show that nobody refused: that the boot loader speaks, or that the guest is ready and reports."""
    checks: Literal["hold", "fail"] = "hold"
    """Of a report: whether all of ``CHECKS`` are to hold, or none of them."""


@dataclass(frozen=True)
class TrialSetup:
    """What the trials share."""

    base: file_system.Base
    machine: Machine
    firmware: tuple[Path, Path]
    chain: parts.Chain
    owner: signing.Key
    """Of the platform: its firmware trusts this one beside Microsoft's, or alone."""
    stranger: signing.Key
    microsoft: Mapping[str, x509.Certificate]
    payload: bytes
    logs: Path
    scratch: Path


def trials(setup: TrialSetup, vouched: Sequence[frozenset[str]], *, quick: bool) -> Iterator[Trial]:
    """The boots of the suite, in order.

    :param vouched: for each signature of the shim, whose it is: ``signing.signers``.
    :param quick: the signed chain and the unsigned shim alone.
    """
    shim, loader, kernel = setup.chain.shim, setup.chain.loader, setup.chain.kernel
    unsigned = images.replace_signatures(shim, ())
    everyone = tuple(setup.microsoft.values())
    yield Trial("signed chain", _partition(setup, shim, loader, kernel), everyone, until="report")
    yield Trial("unsigned shim", _partition(setup, unsigned, loader), everyone, refused_by="firmware")
    if quick:
        return
    bad_shim, bad_loader, bad_kernel = (images.tamper(image) for image in (shim, loader, kernel))
    yield Trial("tampered shim", _partition(setup, bad_shim, loader), everyone, refused_by="firmware")
    yield Trial("tampered loader", _partition(setup, shim, bad_loader), everyone, refused_by="shim")
    yield Trial(
        "tampered kernel", _partition(setup, shim, loader, bad_kernel), everyone, refused_by="loader", until="report"
    )
    all_bad = _partition(setup, images.tamper(unsigned), bad_loader, bad_kernel)
    yield Trial("without Secure Boot", all_bad, None, until="report", checks="fail")
    yield from _own_key(setup)
    yield from _certificates(setup, vouched)


def _own_key(setup: TrialSetup) -> Iterator[Trial]:
    """A platform that trusts one key, which is its owner's, and a unified kernel image in place of the chain."""
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
    place = _first_image(setup)
    own = (setup.owner.certificate,)
    signed, strange = (signing.sign(image, key, setup.scratch) for key in (setup.owner, setup.stranger))
    yield Trial("own key, signed UKI", {place: signed}, own, until="report")
    yield Trial("own key, unsigned UKI", {place: image}, own, refused_by="firmware", until="report")
    yield Trial("own key, UKI signed by another", {place: strange}, own, refused_by="firmware", until="report")


def _certificates(setup: TrialSetup, vouched: Sequence[frozenset[str]]) -> Iterator[Trial]:
    """Firmware that trusts one of Microsoft's certificates, the other, both, none; and of two signatures each alone.

    What should come of it follows from whose signatures the shim carries.
    """
    shim, loader = setup.chain.shim, setup.chain.loader
    matrix = [(shim, vouched, "", years) for years in ((), ("2011",), ("2023",), ("2011", "2023"))]
    signatures = images.signatures(shim)
    if len(signatures) > 1:
        for signature, of in zip(signatures, vouched, strict=True):
            alone = images.replace_signatures(shim, (signature,))
            words = f", shim signed by {signer_names((of,))} alone"
            matrix += [(alone, (of,), words, (year,)) for year in ("2011", "2023")]
    for image, signers, words, years in matrix:
        trusted = [setup.owner.certificate, *(setup.microsoft[year] for year in years)]
        accepted = any(signer.intersection(years) for signer in signers)
        name = f"certificates {'+'.join(years) or 'none'}{words}"
        yield Trial(name, _partition(setup, image, loader), trusted, refused_by=None if accepted else "firmware")


def signer_names(vouched: Sequence[frozenset[str]]) -> str:
    """Whose signatures a shim carries, for people: ``2011 and 2023``."""
    return " and ".join("/".join(sorted(of)) or "somebody else" for of in vouched) or "nobody"


def signature_cases(chain: parts.Chain, vouched: Sequence[frozenset[str]]) -> Iterator[Case]:
    """Whether each link carries a signature: says in plain words why a chain that was never signed does not boot."""
    found = {
        "the shim is signed by Microsoft": "" if any(vouched) else f"it is signed by {signer_names(vouched)}",
        "the loader is signed": "" if images.signatures(chain.loader) else "it carries no signature",
        "the kernel is signed": "" if images.signatures(chain.kernel) else "it carries no signature",
    }
    for name, reason in found.items():
        yield Case(name=name, outcome="failed" if reason else "passed", reason=reason)


def _first_image(setup: TrialSetup) -> str:
    """Where the firmware looks on a disk it does not know."""
    return f"EFI/BOOT/BOOT{parts.efi_name(setup.base.target).upper()}.EFI"


def _partition(setup: TrialSetup, shim: bytes, loader: bytes, kernel: bytes | None = None) -> dict[str, bytes]:
    """The files of a chain. Without a kernel the loader speaks and goes no further."""
    files = {
        _first_image(setup): shim,
        f"EFI/BOOT/grub{parts.efi_name(setup.base.target)}.efi": loader,
        f"EFI/{setup.chain.vendor}/grub.cfg": f"set timeout=0\necho {LOADED}\n".encode(),
    }
    if kernel is not None:
        words = f"linux /vmlinuz {kernel_command_line(setup.machine)}\ninitrd /initrd\nboot\n"
        files[f"EFI/{setup.chain.vendor}/grub.cfg"] += words.encode()
        files |= {"vmlinuz": kernel, "initrd": _initrd(setup)}
    return files


def _initrd(setup: TrialSetup) -> bytes:
    return setup.base.archive.read_bytes() + setup.chain.boot_modules()
