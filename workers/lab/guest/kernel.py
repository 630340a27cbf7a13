"""The parts of a target's guests, of the target's architecture: kernel, modules, busybox, shell and C library.

They come from Debian, through a private apt root. ``machine.kernel_package`` is a metapackage: its kernel package
changes with each update, so the name is resolved when the parts are fetched. Only files that a guest needs are kept.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from config.identity import identity_of
from config.models import Target
from workers.base import cache
from workers.base.errors import CannotRun, MalformedError
from workers.base.run import PIPE, pipe_of, require, start_program
from workers.formats.compression import MAX_MODULE, unpacked_pieces
from workers.sandbox.apt import AptRoot, with_lists

SUITE = "trixie"
"""The Debian release. It has the kernel series of Enterprise Linux 10, which is 6.12."""

PACKAGES = ("busybox-static", "bash", "coreutils", "libtinfo6", "libc6", "libgcc-s1", "libstdc++6")
PROGRAMS = ("busybox", "bash", "env", "timeout")
"""busybox's own shell, env, timeout and similar applets run busybox's bzip2 before a program of that name in PATH.
So a guest has the real programs instead: otherwise a package's test could run busybox's code."""

_SONAME = re.compile(
    r"((?:ld64|ld-linux[^/]*|lib(?:c|m|dl|pthread|rt|util|resolv|gcc_s|stdc\+\+|tinfo))\.so\.\d+)(?:\.\d+)*"
)
_LARGEST_FILE = 256 * 1024 * 1024  # bytes; a kernel image with debug data is smaller
BASE_MODULES = ("virtio_blk",)
"""The modules that every guest loads: the payload is on a disk."""

File = tuple[PurePosixPath, Callable[[], bytes]]
"""A file of a package: its installed path, and a function that reads its content."""
Files = Callable[[], Iterable[File]]
"""A function that iterates over all files of a package; it may be called again."""

_IMAGE = re.compile(r"/boot/vmlinu[xz]-.*|(?:/usr)?/lib/modules/[^/]+/vmlinuz")  # Debian's; Enterprise Linux's
_KERNEL_DEB = "kernel.deb"
_FORMAT = 2  # increase it when other files of the packages are kept


class NoModuleError(CannotRun):
    """The kernel has no such module."""


@dataclass(frozen=True)
class GuestParts:
    """A folder of the cache: ``kernel``, ``modules/``, ``bin/``, ``lib/`` and ``parts.json``."""

    folder: Path
    image: str = ""
    """Name of the cloud image that the guest boots instead of the kernel in the folder."""

    @property
    def kernel(self) -> Path:
        """The kernel image that the target's machine boots."""
        return self.folder / "kernel"

    @property
    def programs(self) -> tuple[Path, ...]:
        """The files of ``PROGRAMS``."""
        return tuple(sorted((self.folder / "bin").iterdir()))

    @property
    def libraries(self) -> tuple[Path, ...]:
        """The C and C++ run-time libraries, including the program interpreter."""
        return tuple(sorted((self.folder / "lib").iterdir()))

    @property
    def modules(self) -> tuple[Path, ...]:
        """Kernel modules in load order."""
        return tuple(self.folder / "modules" / f"{name}.ko" for name in self._read()["modules"])

    @property
    def versions(self) -> Mapping[str, str]:
        """Package name → version of the packages that the files come from."""
        return dict(self._read()["packages"])

    @property
    def release(self) -> str:
        """The kernel release (``uname -r``); of a cloud image its name: its release is unknown before it boots."""
        return self.image or str(self._read()["release"])

    def _read(self) -> dict[str, dict[str, str]]:
        return dict(json.loads((self.folder / "parts.json").read_text()))


def guest_parts(target: Target) -> GuestParts:
    """Return the parts of a target's guests; fetch them on first use.

    :raises CannotRun: no apt, no network, or a module that the kernel does not have.
    """
    wanted = {
        "suite": SUITE,
        "architecture": target.architecture.debian_arch,
        "kernel": target.machine.kernel_package,
        "modules": [*BASE_MODULES, *target.machine.kernel_modules],
        "packages": PACKAGES,
        "format": _FORMAT,
    }
    key = f"{target.architecture.debian_arch}-{identity_of(wanted)[:16]}"
    return GuestParts(cache.entry("guests", key, lambda folder: _make(target, folder)))


