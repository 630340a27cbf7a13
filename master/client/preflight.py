"""The check of the host before a demo: disk, memory, user namespaces, Linux, QEMU.

:func:`shortages` decides and reads nothing; :func:`inspect_host` reads and decides nothing. ``tools/measure-demo.py``
measured the figures; they have a margin.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.models import Site
from master.errors import ServiceError
from master.service.service import Service

MIB, GB = 1 << 20, 10**9

CACHE = {"trees": 1_700_000_000, "guests": 500_000_000, "apt": 500_000_000, "saved": 700_000_000, "": 600_000_000}
"""Bytes of each large kind of the cache after a demo; "": all other kinds together."""
STATE = 500_000_000
"""Bytes of the state folder after a demo."""
BESIDES = 1_000_000_000
"""Bytes of temporary files while the demo runs: build folders, copies of packages."""
MEMORY = 3_000 * MIB
"""Bytes that the processes of a demo use at their peak: two builds, or guests."""
GUESTS_SHARE = 0.75
"""The part of the memory that guests may use (workers/lab/machine/leases.py)."""
GUEST_OVERHEAD = 256 * MIB
FOREIGN_LINUX = (6, 7)
"""The first version of Linux in which a sandbox can register emulators (binfmt_misc in a user namespace)."""


@dataclass(frozen=True)
class FileSystem:
    """A file system that the demo writes to."""

    folder: Path
    device: int
    free: int
    """Bytes that this user can still write."""


@dataclass(frozen=True)
class Host:
    """The disk space, memory and programs of a host."""

    cache: FileSystem
    state: FileSystem
    cache_sizes: Mapping[str, int] = field(default_factory=dict)
    """Kind of the cache → bytes that it has already."""
    state_size: int = 0
    """Bytes that the state folder has already."""
    memory: int = 1 << 62
    """Bytes of the host, or the limit of the control group of this process."""
    available: int = 1 << 62
    """Bytes of memory that are not in use."""
    linux: tuple[int, int] = FOREIGN_LINUX
    machine: str = "x86_64"
    namespaces: str = ""
    """Why a user namespace cannot be made; empty if it can."""
    programs: frozenset[str] = frozenset()
    """The emulators of the site that are installed."""


@dataclass(frozen=True)
class Shortage:
    """One thing that the host lacks, and what to do."""

    what: str
    hint: str
    fatal: bool
    """Whether it makes the demo fail."""

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.hint}"


def shortages(site: Site, host: Host) -> list[Shortage]:
    """Return all that a host lacks for a demo of the site."""
    return [*_disk(host), *_memory(site, host), *_sandbox(site, host), *_guests(site, host)]


def check(service: Service, say: Callable[[str], object], *, force: bool = False) -> None:
    """Check this host before a demo, and show what it lacks.

    :param force: only warn, also of fatal shortages.
    :raises ServiceError: the host lacks something that the demo needs; one line for each shortage.
    """
    found = shortages(service.site, inspect_host(service))
    fatal = [shortage for shortage in found if shortage.fatal and not force]
    for shortage in found:
        if shortage not in fatal:
            say(f"warning: {shortage}")
    if fatal:
        lines = "\n".join(map(str, fatal))
        raise ServiceError(
            f"this host cannot run the demo:\n{lines}\nto run it anyway: make demo FORCE=1, or kitten demo --force"
        )


def inspect_host(service: Service) -> Host:
    """Return what this host offers."""
    root, cache_sizes = _cache(service)
    return Host(
        cache=_file_system(root),
        state=_file_system(service.state),
        cache_sizes=cache_sizes,
        state_size=_size(service.state),
        memory=_memory_of_host(),
        available=_meminfo("MemAvailable"),
        linux=linux_version(platform.release()),
        machine=platform.machine(),
        namespaces=_namespaces(),
        programs=frozenset(name for name in _emulators(service.site) if _installed(name)),
    )


def linux_version(release: str) -> tuple[int, int]:
    """Return the first two numbers of a kernel's release; (0, 0) if it has no numbers."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _disk(host: Host) -> list[Shortage]:
    named = {kind: size for kind, size in CACHE.items() if kind}
    others = sum(size for kind, size in host.cache_sizes.items() if kind not in named)
    present = {**{kind: host.cache_sizes.get(kind, 0) for kind in named}, "": others}
    cache = sum(max(0, size - present[kind]) for kind, size in CACHE.items()) + BESIDES
    state = max(0, STATE - host.state_size)
    if host.cache.device == host.state.device:
        wanted = [(host.cache, cache + state, f"the cache ({host.cache.folder}) and the state ({host.state.folder})")]
    else:
        wanted = [
            (host.cache, cache, f"the cache ({host.cache.folder})"),
            (host.state, state, f"the state ({host.state.folder})"),
        ]
    hint = (
        "free some space (`kitten cache` and `make clean` show what the project uses), "
        "or set KITTEN_CACHE or KITTEN_STATE to a folder on a larger file system"
    )
    return [
        Shortage(f"disk: {disk.free / GB:.1f} GB are free for {what}; {size / GB:.1f} GB are needed", hint, fatal=True)
        for disk, size, what in wanted
        if disk.free < size
    ]


