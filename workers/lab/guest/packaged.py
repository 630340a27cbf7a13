"""A kernel under test: image and modules of RPM packages, instead of Debian's.

The packages of a kernel are recognized by their files, which have the paths of Enterprise Linux:
``/lib/modules/RELEASE/vmlinuz`` and ``/lib/modules/RELEASE/kernel/**.ko.xz``. Shell and C library of the guests are
still Debian's.
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
_PLAIN = "kernel-core"  # one build makes several kernels (rt, 64k …): test this one
_VIRTIO = ("virtio_pci", "virtio_console")  # built into Debian's kernels
_MAX_PAYLOAD = 4 * 1024**3  # the most bytes that the files of one kernel package may have


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel."""

    name: str
    """Name of the package with the image."""
    release: str
    """The kernel release, as ``uname -r`` prints it."""
    identity: str
    """Hash of its packages."""
    entries: tuple[Entry, ...]

    def files(self) -> Iterator[File]:
        """Yield all regular files."""
        for entry in self.entries:
            if entry.content is not None:
                yield PurePosixPath(entry.path), entry.content.read_bytes


def kernel(target: Target, packages: Sequence[Path], scratch: Path) -> Kernel | None:
    """Unpack the kernel among packages and return it; None if no package has one.

    :param scratch: the folder to unpack below.
    :raises CannotRun: if a package is damaged or for another target, or several packages have a kernel and none of them
        is the plain one.
    """
    headers = {path: rpms.header_for(target, path) for path in packages}
    releases = {
        path: match["release"]
        for path, header in headers.items()
        for file in header.files
        if header.arch == target.rpm_arch and (match := _IMAGE.fullmatch(file))
    }
    if len(releases) > 1:
        releases = {path: release for path, release in releases.items() if headers[path].name == _PLAIN} or releases
    if len(releases) > 1:
        names = ", ".join(sorted(path.name for path in releases))
        raise CannotRun(f"several packages have a kernel: {names}", "give the packages of one kernel")
    for path, release in releases.items():
        module_path = re.compile(rf"(?:/usr)?/lib/modules/{re.escape(release)}/")
        wanted = [of for of, header in headers.items() if any(module_path.match(file) for file in header.files)]
        entries: list[Entry] = []
        identity = hashlib.sha256()
        for number, package in enumerate(wanted):
            entries += rpms.unpack_package(package, headers[package], scratch / "kernel" / str(number), _MAX_PAYLOAD)
            identity.update(sha256_of(package).encode())
        kept = tuple(entry for entry in entries if module_path.match(entry.path))
        return Kernel(headers[path].name, release, identity.hexdigest(), kept)
    return None


def parts(target: Target, under_test: Kernel, scratch: Path) -> GuestParts:
    """Return the parts of guests that run this kernel, in a folder below ``scratch`` with a name for its content.

    :raises CannotRun: if the kernel lacks a module that every guest loads.
    """
    own = guest_parts(target)
    folder = scratch / f"{own.folder.name}-{under_test.identity[:16]}"
    for name in ("bin", "lib"):
        shutil.copytree(own.folder / name, folder / name, dirs_exist_ok=True)  # a rerun uses the same folder
    (folder / "modules").mkdir(exist_ok=True)
    wanted = (*_VIRTIO, *BASE_MODULES, *target.machine.kernel_modules)
    _, order = keep_modules(under_test.name, under_test.files, wanted, folder, "")
    versions = {name: version for name, version in own.versions.items() if not name.startswith("linux-image-")}
    description = {
        "release": under_test.release,
        "modules": order,
        "packages": {**versions, under_test.name: under_test.release},
    }
    (folder / "parts.json").write_text(json.dumps(description, indent=1) + "\n")
    return GuestParts(folder)


def further_modules(under_test: Kernel, names: Sequence[str], scratch: Path) -> tuple[Path, ...]:
    """Return modules of this kernel and their dependencies in load order, as files below ``scratch``.

    :raises NoModuleError: if the kernel has no such module, and it is not built in.
    """
    folder = scratch / "further"
    (folder / "modules").mkdir(parents=True, exist_ok=True)
    _, order = keep_modules(under_test.name, under_test.files, names, folder)
    return tuple(folder / "modules" / f"{name}.ko" for name in order)
