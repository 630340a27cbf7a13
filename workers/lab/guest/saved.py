"""Saved guests: a guest boots once for each target, kernel and machine, and is restored for each test.

The guest's memory is a file, which QEMU maps shared while the guest boots. The guest waits at "ready" (init.sh). QEMU
writes the rest of its state, some kilobytes, to a second file. A restored guest maps the memory file private: the
kernel reads only the pages that the test uses and never writes to the file, and any number of guests share unchanged
pages. (QEMU's capability x-ignore-shared, as for templates of virtual machines.) The "go" message brings everything
that must be new in each guest: the seed of random numbers, the time, the host name and the machine id.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from config.identity import identity_of
from workers.base import cache
from workers.base.run import require
from workers.lab.guest import seed
from workers.lab.guest.accelerator import READY
from workers.lab.guest.file_system import Base
from workers.lab.guest.file_system import for_image as guest_archive
from workers.lab.machine import cloud_images
from workers.lab.machine.command_line import Boot, Drive, arguments
from workers.lab.machine.launch import Guest, LaunchFailedError, Talk, anonymous_file, launch_guest
from workers.lab.machine.qmp import QmpError

_DRIVE_BYTES = 8 << 30  # mostly a hole; the same size for every payload, since a saved guest has read the size
_MEMORY_CLASSES = (512, 1024, 2048, 4096, 8192, 16384, 32768)  # MiB; each has its own saved guest
_BOOT_SECONDS = 60.0  # from the start to "ready", on an idle host with KVM
_RESTORE_SECONDS = 6.0  # for QEMU to read a saved state, on an idle host with KVM
_ANSWER_SECONDS = 60.0  # from "go" to the guest's answer, on any host
_GO = b"# GO\n"
_UNUSED_DAYS = 14
_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]


def memory_for(base: Base, payload: int) -> int:
    """Return the memory in MiB of a guest for a payload, which it unpacks to files in memory.

    The machine's default has room for a small payload, in a quarter of it. The memory grows in steps, so that few
    guests are saved.

    :param payload: size in bytes.
    """
    needed = 0.75 * base.target.machine.memory_mib + 1.25 * payload / (1 << 20)
    least = max(needed, base.target.machine.memory_mib)
    return next((size for size in _MEMORY_CLASSES if size >= least), int(least))


@contextlib.contextmanager
def start_guest(
    base: Base,
    payload: bytes,
    logs: Path | None = None,
    name: str = "guest",
    *,
    fresh: bool = False,
    room: int = 0,
    arguments: Sequence[str] = (),
    inherited: Sequence[int] = (),
) -> Iterator[Guest]:
    """Start a guest with this payload, restored if possible, for the length of a block. Its tests run at once.

    :param payload: from ``file_system.payload_archive``.
    :param room: bytes that the test will write in addition.
    :param fresh: boot the guest, even if a saved one exists.
    :param arguments: further QEMU arguments: a port, a network card.
    :param inherited: the descriptors that these arguments name; the caller closes them.
    :raises LaunchFailedError: if QEMU does not start, or the guest is not ready in time.
    """
    with contextlib.ExitStack() as stack:
        drive = anonymous_file(payload, size=_DRIVE_BYTES)
        stack.callback(os.close, drive)
        if base.image:
            boot = _image_boot(stack, base, base.image, drive, arguments, inherited)
        else:
            boot = _boot(base, memory_for(base, len(payload) + room), drive, arguments, inherited)
        guest = None
        if not fresh and not base.image and (folder := _saved_folder(base, boot)):
            guest = _restore(stack, folder, base, boot, logs, name)
        if guest is None:
            guest = stack.enter_context(launch_guest(boot, logs, name))
            guest.go()
            await_ready(guest, time_factor(base))
            send_go(guest)
        yield guest


def _boot(base: Base, memory_mib: int, drive: int, further: Sequence[str] = (), inherited: Sequence[int] = ()) -> Boot:
    return Boot(
        machine=base.target.machine,
        accelerator=base.accelerator.name,
        kernel=base.parts.kernel,
        initrd=str(base.archive),
        memory_mib=memory_mib,
        drives=(Drive("payload", f"/proc/self/fd/{drive}"),),
        arguments=tuple(further),
        inherited=(drive, *inherited),
    )


def _image_boot(
    stack: contextlib.ExitStack, base: Base, image: Path, payload: int, further: Sequence[str], inherited: Sequence[int]
) -> Boot:
    """Return what to boot for a cloud image: its own overlay of the image, the seed, and the payload."""
    machine = base.target.machine
    if machine.image and machine.image.variant:
        machine = machine.variant(machine.image.variant)
    busybox = next(program for program in base.parts.programs if program.name == "busybox")
    name = f"kitten-{secrets.token_hex(4)}"
    system = cloud_images.overlay(image)
    stack.callback(os.close, system)
    identity = anonymous_file(seed.image(name, guest_archive(base), busybox.read_bytes()))
    stack.callback(os.close, identity)
    return Boot(
        machine=machine,
        accelerator=base.accelerator.name,
        drives=(
            Drive("system", f"/proc/self/fd/{system}", writable=True, format="qcow2", boot_order=0),
            Drive("seed", f"/proc/self/fd/{identity}"),
            Drive("payload", f"/proc/self/fd/{payload}"),
        ),
        arguments=tuple(further),
        inherited=(system, identity, payload, *inherited),
    )


def send_go(guest: Guest) -> None:
    """Send "go" to a guest that is ready, with a new random seed, the time, and a new name.

    Sometimes a guest (Linux 6.12 on QEMU 7.2) does not see data on its port until more data comes. So an empty line
    follows every second until it answers.

    :raises LaunchFailedError: if the guest runs, but does not answer.
    """
    seed, now = secrets.token_hex(32), time.time()
    guest.send(f"go {seed} {now:.0f} kitten-{seed[:8]}\n".encode())
    until = time.monotonic() + _ANSWER_SECONDS
    while guest.wait(lambda talk: _GO in talk.tap, 1.0) == "timeout":
        if time.monotonic() > until:
            raise LaunchFailedError(
                f"the guest did not answer within {_ANSWER_SECONDS:.0f} s when its tests should start\n"
                f"{guest.talk.command_line}"
            )
        guest.send(b"\n")


def is_ready(talk: Talk) -> bool:
    """Return whether a guest has printed its whole "ready" line."""
    return READY in talk.tap and talk.tap.endswith(b"\n")


def await_ready(guest: Guest, factor: float) -> None:
    """Wait until a booting guest is ready for "go".

    :param factor: the factor for the time limit, compared with idle hardware and KVM.
    :raises LaunchFailedError: if the guest is not ready in time.
    """
    limit = _BOOT_SECONDS * factor
    if ending := guest.wait(is_ready, limit):
        last = guest.talk.console.decode(errors="replace").strip().splitlines()[-1:] or ["nothing on its console"]
        raise LaunchFailedError(
            f"the guest was not ready within {limit:.0f} s ({ending}: {last[0][:200]})\n{guest.talk.command_line}"
        )


def time_factor(base: Base) -> float:
    """Return the factor for time limits of the guest, compared with idle hardware and KVM."""
    return base.accelerator.time_factor * (base.target.machine.time_factor if base.accelerator.name == "tcg" else 1.0)


# ------------------------------------------------------------------------------------------------- the saved state


def _saved_folder(base: Base, boot: Boot) -> Path | None:
    """Return the folder of the saved guest; save one if needed; None if that fails."""
    key = f"{base.target.name}-{boot.memory}-{_key(boot)[:16]}"
    try:
        folder = cache.entry("saved", key, lambda at: _save(base, boot, at))
    except (LaunchFailedError, QmpError) as error:
        print(f"no guest of {base.target.name} could be saved: {str(error).splitlines()[0]}", flush=True)  # noqa: T201
        return None
    with contextlib.suppress(OSError):
        os.utime(folder / "state")  # `_remove_unused` reads the time of the last use
    return folder


def _key(boot: Boot) -> str:
    """Return a hash of everything a state depends on: QEMU, its command line, and under KVM the host's processor."""
    emulator = Path(require(boot.machine.emulator, boot.machine.emulator)).stat()
    plain = dataclasses.replace(boot, drives=(Drive("payload", "payload"),), inherited=())
    processor = ""
    if boot.accelerator == "kvm":
        text = Path("/proc/cpuinfo").read_text()
        processor = "".join(sorted(set(re.findall(r"^(?:model name|flags|Features|cpu)\s*:.*$", text, re.MULTILINE))))
    return identity_of(
        {
            "command": arguments(plain, 0, 0, 0),
            "emulator": [emulator.st_size, emulator.st_mtime_ns],
            "host": [platform.machine(), processor],
        }
    )


