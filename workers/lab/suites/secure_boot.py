"""The ``secure-boot`` suite: what is signed boots with Secure Boot on, what is not is refused, by each link of the chain.

The chain is that of the packages under test, else Debian's (``uefi.parts``). A case passes by words on the console or by the
guest's report, never by a time limit. And the refusals have their control: the images of the chain that are refused boot
where Secure Boot is off, and there every check of the guest fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
from cryptography import x509

from config.models import Machine
from workers.base.errors import CannotRun, MalformedError
from workers.formats import fat
from workers.lab.guest import file_system, saved
from workers.lab.judge import judge
from workers.lab.machine import console
from workers.lab.machine.command_line import Boot, Drive, kernel_command_line
from workers.lab.machine.launch import Talk, anonymous, launched
from workers.lab.suites import Report, Request
from workers.lab.uefi import images, parts, signing, variables
from workers.repository.buildroot import staged_folder
from workers.results import Case

LOADED = "GRUB-CFG-LOADED"
"""What the boot loader says once the firmware has started the shim, and the shim it."""

Link = Literal["firmware", "shim", "loader"]

_FIRMWARE_SECONDS = 30.0  # of an idle machine with KVM, until the firmware, shim or loader has said something
_REFUSALS: Mapping[Link, re.Pattern[str]] = {
    # edk2, MdeModulePkg/Universal/BdsDxe: the status of LoadImage for what its trusted certificates do not vouch for
    "firmware": re.compile(r"BdsDxe: failed to load .*: (?:Access Denied|Security Violation)"),
    # shim.c, its loader's image
    "shim": re.compile(r"Verification failed: \(0x1A\) Security Violation"),
    # GRUB, by the shim's verdict on the kernel
    "loader": re.compile(r"bad shim signature"),
}
_SCRIPT_NAME = "checks.sh"

CHECKS = (
    "the firmware says that Secure Boot is on",
    "the kernel says that Secure Boot is on",
    "the kernel is locked down for integrity",
    "a module without its signature is refused",
)
_CONTROL = "the same module with its signature loads"
_SCRIPT = f"""
number=0
check() {{ # STATUS NAME
    number=$((number + 1))
    [ "$1" = 0 ] && echo "ok $number - $2" || echo "not ok $number - $2"
}}
echo 1..5
mount -t efivarfs efivarfs /sys/firmware/efi/efivars
mount -t securityfs securityfs /sys/kernel/security
# The first four bytes are attributes. busybox's od cannot skip them here: efivarfs does not seek.
value=$(tail -c 1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | od -An -tu1 | tr -d ' ')
[ "$value" = 1 ]; check $? "{CHECKS[0]}"
echo "# SecureBoot is ${{value:-not there}}"
said=$(dmesg | grep -i -E 'secure ?boot|locked down')
echo "$said" | grep -qi 'secure boot enabled'; check $? "{CHECKS[1]}"
echo "$said" | sed 's/^/# /'
grep -q '\\[integrity\\]' /sys/kernel/security/lockdown; check $? "{CHECKS[2]}"
echo "# lockdown: $(cat /sys/kernel/security/lockdown)"
answer=$(insmod /kitten/unsigned.ko 2>&1)
# Of an enforced signature: "Loading of unsigned module is rejected"; of lockdown: "unsigned module loading is restricted".
! grep -q '^{parts.PROBE_MODULE} ' /proc/modules && dmesg | tail -n 5 | grep -q 'unsigned module'; check $? "{CHECKS[3]}"
echo "# insmod: ${{answer:-no complaint}}; $(dmesg | tail -n 1)"
rmmod {parts.PROBE_MODULE} 2>/dev/null
answer=$(insmod /kitten/signed.ko 2>&1)
grep -q '^{parts.PROBE_MODULE} ' /proc/modules; check $? "{_CONTROL}"
echo "# insmod: ${{answer:-no complaint}}"
"""


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
class Lab:
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


def run(request: Request) -> Report:
    """Run the suite.

    :raises CannotRun: no firmware, no chain or half of one, no sbsign.
    :raises LaunchFailedError: when QEMU does not start.
    """
    try:
        return _run(request)
    except MalformedError as error:
        raise CannotRun(f"a part of the chain is damaged: {error}", "build the package again") from None


def _run(request: Request) -> Report:
    lab = _lab(request)
    vouched = signing.signers(lab.chain.shim, lab.microsoft)
    click.echo(f"the chain: {lab.chain.origin}; certificates behind its shim's signatures: {signatures_told(vouched)}")
    cases = list(signed_at_all(lab.chain, vouched))
    left = request.suite.timeout_seconds * saved.time_factor(lab.base)
    for trial in trials(lab, vouched, quick=request.quick):
        found = _attempt(lab, trial, left)
        left = max(0.0, left - found[0].seconds)
        click.echo(f"{found[0].seconds:6.1f} s  {trial.name}")
        cases += found
    cpu = lab.machine.cpu_under(lab.base.accelerator.name)
    facts = {"chain": lab.chain.origin, "shim signed by": signatures_told(vouched)}
    return Report.on(lab.base, cases, cpu=cpu, kernel=lab.chain.release, extra=facts)


def _lab(request: Request) -> Lab:
    target = request.target
    try:
        machine = target.machine.variant("secure-boot")
    except KeyError as error:
        raise CannotRun(f"{target.name}: {error.args[0]}", "add it to targets.yaml") from None
    base = file_system.base(target)
    staged = staged_folder(request.site, request.state, target)
    chain = parts.chain(target, (*request.packages, *request.extra), staged, request.scratch / "packages")
    return Lab(
        base=base,
        machine=machine,
        firmware=parts.firmware(target, machine),
        chain=chain,
        owner=signing.made("owner", request.scratch),
        stranger=signing.made("stranger", request.scratch),
        microsoft=variables.microsoft(),
        payload=file_system.payload_archive(
            tests={_SCRIPT_NAME: _SCRIPT.encode()},
            files={
                "/kitten/unsigned.ko": chain.unsigned_module,
                "/kitten/signed.ko": chain.modules[parts.PROBE_MODULE],
            },
        ),
        logs=request.logs,
        scratch=request.scratch,
    )


# ---------------------------------------------------------------------------------------------------- what is tried


def trials(lab: Lab, vouched: Sequence[frozenset[str]], *, quick: bool) -> Iterator[Trial]:
    """The boots of the suite, in order.

    :param vouched: for each signature of the shim, whose it is: ``signing.signers``.
    :param quick: the signed chain and the unsigned shim alone.
    """
    shim, loader, kernel = lab.chain.shim, lab.chain.loader, lab.chain.kernel
    unsigned = images.with_signatures(shim, ())
    everyone = tuple(lab.microsoft.values())
    yield Trial("signed chain", _partition(lab, shim, loader, kernel), everyone, until="report")
    yield Trial("unsigned shim", _partition(lab, unsigned, loader), everyone, refused_by="firmware")
    if quick:
        return
    bad_shim, bad_loader, bad_kernel = (images.tampered(image) for image in (shim, loader, kernel))
    yield Trial("tampered shim", _partition(lab, bad_shim, loader), everyone, refused_by="firmware")
    yield Trial("tampered loader", _partition(lab, shim, bad_loader), everyone, refused_by="shim")
    yield Trial(
        "tampered kernel", _partition(lab, shim, loader, bad_kernel), everyone, refused_by="loader", until="report"
    )
    all_bad = _partition(lab, images.tampered(unsigned), bad_loader, bad_kernel)
    yield Trial("without Secure Boot", all_bad, None, until="report", checks="fail")
    yield from _own_key(lab)
    yield from _certificates(lab, vouched)


def _own_key(lab: Lab) -> Iterator[Trial]:
    """A platform that trusts one key, which is its owner's, and a unified kernel image in place of the chain."""
    image = images.unified(
        parts.stub(lab.base.target),
        {
            ".osrel": b"ID=linux\nNAME=Linux\n",
            ".cmdline": kernel_command_line(lab.machine).encode(),
            ".uname": lab.chain.release.encode(),
            ".initrd": _initrd(lab),
            ".linux": lab.chain.kernel,
        },
    )
    place = _first_image(lab)
    own = (lab.owner.certificate,)
    signed, strange = (signing.signed(image, key, lab.scratch) for key in (lab.owner, lab.stranger))
    yield Trial("own key, signed UKI", {place: signed}, own, until="report")
    yield Trial("own key, unsigned UKI", {place: image}, own, refused_by="firmware", until="report")
    yield Trial("own key, UKI signed by another", {place: strange}, own, refused_by="firmware", until="report")


