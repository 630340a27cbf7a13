"""The root guest: the base of a target's guests with rpm and rpm's database.

rpm is Debian's, of the guest's architecture, in a separate folder with its own loader and libraries. A package under
test may be zlib itself, and rpm and the package must not use each other's libraries. The database has one package,
``kitten-guest``. It has no files and provides everything that the guest has, so rpm checks dependencies as for users.
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
from workers.lab.guest.kernel import PROGRAMS, SUITE, GuestParts, guest_parts

RPM = "/kitten/bin/rpm"
_STAND_IN = "kitten-guest"
_DATABASE = "/usr/lib/sysimage/rpm"
"""The path of rpm's database in Enterprise Linux 10."""

_FOLDER = "/kitten/rpm"
_FORMAT = 1  # increase it when the kept files, or the files made from them, change
_CONFIGURATION = ("rpmrc", "macros")

# The last definition of a macro counts. No plugins: the guest has no audit, SELinux and systemd.
_MACROS = f"""
%_dbpath {_DATABASE}
%__plugindir %{{nil}}
%__systemd_sysusers {_FOLDER}/sysusers
"""
_WRAPPER = f"""#!/usr/bin/busybox sh
RPM_CONFIGDIR={_FOLDER}
export RPM_CONFIGDIR
exec {_FOLDER}/lib/LOADER --library-path {_FOLDER}/lib {_FOLDER}/rpm \\
    --rcfile {_FOLDER}/rpmrc --macros {_FOLDER}/macros "$@"
"""

# The names of Enterprise Linux packages and provides whose content the guest has. Paths of files are added to them.
_PROVIDES = (
    *("filesystem", "setup", "basesystem", "glibc", "glibc-common", "libgcc", "libstdc++", "bash", "coreutils", "sed"),
    *("grep", "gawk", "gzip", "diffutils", "util-linux-core", "rtld(GNU_HASH)", "/bin/sh", "/bin/bash"),
    *("/sbin/ldconfig", "/usr/sbin/ldconfig"),
)
_WITH_ISA = ("glibc", "libgcc", "libstdc++", "bash")
# ldconfig runs after libraries are installed or removed, as with the trigger of Enterprise Linux's glibc-common.
_SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: Represents the base system of a test guest
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
{provides}
%description
No files, only the names that the guest provides.
%transfiletriggerin -P 2000000 -p <lua> -- /lib /usr/lib /lib64 /usr/lib64 /etc/ld.so.conf.d
rpm.execute("/usr/sbin/ldconfig")
%transfiletriggerpostun -P 2000000 -p <lua> -- /lib /usr/lib /lib64 /usr/lib64 /etc/ld.so.conf.d
rpm.execute("/usr/sbin/ldconfig")
%files
"""


def root_base(site: Site, target: Target) -> file_system.Base:
    """Return the base of the target's root guests; fetch and make it on first use.

    :raises CannotRun: no apt, no network, no rpm on this host.
    """
    small = file_system.base(target, guest_parts(target))  # also if the target has a cloud image
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
    """Return the path of the guest's program interpreter."""
    return next(f"/usr/lib64/{library.name}" for library in parts.libraries if library.name.startswith("ld"))


def _tools(target: Target) -> Path:
    """Return a folder of the cache with ``rpm``, ``ldconfig``, ``lib/`` with the loader, and rpm's configuration."""
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
            raise debian.missing_file(name, "rpmtools")
    (folder / "lib").mkdir()
    for name in debian.needed_sonames([(folder / "rpm").read_bytes()], libraries):
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
        archive.file(f"{_DATABASE}/{path.name}", path.read_bytes())
    return archive.finish()


def _sysusers() -> bytes:
    return Path(__file__).with_name("sysusers.sh").read_bytes()


# ----------------------------------------------------------------------------------------------------- the stand-in


def stand_in_package(site: Site, target: Target) -> Path:
    """Return the RPM that provides everything that a guest of the target and the site's base system have.

    Build it on first use.

    :raises CannotRun: if this host has no rpmbuild.
    """
    parts = guest_parts(target)
    names = {*_PROVIDES, *_program_paths(), *_isa_provides(target), *_user_provides()}
    names |= {*_library_provides(parts), *_base_system_provides(site)}
    specification = _SPEC.format(name=_STAND_IN, provides="\n".join(f"Provides: {name}" for name in sorted(names)))

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


def _library_provides(parts: GuestParts) -> tuple[str, ...]:
    """Return the sonames and symbol versions of the guest's libraries, in the notation of rpm's generator.

    :raises CannotRun: if the generator is not installed.
    """
    generator = Path("/usr/lib/rpm/elfdeps")
    if not generator.is_file():
        raise CannotRun(f"{generator} is not installed", "apt-get install rpm   (or: make setup)")

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


def _program_paths() -> Iterable[str]:
    """Return the paths of programs, which packages require for their scripts."""
    return (f"/usr/bin/{name}" for name in (*file_system.APPLETS, *PROGRAMS, "sh"))


def _isa_provides(target: Target) -> Iterable[str]:
    """Return names such as ``glibc(x86-64)``, with rpm's %{?_isa} of the architecture."""
    isa = _on_host(["rpm", "--target", f"{target.machine_arch}-linux", "--eval", "%{?_isa}"]).strip()
    return (f"{name}{isa}" for name in _WITH_ISA if isa)


def _base_system_provides(site: Site) -> Iterable[str]:
    """Return the names that the sandbox backend's base system provides. No package has them, nor has the guest.

    Without them some packages could not be installed, for example a -devel package that needs pkg-config.
    """
    from workers.sandbox.base_package import PROVIDES

    return (*PROVIDES, *site.build.provides) if site.build.backend == "sandbox" else ()


def _user_provides() -> Iterable[str]:
    return (f"{kind}({name})" for kind in ("user", "group") for name in ("root", "nobody"))


def _database(stand_in: Path) -> Path:
    """Return a folder with an rpm database that contains the stand-in.

    This host's rpm writes it: its format is the same on every architecture.
    """

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="kitten-rpm-") as root:
            options = ["--root", root, "--dbpath", _DATABASE, "--define", "_db_backend sqlite"]
            # rpm 4.20 calls chroot here, unlike 4.18, and only root may do so.
            _on_host([*namespace.as_root(), "rpm", *options, "--justdb", "--noscripts", "--notriggers", "-i", stand_in])
            for path in Path(root + _DATABASE).iterdir():
                if path.is_file() and not path.name.startswith("."):
                    (folder / path.name).write_bytes(path.read_bytes())

    return cache.entry("guest-database", f"{stand_in.parent.name}-{_FORMAT}", make)


def _on_host(argv: list[str | Path]) -> str:
    try:
        return run(argv, timeout=120).output
    except CommandFailed as error:
        raise CannotRun(f"rpm of this host failed: {error}", "see its messages above") from None
