"""Guests are counted on each host, in memory and cores, over all commands that run there: it is never asked for more than it has.

A lease is a file on which its holder keeps a lock, so that a killed holder's ends with it. Who asks waits in line, first
come first served. A command holds one lease at a time, or two of them could wait for each other for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from workers.base import cache
from workers.base.errors import CannotRun

_OVERHEAD_MIB = 256  # of QEMU itself, its translated code above all
_SHARE_OF_MEMORY = 0.75  # the rest is the builds' and the system's
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS, _TELL_SECONDS = 1.0, 60.0  # when a wait is first told of, and then again


@dataclass(frozen=True)
class Lease:
    """What one guest takes."""

    memory_mib: int
    cores: int
    what: str
    pid: int
    since: float
    """Seconds since 1970."""
    held: bool = False
    """False: its owner waits."""


@dataclass(frozen=True)
class Capacity:
    """What this host gives to guests."""

    memory_mib: int
    cores: int


def capacity() -> Capacity:
    """``$KITTEN_LAB_MEMORY`` (MiB) and ``$KITTEN_LAB_CORES``; else three quarters of the memory and every core."""
    memory = _from_environment("KITTEN_LAB_MEMORY") or int(_memory_bytes() * _SHARE_OF_MEMORY) >> 20
    return Capacity(memory, _from_environment("KITTEN_LAB_CORES") or len(os.sched_getaffinity(0)))


@contextlib.contextmanager
def held(memory_mib: int, cores: int, what: str) -> Iterator[None]:
    """Hold a lease for the length of a block; waits until the host has room.

    :param memory_mib: of the guest; QEMU's own comes on top.
    :param what: for people: who asks, and for what.
    :raises CannotRun: when the host could never hold it.
    """
    limit = capacity()
    memory_mib += _OVERHEAD_MIB
    if memory_mib > limit.memory_mib:
        raise CannotRun(
            f"a guest of {memory_mib} MiB does not fit: guests have {limit.memory_mib} MiB on this host",
            "run it where there is more, or raise KITTEN_LAB_MEMORY (MiB)",
        )
    since = time.time()
    asked = Lease(memory_mib, min(cores, limit.cores), what, os.getpid(), since)
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = _queue(folder, asked)
    try:
        tell = since + _PATIENCE_SECONDS
        while not _granted(folder, descriptor, name, asked, limit):
            if time.time() > tell:
                tell = time.time() + _TELL_SECONDS
                print(f"waiting for room for a guest of {memory_mib} MiB ({what})", flush=True)  # noqa: T201
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        (folder / name).unlink(missing_ok=True)
        os.close(descriptor)


def current() -> tuple[Lease, ...]:
    """All leases and those who wait, in the order of asking."""
    folder = _folder()
    if not folder.is_dir():
        return ()
    with cache.hold_lock(folder / ".lock"):
        return tuple(lease for _, lease in _living(folder))


def _folder() -> Path:
    return cache.root() / "leases"


def _queue(folder: Path, asked: Lease) -> tuple[int, str]:
    """Put a request at the end of the line; its descriptor carries the lock."""
    with cache.hold_lock(folder / ".lock"):
        name = f"{time.time_ns():020d}-{os.getpid()}"
        descriptor = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # on the record itself: others read it (docs/adr/0007-locks.md)
        _write(descriptor, asked)
        return descriptor, name


def _granted(folder: Path, descriptor: int, name: str, asked: Lease, limit: Capacity) -> bool:
    with cache.hold_lock(folder / ".lock"):
        living = _living(folder)
        waiting = [other for other, lease in living if not lease.held]
        taken = [lease for _, lease in living if lease.held]
        if waiting[:1] != [name]:
            return False
        memory = sum(lease.memory_mib for lease in taken) + asked.memory_mib
        cores = sum(lease.cores for lease in taken) + asked.cores
        if memory > limit.memory_mib or cores > limit.cores:
            return False
        _write(descriptor, Lease(**{**asdict(asked), "held": True}))
        return True


def _write(descriptor: int, lease: Lease) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(lease)).encode(), 0)


def _living(folder: Path) -> list[tuple[str, Lease]]:
    """The leases whose holders live, oldest first; those of dead ones are removed. Called under the lock."""
    found = []
    for path in sorted(folder.glob("[0-9]*")):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue  # its holder ended since the folder was listed
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append((path.name, Lease(**json.loads(file.read()))))
            else:
                path.unlink(missing_ok=True)
    return found


def _from_environment(name: str) -> int:
    text = os.environ.get(name, "")
    if not text:
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise CannotRun(f"{name} is {text!r}", "give a whole number above 0, or unset it")
    return int(text)


def _memory_bytes() -> int:
    """Of the host, or of the control group this process is confined to."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return host
    return min(host, int(limit)) if limit.isdecimal() else host