def _certificates(lab: Lab, vouched: Sequence[frozenset[str]]) -> Iterator[Trial]:
    """Firmware that trusts one of Microsoft's certificates, the other, both, none; and of two signatures each alone.

    What should come of it follows from whose signatures the shim carries.
    """
    shim, loader = lab.chain.shim, lab.chain.loader
    matrix = [(shim, vouched, "", years) for years in ((), ("2011",), ("2023",), ("2011", "2023"))]
    signatures = images.signatures(shim)
    if len(signatures) > 1:
        for signature, of in zip(signatures, vouched, strict=True):
            alone = images.with_signatures(shim, (signature,))
            words = f", shim signed by {signatures_told((of,))} alone"
            matrix += [(alone, (of,), words, (year,)) for year in ("2011", "2023")]
    for image, signers, words, years in matrix:
        trusted = [lab.owner.certificate, *(lab.microsoft[year] for year in years)]
        accepted = any(signer.intersection(years) for signer in signers)
        name = f"certificates {'+'.join(years) or 'none'}{words}"
        yield Trial(name, _partition(lab, image, loader), trusted, refused_by=None if accepted else "firmware")


def signatures_told(vouched: Sequence[frozenset[str]]) -> str:
    """Whose signatures a shim carries, for people: ``2011 and 2023``."""
    return " and ".join("/".join(sorted(of)) or "somebody else" for of in vouched) or "nobody"


