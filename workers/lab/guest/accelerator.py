"""The accelerator of a target's guests on this host: KVM if it works, else software emulation (TCG); with the reason.

A /dev/kvm that exists may still not work: on some hosts it answers every call, but no kernel boots beyond its
decompressor. So the lab boots a guest under KVM with a time limit, once after each boot of the host, and caches the
answer.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from config.models import EMULATION_FACTOR, Target
from workers.base import cache
from workers.lab.guest.kernel import GuestParts
from workers.lab.machine import launch
from workers.lab.machine.command_line import Boot

READY = b"# READY "
"""A guest prints this on its TAP port when it is ready (init.sh)."""

_DEVICE = Path("/dev/kvm")
_PROBE_SECONDS = 30.0  # on an idle host a guest is ready within two seconds under KVM


@dataclass(frozen=True)
class Accelerator:
    """An accelerator, and the reason for its choice."""

    name: Literal["kvm", "tcg"]
    reason: str

    @property
    def time_factor(self) -> float:
        """The factor for time limits, compared with idle hardware."""
        return EMULATION_FACTOR if self.name == "tcg" else 1.0


def choose(target: Target, parts: GuestParts, base: Path) -> Accelerator:
    """Choose the accelerator for a target's guests on this host. Boot a guest to try KVM, if KVM might work."""
    if reason := obstacle(target):
        return Accelerator("tcg", reason)
    answer = answer_file(target.machine_arch)
    with cache.hold_lock(answer.with_name(f".{answer.name}.lock")):
        if not answer.exists():
            temporary = answer.with_suffix(".partial")
            temporary.write_text(json.dumps(asdict(_probe(target, parts, base))))
            temporary.replace(answer)
        return Accelerator(**json.loads(answer.read_text()))


def answer_file(arch: str) -> Path:
    """Return the path of the cached answer for this boot of this host."""
    host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return cache.root() / "kvm" / f"{arch}-{host}.json"


def obstacle(target: Target, host_arch: str = "") -> str:
    """Return why KVM cannot run the target's guests here, without a trial; empty if it might.

    :param host_arch: the architecture of the host, if it is not this host.
    """
    host_arch = host_arch or platform.machine()
    if target.machine_arch != host_arch:
        return f"a {host_arch} host does not run {target.machine_arch} code"
    if not _DEVICE.exists():
        return f"this host has no {_DEVICE}"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return f"this user may not open {_DEVICE}"
    return ""


def _probe(target: Target, parts: GuestParts, base: Path) -> Accelerator:
    print(f"trying KVM with a guest of {target.name}, at most {_PROBE_SECONDS:.0f} s", flush=True)  # noqa: T201
    boot = Boot(target.machine, "kvm", parts.kernel, str(base))
    try:
        with launch.launch_guest(boot, name="kvm-probe") as guest:
            guest.go()
            ending = guest.wait(lambda talk: talk.tap.startswith(READY), _PROBE_SECONDS)
            talk = guest.talk
    except launch.LaunchFailedError as error:
        return Accelerator("tcg", f"KVM does not start a guest: {str(error).splitlines()[0]}")
    if talk.tap.startswith(READY):
        return Accelerator("kvm", "a guest booted under KVM")
    last = talk.console.decode(errors="replace").strip().splitlines()[-1:] or ["nothing on its console"]
    return Accelerator(
        "tcg", f"this host has {_DEVICE}, but a guest did not boot under KVM ({ending}: {last[0][:120]})"
    )
