"""Saved guests: booted once for each target, kernel and machine, and brought back for each test.

A guest's memory is a file. The guest boots with it shared, waits at "ready" (init.sh), and QEMU writes what is not memory,
some kilobytes, beside it. Brought back, the file is mapped private: nothing is read that the test does not touch, nothing is
ever written, and any number of guests share what they only read. (QEMU's x-ignore-shared capability, as virtual-machine
templates use it.) What must be fresh is: the seed of random numbers, the clock, host name and machine id, told in "go".
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

_DRIVE_BYTES = 8 << 30  # a hole for the most part; the same for every payload, since a saved guest knows its size
_MEMORY_CLASSES = (512, 1024, 2048, 4096, 8192, 16384, 32768)  # MiB; each is saved by itself
_BOOT_SECONDS = 60.0  # of an idle machine with KVM, until "ready"
_RESTORE_SECONDS = 6.0  # of the same, for QEMU to read a saved state
_HEAR_SECONDS = 60.0  # from "go" to the guest's answer, on any machine
_GO = b"# GO\n"
_UNUSED_DAYS = 14
_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]


def memory_for(base: Base, payload: int) -> int:
    """Memory in MiB of a guest that holds a payload of so many bytes, as files.

    A quarter of the machine's own has room for a small one. What it may be is in steps, so that few states are saved.
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
    """A guest that has been told to go, with this payload, for the length of a block.

    :param payload: ``guest.payload_archive``.
    :param room: bytes that the test will write besides.
    :param fresh: boot it, even where a saved one is at hand.
    :param arguments: further ones of QEMU: a port, a network card.
    :param inherited: descriptors they name; the caller's to close.
    :raises LaunchFailedError: when QEMU does not start, or the guest never says it is ready.
    """
    with contextlib.ExitStack() as stack:
        drive = anonymous_file(payload, size=_DRIVE_BYTES)
        stack.callback(os.close, drive)
        if base.image:
            boot = _image_boot(stack, base, base.image, drive, arguments, inherited)
        else:
            boot = _boot(base, memory_for(base, len(payload) + room), drive, arguments, inherited)
        guest = None
        if not fresh and not base.image and (folder := _saved(base, boot)):
            guest = _restored(stack, folder, base, boot, logs, name)
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
    """A guest of a cloud image, on a disk of its own that begins as the image."""
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
    """Let a guest that is ready go: with a seed, the time, and a name of its own.

    Now and then a guest sleeps although its port has data, until more comes (Linux 6.12 on QEMU 7.2): so more does come.

    :raises LaunchFailedError: when it runs on and does not hear.
    """
    seed, now = secrets.token_hex(32), time.time()
    guest.send(f"go {seed} {now:.0f} kitten-{seed[:8]}\n".encode())
    until = time.monotonic() + _HEAR_SECONDS
    while guest.wait(lambda talk: _GO in talk.tap, 1.0) == "timeout":
        if time.monotonic() > until:
            raise LaunchFailedError(f"the guest did not hear that it may go\n{guest.talk.command_line}")
        guest.send(b"\n")


def is_ready(talk: Talk) -> bool:
    """Whether a guest has said that it is ready, to the end of the line."""
    return READY in talk.tap and talk.tap.endswith(b"\n")


def await_ready(guest: Guest, factor: float) -> None:
    """Wait until a guest that runs says it is ready to be told to go.

    :param factor: how much more time it gets than on idle hardware with KVM.
    :raises LaunchFailedError: when it never does.
    """
    limit = _BOOT_SECONDS * factor
    if ending := guest.wait(is_ready, limit):
        last = guest.talk.console.decode(errors="replace").strip().splitlines()[-1:] or ["nothing on its console"]
        raise LaunchFailedError(
            f"the guest was not ready within {limit:.0f} s ({ending}: {last[0][:200]})\n{guest.talk.command_line}"
        )


def time_factor(base: Base) -> float:
    """How much more time a guest gets than on idle hardware with KVM."""
    return base.accelerator.time_factor * (base.target.machine.time_factor if base.accelerator.name == "tcg" else 1.0)


# ------------------------------------------------------------------------------------------------- the saved state


def _saved(base: Base, boot: Boot) -> Path | None:
    """Folder of the saved guest, made first if it is not there; none where one cannot be made."""
    key = f"{base.target.name}-{boot.memory}-{_key(boot)[:16]}"
    try:
        folder = cache.entry("saved", key, lambda at: _save(base, boot, at))
    except (LaunchFailedError, QmpError) as error:
        print(f"no guest of {base.target.name} could be saved: {str(error).splitlines()[0]}", flush=True)  # noqa: T201
        return None
    with contextlib.suppress(OSError):
        os.utime(folder / "state")  # it is in use: `_forget` goes by this
    return folder


def _key(boot: Boot) -> str:
    """Hash of all a state depends on: QEMU, its command line, what it booted, and under KVM the host's processor."""
    emulator = Path(require(boot.machine.emulator, boot.machine.emulator)).stat()
    plain = dataclasses.replace(boot, drives=(Drive("payload", "payload"),), inherited=())
    processor = ""
    if boot.accelerator == "kvm":
        words = Path("/proc/cpuinfo").read_text()
        processor = "".join(sorted(set(re.findall(r"^(?:model name|flags|Features|cpu)\s*:.*$", words, re.MULTILINE))))
    return identity_of(
        {
            "command": arguments(plain, 0, 0, 0),
            "emulator": [emulator.st_size, emulator.st_mtime_ns],
            "host": [platform.machine(), processor],
        }
    )


def _save(base: Base, boot: Boot, folder: Path) -> None:
    _forget(folder.parent)
    print(f"booting a guest of {base.target.name}, to be saved for the next", flush=True)  # noqa: T201
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


def _restored(
    stack: contextlib.ExitStack, folder: Path, base: Base, boot: Boot, logs: Path | None, name: str
) -> Guest | None:
    """The saved guest, running and told; none where the state does not fit, which is then thrown away."""
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
        print(f"the saved guest of {base.target.name} does not fit, booting: {str(error).splitlines()[0]}", flush=True)  # noqa: T201
        if not isinstance(error, LaunchFailedError):  # no QEMU, no memory: that says nothing of the state
            shutil.rmtree(folder, ignore_errors=True)
        return None
    except BaseException:
        attempt.close()
        raise
    stack.push(attempt)
    return guest


def _forget(kind: Path) -> None:
    """Remove the saved guests nobody has used for long: those of kernels and QEMUs that are gone."""
    oldest = time.time() - _UNUSED_DAYS * 24 * 3600
    for state in kind.glob("*/state"):
        with contextlib.suppress(OSError):
            if state.stat().st_mtime < oldest:
                shutil.rmtree(state.parent, ignore_errors=True)