def signed_at_all(chain: parts.Chain, vouched: Sequence[frozenset[str]]) -> Iterator[Case]:
    """Whether each link carries a signature: says in plain words why a chain that was never signed does not boot."""
    found = {
        "the shim is signed by Microsoft": "" if any(vouched) else f"it is signed by {signatures_told(vouched)}",
        "the loader is signed": "" if images.signatures(chain.loader) else "it carries no signature",
        "the kernel is signed": "" if images.signatures(chain.kernel) else "it carries no signature",
    }
    for name, reason in found.items():
        yield Case(name=name, outcome="failed" if reason else "passed", reason=reason)


def _first_image(lab: Lab) -> str:
    """Where the firmware looks on a disk it does not know."""
    return f"EFI/BOOT/BOOT{parts.efi_name(lab.base.target).upper()}.EFI"


def _partition(lab: Lab, shim: bytes, loader: bytes, kernel: bytes | None = None) -> dict[str, bytes]:
    """The files of a chain. Without a kernel the loader speaks and goes no further."""
    files = {
        _first_image(lab): shim,
        f"EFI/BOOT/grub{parts.efi_name(lab.base.target)}.efi": loader,
        f"EFI/{lab.chain.vendor}/grub.cfg": f"set timeout=0\necho {LOADED}\n".encode(),
    }
    if kernel is not None:
        words = f"linux /vmlinuz {kernel_command_line(lab.machine)}\ninitrd /initrd\nboot\n"
        files[f"EFI/{lab.chain.vendor}/grub.cfg"] += words.encode()
        files |= {"vmlinuz": kernel, "initrd": _initrd(lab)}
    return files


def _initrd(lab: Lab) -> bytes:
    return lab.base.archive.read_bytes() + lab.chain.boot_modules()


# ------------------------------------------------------------------------------------------------- what comes of it


