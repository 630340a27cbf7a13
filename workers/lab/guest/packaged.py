"""A kernel that is itself under test: the image and the modules of RPMs, in the place of Debian's.

Which packages these are is told by what they hold, as Enterprise Linux lays it out: ``/lib/modules/RELEASE/vmlinuz`` and
``/lib/modules/RELEASE/kernel/**.ko.xz``. Shell and C library of the guests stay Debian's.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from config.models import Target
from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.formats.rpm_payload import Entry
from workers.lab import rpms
from workers.lab.guest.kernel import BASE_MODULES, File, GuestParts, guest_parts, keep_modules

_IMAGE = re.compile(r"(?:/usr)?/lib/modules/(?P<release>[^/]+)/vmlinuz")
_PLAIN = "kernel-core"  # of several kernels, built together, the one that is meant
_VIRTIO = ("virtio_pci", "virtio_console")  # built into Debian's kernels
_MAX_PAYLOAD = 4 * 1024**3  # bytes one of a kernel's packages may unpack to


@dataclass(frozen=True)
class Kernel:
    """A kernel of packages, unpacked."""

    name: str
    """Of the package that holds the image."""
    release: str
    """What ``uname -r`` says."""
    identity: str
    """Hash of its packages."""
    entries: tuple[Entry, ...]

    def files(self) -> Iterator[File]:
        """All regular files."""
        for entry in self.entries:
            if entry.content is not None:
                yield PurePosixPath(entry.path), entry.content.read_bytes


def kernel(target: Target, packages: Sequence[Path], scratch: Path) -> Kernel | None:
    """The kernel among packages; none where none of them holds one.

    :param scratch: folder it is unpacked below.
    :raises CannotRun: a damaged package, another target's, or several kernels of which none is the plain one.
    """
    headers = {path: rpms.header_for(target, path) for path in packages}
    found = {
        path: match["release"]
        for path, header in headers.items()
        for file in header.files
        if header.arch == target.rpm_arch and (match := _IMAGE.fullmatch(file))
    }
    if len(found) > 1:
        found = {path: release for path, release in found.items() if headers[path].name == _PLAIN} or found
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise CannotRun(f"which kernel is under test: {names}?", "give the packages of one of them")
    for path, release in found.items():
        its_own = re.compile(rf"(?:/usr)?/lib/modules/{re.escape(release)}/")
        wanted = [of for of, header in headers.items() if any(its_own.match(file) for file in header.files)]
        entries: list[Entry] = []
        identity = hashlib.sha256()
        for number, package in enumerate(wanted):
            entries += rpms.unpack_package(package, headers[package], scratch / "kernel" / str(number), _MAX_PAYLOAD)
            identity.update(sha256_of(package).encode())
        mine = tuple(entry for entry in entries if its_own.match(entry.path))
        return Kernel(headers[path].name, release, identity.hexdigest(), mine)
    return None


def parts(target: Target, under_test: Kernel, scratch: Path) -> GuestParts:
    """The parts of guests that run this kernel, below ``scratch``; the folder is named by what is in it.

    :raises CannotRun: when the kernel lacks a module that every guest loads.
    """
    own = guest_parts(target)
    folder = scratch / f"{own.folder.name}-{under_test.identity[:16]}"
    for name in ("bin", "lib"):
        shutil.copytree(own.folder / name, folder / name, dirs_exist_ok=True)  # a rerun finds the first run's
    (folder / "modules").mkdir(exist_ok=True)
    wanted = (*_VIRTIO, *BASE_MODULES, *target.machine.kernel_modules)
    _, order = keep_modules(under_test.name, under_test.files, wanted, folder, "")
    versions = {name: version for name, version in own.versions.items() if not name.startswith("linux-image-")}
    told = {
        "release": under_test.release,
        "modules": order,
        "packages": {**versions, under_test.name: under_test.release},
    }
    (folder / "parts.json").write_text(json.dumps(told, indent=1) + "\n")
    return GuestParts(folder)


def further_modules(under_test: Kernel, names: Sequence[str], scratch: Path) -> tuple[Path, ...]:
    """Modules of this kernel and all they need, in load order, below ``scratch``.

    :raises NoModuleError: when it has no such module, nor is it built in.
    """
    folder = scratch / "further"
    (folder / "modules").mkdir(parents=True, exist_ok=True)
    _, order = keep_modules(under_test.name, under_test.files, names, folder)
    return tuple(folder / "modules" / f"{name}.ko" for name in order)
