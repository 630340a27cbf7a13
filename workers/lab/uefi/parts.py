"""The chain under test (shim, boot loader, kernel), the firmware, and the stub for unified kernel images.

The chain comes from packages. Without packages it is Debian's, whose shim Microsoft signed, too. All links come from
the same distribution, because a shim trusts only the certificate of its own distribution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from config.architecture import Uefi
from config.identity import identity_of
from config.models import Machine, Target
from workers.base import cache
from workers.base.errors import CannotRun
from workers.formats.cpio import Archive
from workers.formats.rpm_file import header_of
from workers.formats.rpm_header import RpmHeader
from workers.lab import rpms
from workers.lab.guest.kernel import (
    SUITE,
    deb_files,
    further_modules,
    guest_parts,
    load_order,
    module_content,
    module_dependencies,
)
from workers.sandbox.apt import with_lists

PROBE_MODULE = "dummy"
"""A module without dependencies and side effects. A guest loads it twice: with and without its signature."""

_MODULE_MAGIC = b"~Module signature appended~\n"  # linux/module_signature.h
_GUEST_MODULES = ("virtio_blk", "virtio_console", "efivarfs", PROBE_MODULE)


@dataclass(frozen=True)
class Chain:
    """The links of the chain, in boot order, and the kernel modules for a test."""

    shim: bytes
    loader: bytes
    kernel: bytes
    vendor: str
    """The folder below EFI/ from which the loader reads its configuration."""
    modules: Mapping[str, bytes]
    """Name → module, each after the modules it needs, without built-in ones. Contains ``PROBE_MODULE``."""
    origin: str
    """The source of the links with versions, as text."""

    @property
    def release(self) -> str:
        """The release of the kernel, from the vermagic of its modules."""
        found = re.search(rb"\0vermagic=(\S+)", self.modules[PROBE_MODULE])
        return found.group(1).decode(errors="replace") if found else ""

    @property
    def unsigned_module(self) -> bytes:
        """``PROBE_MODULE`` without its signature.

        :raises CannotRun: if it is not signed.
        """
        module = self.modules[PROBE_MODULE]
        if not module.endswith(_MODULE_MAGIC):
            raise CannotRun(f"the module {PROBE_MODULE} of {self.origin} is not signed", "sign the kernel's modules")
        end = len(module) - len(_MODULE_MAGIC)
        size = int.from_bytes(module[end - 4 : end], "big")  # the last field of struct module_signature
        return module[: end - 12 - size]

    def boot_modules(self) -> bytes:
        """An archive to append to the base's: the guest then loads the modules of this kernel."""
        archive = Archive()
        names = [name for name in self.modules if name != PROBE_MODULE]
        for name in names:
            archive.file(f"/kitten/modules/{name}.ko", self.modules[name])
        archive.file("/kitten/modules/order", "".join(f"{name}\n" for name in names).encode())
        return archive.finish()


def efi_name(target: Target) -> str:
    """The suffix of a target's EFI files: ``x64``, ``aa64``.

    :raises CannotRun: if the target has no UEFI firmware.
    """
    return _uefi(target).suffix


def _uefi(target: Target) -> Uefi:
    if target.architecture.uefi is None:
        raise CannotRun(f"{target.name} has no UEFI firmware", "see suites.yaml, targets of secure-boot")
    return target.architecture.uefi


def firmware(target: Target, machine: Machine) -> tuple[Path, Path]:
    """The firmware's code and its original variables, in the cache.

    :raises CannotRun: if the machine names no firmware, or the package has no such files.
    """
    if machine.firmware is None:
        raise CannotRun(f"the machine of {target.name} has no firmware", "see machine.variants in targets.yaml")
    code, variables = debian_files(target, machine.firmware.package, machine.firmware.code, machine.firmware.variables)
    return code, variables


def stub(target: Target) -> bytes:
    """Systemd's stub, which starts the kernel of a unified kernel image."""
    path = f"/usr/lib/systemd/boot/efi/linux{efi_name(target)}.efi.stub"
    return debian_files(target, "systemd-boot-efi", path)[0].read_bytes()


def chain(target: Target, packages: Sequence[Path], staged: Path, scratch: Path) -> Chain:
    """The chain under test: that of the packages; without packages, Debian's.

    :param staged: folder of the target's staged packages, for the links that ``packages`` do not contain.
    :param scratch: folder for the unpacked files.
    :raises CannotRun: if the packages contain no link of the chain, a link is missing, or a package is damaged.
    """
    return packaged_chain(target, packages, staged, scratch) if packages else debian_chain(target)


def debian_chain(target: Target) -> Chain:
    """Debian's chain, with the kernel of the guests' base."""
    name, grub = _uefi(target).suffix, _uefi(target).grub
    loaders = f"grub-efi-{target.architecture.debian_arch}-signed"
    (shim,) = debian_files(target, "shim-signed", f"/usr/lib/shim/shim{name}.efi.signed")
    (loader,) = debian_files(target, loaders, f"/usr/lib/grub/{grub}-signed/grub{name}.efi.signed")
    parts = guest_parts(target)
    modules = (*parts.modules, *further_modules(target, ("efivarfs", PROBE_MODULE)))
    return Chain(
        shim=shim.read_bytes(),
        loader=loader.read_bytes(),
        kernel=parts.kernel.read_bytes(),
        vendor="debian",
        modules={module.stem: module.read_bytes() for module in modules},
        origin=f"Debian {SUITE}",
    )


