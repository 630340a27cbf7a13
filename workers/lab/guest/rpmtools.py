"""The root guest: the base of a target's guests with rpm in it, and rpm's database.

rpm is Debian's of the guest's architecture, in a folder of its own with its own loader and libraries: a package under test
may be zlib itself, and neither the tools nor the package may ever meet the other's. The database holds one package,
``kitten-guest``, which has no file and provides what the guest brings; so rpm checks dependencies as it does for users.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from config.identity import identity_of
from config.models import Site, Target
from workers.base import cache, namespace
from workers.base.errors import CannotRun
from workers.base.run import PIPE, CommandFailed, pipe_of, require, run, start_program
from workers.formats.cpio import Archive
from workers.lab.guest import debian, file_system
from workers.lab.guest.kernel import SUITE, GuestParts, guest_parts

RPM = "/kitten/bin/rpm"
STAND_IN = "kitten-guest"
DATABASE = "/usr/lib/sysimage/rpm"
"""Where Enterprise Linux 10 keeps it."""

_FOLDER = "/kitten/rpm"
_FORMAT = 1  # changes when what is kept, or made of it, changes
_CONFIGURATION = ("rpmrc", "macros")

# The last word on a macro counts. No plugins: audit, SELinux and systemd are not in the guest.
_MACROS = f"""
%_dbpath {DATABASE}
%__plugindir %{{nil}}
%__systemd_sysusers {_FOLDER}/sysusers
"""
_WRAPPER = f"""#!/usr/bin/busybox sh
RPM_CONFIGDIR={_FOLDER}
export RPM_CONFIGDIR
exec {_FOLDER}/lib/LOADER --library-path {_FOLDER}/lib {_FOLDER}/rpm \\
    --rcfile {_FOLDER}/rpmrc --macros {_FOLDER}/macros "$@"
"""

# What Enterprise Linux's packages of these names provide of what the guest has; files by path come on top.
_PROVIDES = (
    *("filesystem", "setup", "basesystem", "glibc", "glibc-common", "libgcc", "libstdc++", "bash", "coreutils", "sed"),
    *("grep", "gawk", "gzip", "diffutils", "util-linux-core", "rtld(GNU_HASH)", "/bin/sh", "/bin/bash"),
    *("/sbin/ldconfig", "/usr/sbin/ldconfig"),
)
_WITH_ISA = ("glibc", "libgcc", "libstdc++", "bash")
# ldconfig runs after libraries came or went, as the trigger of Enterprise Linux's glibc-common has it.
_SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: Stands for the base system of a test guest
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
{provides}
%description
No file: only the names of what the guest brings.
%transfiletriggerin -P 2000000 -p <lua> -- /lib /usr/lib /lib64 /usr/lib64 /etc/ld.so.conf.d
rpm.execute("/usr/sbin/ldconfig")
%transfiletriggerpostun -P 2000000 -p <lua> -- /lib /usr/lib /lib64 /usr/lib64 /etc/ld.so.conf.d
rpm.execute("/usr/sbin/ldconfig")
%files
"""


def root_base(site: Site, target: Target) -> file_system.Base:
    """The base of the target's root guests; fetched and made on first use.

    :raises CannotRun: no apt, no network, no rpm on this host.
    """
    small = file_system.base(target, guest_parts(target))  # also where the target has a cloud image
    tools, stand_in = _tools(target), stand_in_package(site, target)

    def make(folder: Path) -> None:
        with (folder / "root.cpio").open("wb") as file:
            file.write(small.archive.read_bytes())
            file.write(_archive(tools, stand_in))

    code = hashlib.sha256(Path(__file__).read_bytes() + _sysusers()).hexdigest()
    key = identity_of(
        {"base": small.archive.parent.name, "tools": tools.name, "stand-in": stand_in.parent.name, "code": code}
    )
    archive = cache.entry("initramfs", f"{target.name}-root-{key[:16]}", make) / "root.cpio"
    return replace(small, archive=archive)


def loader(parts: GuestParts) -> str:
    """Path of the guest's program interpreter."""
    return next(f"/usr/lib64/{library.name}" for library in parts.libraries if library.name.startswith("ld"))


def _tools(target: Target) -> Path:
    """Folder of the cache: ``rpm``, ``ldconfig``, ``lib/`` with the loader, and rpm's configuration."""
    arch = target.architecture.debian_arch
    return cache.entry("guest-rpm", f"{arch}-{SUITE}-{_FORMAT}", lambda folder: _fetch(target, folder))


def _fetch(target: Target, folder: Path) -> None:
    configuration = (*_CONFIGURATION, "rpmpopt")

    def wanted(path: PurePosixPath) -> bool:
        of_rpm = path.parent == PurePosixPath("/usr/lib/rpm") and path.name.startswith(configuration)
        return of_rpm or path == PurePosixPath("/usr/bin/rpm") or path.name == "ldconfig"

    files, libraries = debian.files_and_libraries(target, ["rpm", "libc-bin"], wanted)
    for path, data in files.items():
        (folder / path.name).write_bytes(data)
    for name in ("rpm", "ldconfig", *_CONFIGURATION):
        if not (folder / name).is_file():
            raise debian.missing(name, "rpmtools")
    (folder / "lib").mkdir()
    for name in debian.needed([(folder / "rpm").read_bytes()], libraries):
        (folder / "lib" / name).write_bytes(libraries[name])