def _attempt(lab: Lab, trial: Trial, left: float) -> tuple[Case, ...]:
    """Boot and listen; the first of the cases is the trial's own and has the seconds.

    :param left: seconds that the suite has left; waiting for room on this host takes none of them.
    """
    with contextlib.ExitStack() as stack:
        boot = _boot(lab, trial, stack)
        name = re.sub(r"[^a-z0-9]+", "-", trial.name.lower())
        running = stack.enter_context(launched(boot, lab.logs, name))
        begun = time.monotonic()
        running.go()
        limit = min(left, _FIRMWARE_SECONDS * saved.time_factor(lab.base))
        running.wait(lambda talk: answered(trial, talk), limit)
        case = verdict(trial, running.talk, limit)
        further: tuple[Case, ...] = ()
        if case.outcome == "passed" and trial.until == "report" and not trial.refused_by:
            saved.tell(running)
            limit = max(0.0, left - (time.monotonic() - begun))
            further = reported(trial, judge(running.finish(limit), limit))
        elif not running.talk.tap:
            (lab.logs / f"{name}-tap.log").unlink()  # it would only be looked into
        return (case.model_copy(update={"seconds": round(time.monotonic() - begun, 3)}), *further)


def _boot(lab: Lab, trial: Trial, stack: contextlib.ExitStack) -> Boot:
    code, template = lab.firmware
    store = template if trial.trusted is None else variables.trusting(template, lab.owner.certificate, trial.trusted)
    partition, size = fat.image(trial.files)
    files = []
    for content, least in ((store, 0), (partition, size), (lab.payload, 0)):
        files.append(anonymous(content, size=least))
        stack.callback(os.close, files[-1])
    flash, disk, payload = (f"/proc/self/fd/{file}" for file in files)
    return Boot(
        machine=lab.machine,
        accelerator=lab.base.accelerator.name,
        flash=(str(code), flash),
        drives=(Drive("esp", disk, boot_order=0), Drive("payload", payload)),
        inherited=tuple(files),
    )


def refusal(said: str) -> tuple[Link, str] | None:
    """Which link refused what it was to start, and its words; None: nobody did so far."""
    for line in said.splitlines():
        for link, words in _REFUSALS.items():
            if found := words.search(console.plain(line)):
                return link, found.group()
    return None


def answered(trial: Trial, talk: Talk) -> bool:
    """Whether a guest has said enough for a verdict."""
    said = talk.console.decode(errors="replace")
    return _booted(trial, talk) or refusal(said) is not None


def _booted(trial: Trial, talk: Talk) -> bool:
    if trial.until == "loader":
        return LOADED.encode() in talk.console
    return saved.is_ready(talk)


def verdict(trial: Trial, talk: Talk, limit: float) -> Case:
    """The trial's own case: whether it booted or was refused, as it should.

    :param limit: seconds it was given.
    """
    said = talk.console.decode(errors="replace")
    refused = refusal(said)
    wanted = f"refused by the {trial.refused_by}" if trial.refused_by else "boots"
    if _booted(trial, talk) and not refused:
        reason = f"nobody refused it: {trial.until}" if trial.refused_by else ""
    elif refused:
        link, words = refused
        reason = "" if link == trial.refused_by else f"the {link} refused it: {words}"
    else:
        last = next((line for line in map(console.plain, reversed(said.splitlines())) if line), "nothing")
        reason = f"nothing told within {limit:.0f} s whether it boots ({talk.ending or 'it still runs'}); its last line: {last}"
    tail = "\n".join(console.plain(line) for line in said.splitlines()[-40:]) if reason else ""
    return Case(name=f"{trial.name}: {wanted}", outcome="failed" if reason else "passed", reason=reason, console=tail)


def reported(trial: Trial, cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases of a guest's report under the trial's name; where none of the checks is to hold, what came of that."""
    named = {case.name.removeprefix(f"{_SCRIPT_NAME}: "): case for case in cases}
    if trial.checks == "hold":
        return tuple(case.model_copy(update={"name": f"{trial.name}: {name}"}) for name, case in named.items())
    hold = [name for name in CHECKS if name not in named or named[name].outcome != "failed"]
    others = [name for name, case in named.items() if name not in CHECKS and case.outcome != "passed"]
    wrong = [f"holds all the same: {name}" for name in hold] + [f"failed: {name}" for name in others]
    ours = f"{trial.name}: none of the checks holds"
    return (Case(name=ours, outcome="failed" if wrong else "passed", reason="; ".join(wrong)),)
