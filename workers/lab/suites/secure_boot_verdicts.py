"""The verdicts of the ``secure-boot`` suite: made of the console of a guest, and of the report of its checks."""

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
    # edk2, MdeModulePkg/Universal/BdsDxe: the status of LoadImage for what its trusted certificates do not vouch for
    "firmware": re.compile(r"BdsDxe: failed to load .*: (?:Access Denied|Security Violation)"),
    # shim.c, its loader's image
    "shim": re.compile(r"Verification failed: \(0x1A\) Security Violation"),
    # GRUB, by the shim's verdict on the kernel
    "loader": re.compile(r"bad shim signature"),
}
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


def refusal(said: str) -> tuple[Link, str] | None:
    """Which link refused what it was to start, and its words; None: nobody did so far."""
    for line in said.splitlines():
        for link, words in _REFUSALS.items():
            if found := words.search(console.plain(line)):
                return link, found.group()
    return None


def is_decided(trial: Trial, talk: Talk) -> bool:
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


def report_cases(trial: Trial, cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases of a guest's report under the trial's name; where none of the checks is to hold, what came of that."""
    named = {case.name.removeprefix(f"{SCRIPT_NAME}: "): case for case in cases}
    if trial.checks == "hold":
        return tuple(case.model_copy(update={"name": f"{trial.name}: {name}"}) for name, case in named.items())
    hold = [name for name in CHECKS if name not in named or named[name].outcome != "failed"]
    others = [name for name, case in named.items() if name not in CHECKS and case.outcome != "passed"]
    wrong = [f"holds all the same: {name}" for name in hold] + [f"failed: {name}" for name in others]
    ours = f"{trial.name}: none of the checks holds"
    return (Case(name=ours, outcome="failed" if wrong else "passed", reason="; ".join(wrong)),)
