"""KVM where it works, software emulation (TCG) by name where it does not; always with the reason.

That /dev/kvm exists proves nothing: on some hosts it answers every call and no kernel gets past its decompressor. So a
kernel is booted under a time limit, once per host and boot of the host, and the answer kept.
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
"""What a guest says when it has come as far as its TAP port (init.sh)."""

_DEVICE = Path("/dev/kvm")
_PROBE_SECONDS = 30.0  # a guest that KVM runs is there within two, on an idle host


@dataclass(frozen=True)
class Accelerator:
    """What runs the guest, and why that."""

    name: Literal["kvm", "tcg"]
    reason: str

    @property
    def time_factor(self) -> float:
        """How much more time than on idle hardware a guest gets."""
        return EMULATION_FACTOR if self.name == "tcg" else 1.0


def choose(target: Target, parts: GuestParts, base: Path) -> Accelerator:
    """The accelerator for a target's guests on this host. Boots one of them where KVM might work."""
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
    """Where the answer of this host, since it was booted, is kept."""
    host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return cache.root() / "kvm" / f"{arch}-{host}.json"


def obstacle(target: Target, host_arch: str = "") -> str:
    """Why KVM cannot run the target's guests here, as far as that can be told without trying; empty if it might.

    :param host_arch: of another host.
    """
    host_arch = host_arch or platform.machine()
    if target.machine_arch != host_arch:
        return f"a {host_arch} host does not run {target.machine_arch} code"
    if not _DEVICE.exists():
        return f"there is no {_DEVICE}"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return f"{_DEVICE} is not open to this user"
    return ""


def _probe(target: Target, parts: GuestParts, base: Path) -> Accelerator:
    print(f"trying KVM with a guest of {target.name}, at most {_PROBE_SECONDS:.0f} s", flush=True)  # noqa: T201
    boot = Boot(target.machine, "kvm", parts.kernel, str(base))
    try:
        with launch.launched(boot, name="kvm-probe") as guest:
            guest.go()
            ending = guest.wait(lambda talk: talk.tap.startswith(READY), _PROBE_SECONDS)
            talk = guest.talk
    except launch.LaunchFailedError as error:
        return Accelerator("tcg", f"KVM does not start a guest: {str(error).splitlines()[0]}")
    if talk.tap.startswith(READY):
        return Accelerator("kvm", "a guest booted under it")
    last = talk.console.decode(errors="replace").strip().splitlines()[-1:] or ["nothing on its console"]
    return Accelerator("tcg", f"/dev/kvm is there, but a guest did not boot under it ({ending}: {last[0][:120]})")
