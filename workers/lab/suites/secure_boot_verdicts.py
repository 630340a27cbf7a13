"""The verdicts of the ``secure-boot`` suite, from the console of a guest and the report of its checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from workers.lab.guest import saved
from workers.lab.machine import console
from workers.lab.machine.launch import Talk
from workers.lab.suites.secure_boot_trials import LOADED, Link, Trial
from workers.lab.uefi import parts
from workers.results import Case

_REFUSALS: Mapping[Link, re.Pattern[str]] = {
    # edk2, MdeModulePkg/Universal/BdsDxe: the status of LoadImage for an image that no trusted certificate covers
    "firmware": re.compile(r"BdsDxe: failed to load .*: (?:Access Denied|Security Violation)"),
    # shim.c, about the image of the loader
    "shim": re.compile(r"Verification failed: \(0x1A\) Security Violation"),
    # GRUB, after the shim checked the kernel
    "loader": re.compile(r"bad shim signature"),
}
_BOOT_PROOFS = {"loader": "the boot loader started", "report": "the guest is ready to report"}
SCRIPT_NAME = "checks.sh"

CHECKS = (
    "the firmware says that Secure Boot is on",
    "the kernel says that Secure Boot is on",
    "the kernel is locked down for integrity",
    "a module without its signature is refused",
)
_CONTROL = "the same module with its signature loads"
SCRIPT = f"""
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
echo "# SecureBoot is ${{value:-not set}}"
messages=$(dmesg | grep -i -E 'secure ?boot|locked down')
echo "$messages" | grep -qi 'secure boot enabled'; check $? "{CHECKS[1]}"
echo "$messages" | sed 's/^/# /'
grep -q '\\[integrity\\]' /sys/kernel/security/lockdown; check $? "{CHECKS[2]}"
echo "# lockdown: $(cat /sys/kernel/security/lockdown)"
answer=$(insmod /kitten/unsigned.ko 2>&1)
# A kernel that enforces signatures prints "Loading of unsigned module is rejected", lockdown prints "unsigned module
# loading is restricted".
! grep -q '^{parts.PROBE_MODULE} ' /proc/modules && dmesg | tail -n 5 | grep -q 'unsigned module'
check $? "{CHECKS[3]}"
echo "# insmod: ${{answer:-no complaint}}; $(dmesg | tail -n 1)"
rmmod {parts.PROBE_MODULE} 2>/dev/null
answer=$(insmod /kitten/signed.ko 2>&1)
grep -q '^{parts.PROBE_MODULE} ' /proc/modules; check $? "{_CONTROL}"
echo "# insmod: ${{answer:-no complaint}}"
"""


def refusal(text: str) -> tuple[Link, str] | None:
    """The link that refused the next one, and its message; None if no link refused so far.

    :param text: the console.
    """
    for line in text.splitlines():
        for link, pattern in _REFUSALS.items():
            if found := pattern.search(console.plain(line)):
                return link, found.group()
    return None


def is_decided(trial: Trial, talk: Talk) -> bool:
    """Check whether the output of a guest is enough for a verdict."""
    return _has_booted(trial, talk) or refusal(talk.console.decode(errors="replace")) is not None


def _has_booted(trial: Trial, talk: Talk) -> bool:
    if trial.until == "loader":
        return LOADED.encode() in talk.console
    return saved.is_ready(talk)


def verdict(trial: Trial, talk: Talk, limit: float) -> Case:
    """Make the case of a trial: it booted, or was refused by the expected link.

    :param limit: seconds that the guest had.
    """
    text = talk.console.decode(errors="replace")
    refused = refusal(text)
    wanted = f"refused by the {trial.refused_by}" if trial.refused_by else "boots"
    if _has_booted(trial, talk) and not refused:
        reason = f"no link refused it: {_BOOT_PROOFS[trial.until]}" if trial.refused_by else ""
    elif refused:
        link, message = refused
        reason = "" if link == trial.refused_by else f"the {link} refused it: {message}"
    else:
        last = next((line for line in map(console.plain, reversed(text.splitlines())) if line), "none")
        state = talk.ending or "it still runs"
        reason = f"no message within {limit:.0f} s shows whether it boots ({state}); its last line: {last}"
    tail = "\n".join(console.plain(line) for line in text.splitlines()[-40:]) if reason else ""
    return Case(name=f"{trial.name}: {wanted}", outcome="failed" if reason else "passed", reason=reason, console=tail)


def report_cases(trial: Trial, cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases of a guest's report, named after the trial. If every check must fail, one case for all checks."""
    named = {case.name.removeprefix(f"{SCRIPT_NAME}: "): case for case in cases}
    if trial.checks == "pass":
        return tuple(case.model_copy(update={"name": f"{trial.name}: {name}"}) for name, case in named.items())
    passed = [name for name in CHECKS if name not in named or named[name].outcome != "failed"]
    others = [name for name, case in named.items() if name not in CHECKS and case.outcome != "passed"]
    wrong = [f"did not fail: {name}" for name in passed] + [f"failed: {name}" for name in others]
    summary = f"{trial.name}: every check fails"
    return (Case(name=summary, outcome="failed" if wrong else "passed", reason="; ".join(wrong)),)