def packaged_chain(target: Target, packages: Sequence[Path], staged: Path, scratch: Path) -> Chain:
    """The chain from RPMs: shim, grub2-efi, and the kernel with its modules.

    :param staged: folder of the target's staged packages, for the links that ``packages`` do not contain.
    """
    name = efi_name(target)
    links = {
        f"shim{name}.efi": rf".*/shim{name}\.efi",
        f"grub{name}.efi": rf".*/grub{name}\.efi",
        "vmlinuz": r".*/modules/[^/]+/vmlinuz",
    }
    given = _Packages(_headers(target, packages), scratch / "given")
    if not any(map(given.find, links.values())):
        raise CannotRun(
            f"no package contains shim{name}.efi, grub{name}.efi or a kernel",
            "give the packages of shim, grub2 or the kernel; without packages, the suite tests Debian's chain",
        )
    available = _Packages({**given.headers, **_headers(target, sorted(staged.glob("**/*.rpm")))}, scratch / "all")
    shim, loader, kernel = (available.require(pattern, what) for what, pattern in links.items())
    modules = _modules_of(available, PurePosixPath(kernel).parent)
    return Chain(
        shim=available.read(shim),
        loader=available.read(loader),
        kernel=available.read(kernel),
        vendor=PurePosixPath(loader).parent.name,
        modules=modules,
        origin=available.packages_read(),
    )


class _Packages:
    """The files of several packages. The first read of a file unpacks its package."""

    def __init__(self, headers: Mapping[Path, RpmHeader], scratch: Path) -> None:
        self.headers = headers
        self._scratch = scratch
        self._unpacked: dict[Path, dict[str, Path]] = {}

    def find(self, pattern: str) -> str:
        """The first path that matches a pattern; empty if none does."""
        return next(
            (file for header in self.headers.values() for file in header.files if re.fullmatch(pattern, file)), ""
        )

    def require(self, pattern: str, what: str) -> str:
        """The first path that matches a pattern.

        :param what: the name of the file for the error message.
        :raises CannotRun: if no path matches.
        """
        if found := self.find(pattern):
            return found
        raise CannotRun(
            f"no package contains {what}",
            "stage shim, grub2-efi, kernel-core and kernel-modules-core of the target, or give them: --with PATH",
        )

    def read(self, path: str) -> bytes:
        """The content of a file.

        :raises CannotRun: if its package is damaged.
        """
        package = next(package for package, header in self.headers.items() if path in header.files)
        if package not in self._unpacked:
            folder = self._scratch / str(len(self._unpacked))
            entries = rpms.unpack_package(package, self.headers[package], folder)
            self._unpacked[package] = {entry.path: entry.content for entry in entries if entry.content}
        if path not in self._unpacked[package]:
            raise CannotRun(f"{package.name}: {path} is not a regular file", "see %install in the spec of the package")
        return self._unpacked[package][path].read_bytes()

    def packages_read(self) -> str:
        """Name, version and release of the packages whose files were read, as text."""
        headers = [self.headers[package] for package in self._unpacked]
        return ", ".join(f"{header.name}-{header.version}-{header.release}" for header in headers)


def _headers(target: Target, packages: Sequence[Path]) -> dict[Path, RpmHeader]:
    headers = {path: header_of(path) for path in packages}
    return {path: header for path, header in headers.items() if header.arch == target.rpm_arch and not header.is_debug}


def _modules_of(packages: _Packages, kernel: PurePosixPath) -> dict[str, bytes]:
    """The modules for the guest, each after the modules it needs. Those that the packages lack are built in.

    :param kernel: the kernel's folder below /lib/modules.
    """

    def pattern(name: str) -> str:
        return rf"{re.escape(str(kernel))}/.*/{re.escape(name).replace('_', '[_-]')}\.ko(\.xz|\.zst|\.gz)?"

    wanted = [name for name in _GUEST_MODULES if name == PROBE_MODULE or packages.find(pattern(name))]
    contents: dict[str, bytes] = {}
    left = list(wanted)
    while left:
        name = left.pop()
        if name not in contents:
            path = packages.require(pattern(name), f"the module {name} of {kernel.name}")
            contents[name] = module_content(PurePosixPath(path).name, packages.read(path))
            left += module_dependencies(contents[name])
    needs = {name: module_dependencies(data) for name, data in contents.items()}
    return {name: contents[name] for name in load_order(wanted, needs)}


def debian_files(target: Target, package: str, *paths: str) -> tuple[Path, ...]:
    """Files of a Debian package for the target's architecture, in the cache, in the order of ``paths``.

    :raises CannotRun: if the package has no such file, or apt or the network is missing.
    """
    architecture = target.architecture.debian_arch
    wanted = {"suite": SUITE, "architecture": architecture, "package": package, "paths": paths}

    def make(folder: Path) -> None:
        print(f"{package} of {SUITE} for {architecture}", flush=True)  # noqa: T201
        (deb,) = with_lists(SUITE, architecture, lambda root: root.download([package], folder / "deb"))
        for path, data in deb_files(deb):
            if str(path) in paths:
                (folder / str(paths.index(str(path)))).write_bytes(data())
        deb.unlink()
        if missing := [path for number, path in enumerate(paths) if not (folder / str(number)).exists()]:
            raise CannotRun(f"Debian's package {package} no longer contains {', '.join(missing)}", "see targets.yaml")

    folder = cache.entry("uefi", f"{package}-{architecture}-{identity_of(wanted)[:16]}", make)
    return tuple(folder / str(number) for number in range(len(paths)))