def _memory(site: Site, host: Host) -> list[Shortage]:
    needed = max(MEMORY, *(int((size + GUEST_OVERHEAD) / GUESTS_SHARE) for size in _guest_sizes(site)))
    there, free, wanted = (f"{size / MIB:,.0f} MiB" for size in (host.memory, host.available, needed))
    if host.memory < needed:
        hint = "use a larger machine, or raise the memory limit of the virtual machine or control group"
        return [Shortage(f"memory: this host has {there}; {wanted} are needed", hint, fatal=True)]
    if host.available < MEMORY:
        hint = "end other programs; else the demo is slow, or the kernel kills a part of it"
        return [Shortage(f"memory: {free} are free; {MEMORY / MIB:,.0f} MiB are needed at the peak", hint, fatal=False)]
    return []


def _sandbox(site: Site, host: Host) -> list[Shortage]:
    found = []
    if host.namespaces:
        settings = "user.max_user_namespaces=10000 kernel.apparmor_restrict_unprivileged_userns=0"
        hint = f"allow user namespaces: sysctl -w {settings}"
        found.append(Shortage(f"sandbox: no user namespace can be made: {host.namespaces}", hint, fatal=True))
    foreign = [target.name for target in site.targets if target.machine_arch != host.machine]
    if foreign and host.linux < FOREIGN_LINUX:
        needed, there = (".".join(map(str, version)) for version in (FOREIGN_LINUX, host.linux))
        what = f"sandbox: Linux {there}; builds for {', '.join(foreign)} need Linux {needed}"
        found.append(
            Shortage(what, f"install Linux {needed} or later; the other targets are built without it", fatal=False)
        )
    return found


def _guests(site: Site, host: Host) -> list[Shortage]:
    found = []
    for program, targets in _emulators(site).items():
        if program not in host.programs:
            what = f"guests: {program} is not installed; nothing is tested on {', '.join(targets)}"
            found.append(Shortage(what, "run `make host`, which installs it", fatal=False))
    return found


def _guest_sizes(site: Site) -> list[int]:
    machines = [target.machine for target in site.targets]
    variants = [variant.memory_mib or 0 for machine in machines for variant in machine.variants.values()]
    return [size * MIB for size in (*(machine.memory_mib for machine in machines), *variants)]


def _emulators(site: Site) -> dict[str, list[str]]:
    """Return QEMU program → the targets that need it."""
    found: dict[str, list[str]] = {}
    for target in site.targets:
        found.setdefault(target.machine.emulator, []).append(target.name)
    return found


def _cache(service: Service) -> tuple[Path, dict[str, int]]:
    """Return the cache folder, and kind → bytes in it."""
    done = service.kitten("cache", "--json", capture_output=True)
    if done.returncode != 0:
        raise ServiceError((done.stderr or done.stdout).strip().removeprefix("kitten: "))
    cache = json.loads(done.stdout)
    sizes: dict[str, int] = {}
    for entry in cache["entries"]:
        sizes[entry["kind"]] = sizes.get(entry["kind"], 0) + entry["size"]
    return Path(cache["root"]), sizes


def _file_system(folder: Path) -> FileSystem:
    """Return the file system of a folder that may not exist yet."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    space = os.statvfs(existing)
    return FileSystem(folder, existing.stat().st_dev, space.f_bavail * space.f_frsize)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += Path(parent, name).lstat().st_blocks * 512
    return total


def _memory_of_host() -> int:
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # the file may have "max"
        return min(host, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return host


def _meminfo(name: str) -> int:
    with contextlib.suppress(OSError):
        if found := re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE):
            return int(found[1]) * 1024
    return 1 << 62


def _namespaces() -> str:
    """Return why no user namespace can be made, as ``unshare`` reports it; empty if one can be made."""
    try:
        command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _installed(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/libexec") is not None