def further_modules(target: Target, names: Sequence[str]) -> tuple[Path, ...]:
    """Return modules of the guests' kernel and their dependencies in load order; extract them on first use.

    The modules that every guest loads are left out.

    :raises NoModuleError: if the kernel has no such module.
    """
    parts = guest_parts(target)
    wanted = tuple(sorted(name.replace("-", "_") for name in names))

    def make(folder: Path) -> None:
        (folder / "modules").mkdir()
        order = keep_modules(_KERNEL_DEB, partial(deb_files, parts.folder / _KERNEL_DEB), wanted, folder)[1]
        (folder / "order.json").write_text(json.dumps(order))

    key = f"{parts.folder.name}-{identity_of({'modules': wanted})[:16]}"
    folder = cache.entry("guest-modules", key, make)
    loaded = {module.name for module in parts.modules}
    order = [f"{name}.ko" for name in json.loads((folder / "order.json").read_text())]
    return tuple(folder / "modules" / name for name in order if name not in loaded)


def real_kernel(metapackage: Mapping[str, str]) -> str:
    """Return the name of the kernel package that a metapackage depends on.

    :param metapackage: its paragraph of a Packages file.
    :raises CannotRun: if it depends on no kernel image.
    """
    for dependency in metapackage.get("Depends", "").split(","):
        if name := re.match(r"linux-image-\S+", dependency.strip()):
            return name.group()
    raise CannotRun(
        f"{metapackage.get('Package', 'the kernel package')} depends on no linux-image package",
        "name a kernel metapackage in targets.yaml, machine.kernel_package",
    )


def module_dependencies(module: bytes) -> tuple[str, ...]:
    """Return the modules that a module needs, from the ``depends`` field of its ``.modinfo`` section."""
    depends = re.search(rb"(?:\0|^)depends=([^\0]*)\0", module)
    names = depends[1].decode(errors="replace").replace("-", "_").split(",") if depends else ()
    return tuple(name for name in names if name)


def module_content(name: str, content: bytes) -> bytes:
    """Return a module that may be compressed.

    :param name: its file name, whose suffix names the compression.
    :raises CannotRun: if it is damaged, or larger than a module can be.
    """
    try:
        return b"".join(unpacked_pieces(io.BytesIO(content), name, MAX_MODULE))
    except MalformedError as error:
        raise CannotRun(f"{name}: {error}", "build the kernel again") from None