def _archive(tools: Path, stand_in: Path) -> bytes:
    archive = Archive()
    archive.file(RPM, _WRAPPER.replace("LOADER", debian.loader(tools / "lib")).encode(), 0o755)
    archive.file(f"{_FOLDER}/rpm", (tools / "rpm").read_bytes(), 0o755)
    archive.file(f"{_FOLDER}/sysusers", _sysusers(), 0o755)
    for path in sorted((tools / "lib").iterdir()):
        archive.file(f"{_FOLDER}/lib/{path.name}", path.read_bytes(), 0o755)
    for path in sorted(path for path in tools.iterdir() if path.name.startswith((*_CONFIGURATION, "rpmpopt"))):
        more = _MACROS.encode() if path.name == "macros" else b""
        archive.file(f"{_FOLDER}/{path.name}", path.read_bytes() + more)
    archive.file("/usr/sbin/ldconfig", (tools / "ldconfig").read_bytes(), 0o755)
    archive.file("/etc/ld.so.conf", b"include ld.so.conf.d/*.conf\n")
    archive.folder("/etc/ld.so.conf.d")
    for path in sorted(_database(stand_in).iterdir()):
        archive.file(f"{DATABASE}/{path.name}", path.read_bytes())
    return archive.finish()


def _sysusers() -> bytes:
    return Path(__file__).with_name("sysusers.sh").read_bytes()


# ----------------------------------------------------------------------------------------------------- the stand-in


def stand_in_package(site: Site, target: Target) -> Path:
    """The RPM that stands for what a guest of the target brings, and what its site's base system does; made on first use.

    :raises CannotRun: without rpmbuild on this host.
    """
    parts = guest_parts(target)
    names = sorted({*_PROVIDES, *_programs(), *_isa(target), *_users(), *library_provides(parts), *_promised(site)})
    specification = _SPEC.format(name=STAND_IN, provides="\n".join(f"Provides: {name}" for name in names))

    def make(folder: Path) -> None:
        require("rpmbuild", "rpm")
        with tempfile.TemporaryDirectory(prefix="kitten-rpm-") as scratch:
            spec = Path(scratch) / "guest.spec"
            spec.write_text(specification)
            _on_host(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {scratch}", spec])
            built = next(Path(scratch).glob("RPMS/noarch/*.rpm"))
            (folder / built.name).write_bytes(built.read_bytes())

    key = hashlib.sha256(specification.encode()).hexdigest()[:16]
    return next(cache.entry("guest-stand-in", f"{target.name}-{key}", make).glob("*.rpm"))


def library_provides(parts: GuestParts) -> tuple[str, ...]:
    """The sonames and symbol versions of the guest's libraries, as rpm's own generator names them.

    :raises CannotRun: where that is not installed.
    """
    generator = Path("/usr/lib/rpm/elfdeps")
    if not generator.is_file():
        raise CannotRun(f"{generator} is not there", "apt-get install rpm   (or: make setup)")

    def make(folder: Path) -> None:
        names = "".join(f"{library}\n" for library in parts.libraries)
        listing = folder / "libraries"
        listing.write_text(names)
        with (
            listing.open("rb") as source,
            start_program([generator, "--provides"], stdin=source, stdout=PIPE) as process,
        ):
            (folder / "provides").write_bytes(pipe_of(process.stdout).read())

    folder = cache.entry("guest-provides", f"{parts.folder.name}-{_FORMAT}", make)
    return tuple((folder / "provides").read_text().split("\n"))[:-1]


def _programs() -> Iterable[str]:
    """Files by path: what scripts name as their interpreter or ask for."""
    from workers.lab.guest.kernel import PROGRAMS

    return (f"/usr/bin/{name}" for name in (*file_system.APPLETS, *PROGRAMS, "sh"))


def _isa(target: Target) -> Iterable[str]:
    """``glibc(x86-64)`` and the like: rpm's %{?_isa} of the architecture."""
    isa = _on_host(["rpm", "--target", f"{target.machine_arch}-linux", "--eval", "%{?_isa}"]).strip()
    return (f"{name}{isa}" for name in _WITH_ISA if isa)


def _promised(site: Site) -> Iterable[str]:
    """What the site's base system is said to bring, though no package of it is built there and the guest has none of it.

    Packages that need it could not be installed otherwise: a -devel package and pkg-config.
    """
    from workers.sandbox.base_package import PROVIDES

    return (*PROVIDES, *site.build.provides) if site.build.backend == "sandbox" else ()


def _users() -> Iterable[str]:
    return (f"{kind}({name})" for kind in ("user", "group") for name in ("root", "nobody"))


def _database(stand_in: Path) -> Path:
    """A database of rpm with the stand-in in it, written by this host's rpm. Its format is the same on every architecture."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="kitten-rpm-") as root:
            options = ["--root", root, "--dbpath", DATABASE, "--define", "_db_backend sqlite"]
            # rpm 4.20, unlike 4.18, changes its root folder for that, which only root may.
            _on_host([*namespace.as_root(), "rpm", *options, "--justdb", "--noscripts", "--notriggers", "-i", stand_in])
            for path in Path(root + DATABASE).iterdir():
                if path.is_file() and not path.name.startswith("."):
                    (folder / path.name).write_bytes(path.read_bytes())

    return cache.entry("guest-database", f"{stand_in.parent.name}-{_FORMAT}", make)


def _on_host(argv: list[str | Path]) -> str:
    try:
        return run(argv, timeout=120).output
    except CommandFailed as error:
        raise CannotRun(f"this host's rpm cannot make what guests need: {error}", "see its words above") from None
