"""Leases limit the memory and the cores that the guests of all commands use together on one host.

A lease is a file with a lock. If its holder is killed, the kernel releases the lock, and the lease ends. Requests wait
in line, first come first served. A command holds at most one lease at a time: two commands with two leases each could
block each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from workers.base import cache
from workers.base.errors import CannotRun

_OVERHEAD_MIB = 256  # of QEMU itself, mainly for translated code
_SHARE_OF_MEMORY = 0.75  # the rest is for builds and the system
_POLL_SECONDS = 0.05
_FIRST_MESSAGE_SECONDS, _MESSAGE_SECONDS = 1.0, 60.0  # a waiting command prints a message after 1 s, then once a minute


@dataclass(frozen=True)
class Lease:
    """The memory and cores of one guest."""

    memory_mib: int
    cores: int
    what: str
    pid: int
    since: float
    """Seconds since 1970."""
    held: bool = False
    """False: its owner still waits for it."""


@dataclass(frozen=True)
class Capacity:
    """The memory and cores that all guests together may use on this host."""

    memory_mib: int
    cores: int


def capacity() -> Capacity:
    """Return the host's capacity: ``$KITTEN_LAB_MEMORY`` (MiB) and ``$KITTEN_LAB_CORES``.

    The defaults are three quarters of the memory and every core.
    """
    memory = _from_environment("KITTEN_LAB_MEMORY") or int(_memory_bytes() * _SHARE_OF_MEMORY) >> 20
    return Capacity(memory, _from_environment("KITTEN_LAB_CORES") or len(os.sched_getaffinity(0)))


@contextlib.contextmanager
def hold(memory_mib: int, cores: int, what: str) -> Iterator[None]:
    """Hold a lease for the length of a block. Wait for it until the host has room.

    :param memory_mib: memory of the guest, without QEMU's own.
    :param what: a description of the guest, for messages and ``kitten lab-status``.
    :raises CannotRun: if the guest needs more memory than the host's capacity.
    """
    limit = capacity()
    memory_mib += _OVERHEAD_MIB
    if memory_mib > limit.memory_mib:
        raise CannotRun(
            f"a guest of {memory_mib} MiB does not fit: guests have {limit.memory_mib} MiB on this host",
            "use a host with more memory, or raise KITTEN_LAB_MEMORY (MiB)",
        )
    since = time.time()
    request = Lease(memory_mib, min(cores, limit.cores), what, os.getpid(), since)
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = _enqueue(folder, request)
    try:
        next_message = since + _FIRST_MESSAGE_SECONDS
        while not _try_to_grant(folder, descriptor, name, request, limit):
            if time.time() > next_message:
                next_message = time.time() + _MESSAGE_SECONDS
                print(f"waiting for room for a guest of {memory_mib} MiB ({what})", flush=True)  # noqa: T201
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        (folder / name).unlink(missing_ok=True)
        os.close(descriptor)


def current() -> tuple[Lease, ...]:
    """Return all leases, held and waiting, in the order of the requests."""
    folder = _folder()
    if not folder.is_dir():
        return ()
    with cache.hold_lock(folder / ".lock"):
        return tuple(lease for _, lease in _live_leases(folder))


def _folder() -> Path:
    return cache.root() / "leases"


def _enqueue(folder: Path, request: Lease) -> tuple[int, str]:
    """Put a request at the end of the line. Return its descriptor, which holds the lock, and its file name."""
    with cache.hold_lock(folder / ".lock"):
        name = f"{time.time_ns():020d}-{os.getpid()}"
        descriptor = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # on the record itself: others read it (docs/adr/0007-locks.md)
        _write(descriptor, request)
        return descriptor, name


def _try_to_grant(folder: Path, descriptor: int, name: str, request: Lease, limit: Capacity) -> bool:
    """Grant a request if it is the first in line and the host has room. Return whether it was granted."""
    with cache.hold_lock(folder / ".lock"):
        leases = _live_leases(folder)
        waiting = [other for other, lease in leases if not lease.held]
        granted = [lease for _, lease in leases if lease.held]
        if waiting[:1] != [name]:
            return False
        memory = sum(lease.memory_mib for lease in granted) + request.memory_mib
        cores = sum(lease.cores for lease in granted) + request.cores
        if memory > limit.memory_mib or cores > limit.cores:
            return False
        _write(descriptor, replace(request, held=True))
        return True


def _write(descriptor: int, lease: Lease) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(lease)).encode(), 0)


def _live_leases(folder: Path) -> list[tuple[str, Lease]]:
    """Return the file names and leases of running processes, oldest first; remove others. Called under the lock."""
    live = []
    for path in sorted(folder.glob("[0-9]*")):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue  # its holder ended since the folder was listed
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                live.append((path.name, Lease(**json.loads(file.read()))))
            else:
                path.unlink(missing_ok=True)
    return live


def _from_environment(name: str) -> int:
    text = os.environ.get(name, "")
    if not text:
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise CannotRun(f"{name} is {text!r}", "give a whole number above 0, or unset it")
    return int(text)


def _memory_bytes() -> int:
    """Return the memory of the host, or the limit of this process's control group if that is lower."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return host
    return min(host, int(limit)) if limit.isdecimal() else host