def load_order(names: Iterable[str], dependencies: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return modules and their dependencies, each module after its dependencies.

    Dependencies without an entry are left out. Of modules that need each other, no order is right: any is returned.
    """
    order: dict[str, None] = {}
    begun: set[str] = set()
    pending = list(names)[::-1]
    while pending:
        name = pending[-1]
        begun.add(name)
        if (
            left := next((one for one in dependencies[name] if one in dependencies and one not in begun), None)
        ) is None:
            order[pending.pop()] = None
        else:
            pending.append(left)
    return tuple(order)


def _make(target: Target, folder: Path) -> None:
    debs = folder / "debs"

    def fetch(root: AptRoot) -> dict[str, str]:
        kernel = real_kernel(root.show(target.machine.kernel_package))
        print(f"fetching {kernel} and {', '.join(PACKAGES)} of {SUITE} for {target.name}", flush=True)  # noqa: T201
        root.download([kernel, *PACKAGES], debs)
        return _versions(root, [kernel, *PACKAGES])

    versions = with_lists(SUITE, target.architecture.debian_arch, fetch)
    for name in ("bin", "lib", "modules"):
        (folder / name).mkdir()
    for deb in sorted(debs.glob("*.deb")):
        if deb.name.startswith("linux-image-"):
            wanted = (*BASE_MODULES, *target.machine.kernel_modules)
            image, order = keep_modules(deb.name, partial(deb_files, deb), wanted, folder, "")
            deb.rename(folder / _KERNEL_DEB)
        else:
            _keep_programs(deb, folder)
            deb.unlink()
    debs.rmdir()
    _check(folder)
    release = re.sub(r"^vmlinu[xz]-", "", image)
    parts = {"release": release, "modules": order, "packages": versions}
    (folder / "parts.json").write_text(json.dumps(parts, indent=1) + "\n")


def _versions(root: AptRoot, packages: list[str]) -> dict[str, str]:
    return {package: root.show(package)["Version"] for package in packages}


def keep_modules(
    name: str, files: Files, modules: Sequence[str], folder: Path, image: str = "is there already"
) -> tuple[str, tuple[str, ...]]:
    """Copy modules of a kernel and their dependencies to ``modules/NAME.ko``; with an empty ``image`` its image, too.

    The image's file is ``kernel``. A module that is built into the kernel is left out.

    :param name: the name of the kernel package, for messages.
    :returns: the name of the image, and the modules in load order.
    :raises NoModuleError: if the kernel has no such module.
    :raises CannotRun: if the files include no kernel image, or a module is damaged.
    """
    dependencies: dict[str, tuple[str, ...]] = {}
    built_in: set[str] = set()
    missing = {module.replace("-", "_") for module in modules}
    while missing or not image:
        before = len(dependencies) + bool(image)
        for path, data in files():
            module = path.name.split(".ko")[0].replace("-", "_")
            if not image and _IMAGE.fullmatch(str(path)):
                image = path.name
                (folder / "kernel").write_bytes(data())
            elif path.name == "modules.builtin":
                built_in |= {
                    PurePosixPath(line).stem.replace("-", "_") for line in data().decode(errors="replace").split()
                }
            elif ".ko" in path.suffixes[-2:] and module in missing:
                content = module_content(path.name, data())
                (folder / "modules" / f"{module}.ko").write_bytes(content)
                dependencies[module] = module_dependencies(content)
        missing = {needed for of in dependencies.values() for needed in of} | set(missing)
        missing -= set(dependencies) | built_in
        if (missing or not image) and len(dependencies) + bool(image) == before:
            problem = f"has no module {', '.join(sorted(missing))}" if image else "has no kernel image"
            hint = "see machine.kernel_package and kernel_modules in targets.yaml"
            raise (NoModuleError if image else CannotRun)(f"{name} {problem}", hint)
    wanted = (module.replace("-", "_") for module in modules)
    return image, load_order((module for module in wanted if module not in built_in), dependencies)


def _keep_programs(deb: Path, folder: Path) -> None:
    for path, data in deb_files(deb):
        if path.name in PROGRAMS and path.parent.name == "bin":
            (folder / "bin" / path.name).write_bytes(data())
        elif (soname := _SONAME.fullmatch(path.name)) and path.parent.parent.name in ("lib", "usr"):
            (folder / "lib" / soname[1]).write_bytes(data())


def deb_files(deb: Path) -> Iterator[File]:
    """Yield the regular files of a Debian package as a stream. Read a file's content before you take the next file."""
    require("dpkg-deb", "dpkg")
    with (
        start_program(["dpkg-deb", "--fsys-tarfile", deb], stdout=PIPE) as process,
        tarfile.open(fileobj=pipe_of(process.stdout), mode="r|") as archive,
    ):
        for member in archive:
            if member.isreg():
                yield PurePosixPath("/", member.name), partial(_read_member, archive, member)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = archive.extractfile(member)
    if source is None or member.size > _LARGEST_FILE:
        raise CannotRun(
            f"{member.name} has {member.size} bytes, allowed are {_LARGEST_FILE}", "report this as a bug of the lab"
        )
    return source.read()


def _check(folder: Path) -> None:
    names = {path.name for part in ("bin", "lib") for path in (folder / part).iterdir()}
    for wanted in (*PROGRAMS, "libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"):
        if wanted not in names:
            raise CannotRun(f"Debian's packages do not have {wanted} at its path", "adapt workers/lab/guest/kernel.py")