def _save(base: Base, boot: Boot, folder: Path) -> None:
    _remove_unused(folder.parent)
    print(f"booting a guest of {base.target.name}, to save its state for the next tests", flush=True)  # noqa: T201
    with launch_guest(dataclasses.replace(boot, memory_file=folder / "memory"), name="to be saved") as guest:
        guest.go()
        await_ready(guest, time_factor(base))
        guest.stop()
        guest.qmp.command("migrate-set-capabilities", capabilities=_CAPABILITIES)
        with (folder / "state").open("wb") as state:
            guest.qmp.command("getfd", files=[state.fileno()], fdname="state")
            guest.qmp.command("migrate", uri="fd:state")
            until = time.monotonic() + _BOOT_SECONDS
            while (status := guest.qmp.command("query-migrate").get("status")) != "completed":
                if status in ("failed", "cancelled") or time.monotonic() > until:
                    raise QmpError(f"QEMU did not save the guest: {status}")
                time.sleep(0.01)


def _restore(
    stack: contextlib.ExitStack, folder: Path, base: Base, boot: Boot, logs: Path | None, name: str
) -> Guest | None:
    """Restore the saved guest and send "go". If the state does not fit, remove it and return None."""
    attempt = contextlib.ExitStack()
    try:
        incoming = dataclasses.replace(boot, memory_file=folder / "memory", incoming=True)
        guest = attempt.enter_context(launch_guest(incoming, logs, name))
        guest.qmp.command("migrate-set-capabilities", capabilities=_CAPABILITIES)
        with (folder / "state").open("rb") as state:
            guest.qmp.command("getfd", files=[state.fileno()], fdname="state")
            guest.qmp.command("migrate-incoming", uri="fd:state")
            until = time.monotonic() + _RESTORE_SECONDS * time_factor(base)
            while guest.qmp.command("query-status")["status"] == "inmigrate" and time.monotonic() < until:
                time.sleep(0.002)
        guest.go()
        try:
            send_go(guest)
        except LaunchFailedError as error:
            raise QmpError(str(error)) from None
        if _GO not in guest.talk.tap:
            raise QmpError(f"the restored guest did not answer ({guest.talk.ending})")
    except (LaunchFailedError, QmpError, FileNotFoundError) as error:
        attempt.close()
        reason = str(error).splitlines()[0]
        print(f"the saved guest of {base.target.name} does not fit, booting: {reason}", flush=True)  # noqa: T201
        if not isinstance(error, LaunchFailedError):  # that one has other causes, such as no memory: keep the state
            shutil.rmtree(folder, ignore_errors=True)
        return None
    except BaseException:
        attempt.close()
        raise
    stack.push(attempt)
    return guest


def _remove_unused(kind: Path) -> None:
    """Remove the saved guests that no test has used for ``_UNUSED_DAYS``: those of older kernels and QEMUs."""
    oldest = time.time() - _UNUSED_DAYS * 24 * 3600
    for state in kind.glob("*/state"):
        with contextlib.suppress(OSError):
            if state.stat().st_mtime < oldest:
                shutil.rmtree(state.parent, ignore_errors=True)
