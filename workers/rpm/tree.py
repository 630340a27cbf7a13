"""The sandbox tree: a Debian userland with rpm and (cross) compilers for each target of a site, made once, then only read.

Its packages follow from ``targets.yaml`` alone; their exact versions are the tree's identity, which is part of the
identity of every build made in it.
"""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

from config.identity import identity_of
from config.models import Site, Target
from workers import apt, cache, namespace
from workers.errors import CannotRun
from workers.run import CommandFailed, require, run

RECIPE = 2
"""Counted up whenever what is made here changes for the same list of packages."""

# What specs may take for granted, besides Debian's essential packages. qemu-user holds the static emulators, so that
# they belong to the tree's identity; qemu-user-binfmt holds the magic numbers by which the kernel knows foreign programs.
_PACKAGES = (
    *("rpm", "gcc", "g++", "binutils", "make", "perl", "patch", "file", "debugedit", "elfutils", "pkgconf"),
    *("zstd", "xz-utils", "bzip2", "unzip", "cpio", "gawk", "m4", "qemu-user", "qemu-user-binfmt"),
)
_DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el", "s390x": "s390x", "riscv64": "riscv64"}
_LEFT_OUT = ("man", "doc", "locale", "info", "lintian")


@dataclass(frozen=True)
class Tree:
    """A sandbox tree on this host."""

    path: Path
    """Its root folder."""
    identity: str
    """Hash of the exact version of each of its packages and of the recipe."""

    @property
    def packages(self) -> Path:
        """File that lists its packages: ``NAME VERSION ARCHITECTURE`` lines."""
        return self.path.with_name("packages")


def native_arch() -> str:
    """Debian's name of this host's architecture."""
    machine = platform.machine()
    return _DEBIAN_ARCH.get(machine, machine)


def is_foreign(target: Target) -> bool:
    """Whether this host needs a cross compiler and an emulator for the target."""
    return target.toolchain.debian_arch != native_arch()


def package_list(site: Site) -> tuple[str, ...]:
    """Debian packages of the site's tree, sorted. Cross C libraries are only recommended by compilers: asked for by name."""
    names = set(_PACKAGES)
    for target in filter(is_foreign, site.targets):
        # Debian writes x86-64 in package names, where the triplet has x86_64.
        triplet, arch = target.toolchain.triplet.replace("_", "-"), target.toolchain.debian_arch
        names |= {f"gcc-{triplet}", f"g++-{triplet}", f"binutils-{triplet}", f"libc6-dev-{arch}-cross"}
    return tuple(sorted(names))


def installed_packages(status: str) -> tuple[str, ...]:
    """``NAME VERSION ARCHITECTURE`` of each package that a dpkg status file calls installed, sorted."""
    found = []
    for stanza in status.split("\n\n"):
        field = dict(re.findall(r"(?m)^(Package|Version|Architecture|Status): (.*)$", stanza))
        if field.get("Status", "").endswith(" installed"):
            found.append(f"{field['Package']} {field['Version']} {field['Architecture']}")
    return tuple(sorted(found))


def key(site: Site) -> str:
    """Name of the site's tree in the cache."""
    packages = package_list(site)
    return identity_of({"suite": site.build.suite, "packages": packages, "recipe": RECIPE, "on": native_arch()})[:16]


def folder(site: Site) -> Path:
    """Where the site's tree lies, or will."""
    return cache.root() / "trees" / key(site)


def tree(site: Site) -> Tree:
    """The site's sandbox tree; made first if it is not there (a minute or so, 1.6 GB).

    :raises CannotRun: without a mirror or mmdebstrap, or when that fails.
    """
    made = cache.entry("trees", key(site), lambda partial: _make(site, partial))
    return Tree(made / "root", (made / "identity").read_text().strip())


def describe(site: Site) -> str:
    """The site's tree in words; made first if it is not there."""
    made = tree(site)
    size = sum(path.lstat().st_size for path in made.path.rglob("*") if path.is_file() and not path.is_symlink())
    days = (time.time() - made.packages.stat().st_mtime) / 86400
    count = len(made.packages.read_text().splitlines())
    return "\n".join(
        (
            f"path      {made.path}",
            f"identity  {made.identity}",
            f"packages  {count} of Debian {site.build.suite}: {made.packages}",
            f"size      {size / 1e9:.1f} GB",
            f"made      {days:.1f} days ago",
        )
    )


def _make(site: Site, partial: Path) -> None:
    began = time.monotonic()
    mmdebstrap = require("mmdebstrap", "mmdebstrap")
    mirror, keyring = apt.mirror(), apt.keyring()
    packages = package_list(site)
    _say(f"Debian {site.build.suite}, {len(packages)} packages and what they need, from {mirror}")
    root = partial / "root"
    options = ["--variant=essential", "--components=main", f"--include={','.join(packages)}"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    options += ["--dpkgopt=force-unsafe-io", *(f"--aptopt={line}" for line in _transport())]
    archive = f"deb [signed-by={keyring}] {mirror} {site.build.suite} main"
    try:
        if os.geteuid() == 0:
            # Namespaces of our own: whatever ends this early takes mmdebstrap's mounts and processes along.
            alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", mmdebstrap, "--mode=root"]
            run([*alone, "--format=directory", *options, site.build.suite, root, archive], echo=True)
        else:
            if not namespace.has_other_ids():
                raise namespace.need_of_other_ids("the sandbox tree is made by mmdebstrap from files of several owners")
            # Through an archive, unpacked as this user: a tree that its owner can also remove.
            tar = partial / "root.tar"
            run([mmdebstrap, "--mode=unshare", "--format=tar", *options, site.build.suite, tar, archive], echo=True)
            root.mkdir()
            run(["tar", "-x", "-f", tar, "-C", root, "--no-same-owner", "--exclude=./dev/*"])
            tar.unlink()
    except CommandFailed as error:
        last = next((line for line in reversed(error.done.output.splitlines()) if line.startswith("E: ")), "see above")
        raise CannotRun(
            f"the sandbox tree could not be made: {last.removeprefix('E: ')}",
            f"is {mirror} reachable, with suite {site.build.suite}? Another mirror: export KITTEN_DEBIAN_MIRROR=URL",
        ) from error
    _furnish(site, root)
    found = installed_packages((root / "var/lib/dpkg/status").read_text())
    if not any(line.startswith("rpm ") for line in found):
        raise CannotRun(f"the sandbox tree of {site.build.suite} came out without rpm")
    (partial / "packages").write_text("\n".join(found) + "\n")
    (partial / "identity").write_text(identity_of({"packages": found, "recipe": RECIPE}) + "\n")
    _say(f"{len(found)} packages in {time.monotonic() - began:.0f} s")


def _say(text: str) -> None:
    print(f"sandbox tree: {text}", flush=True)  # noqa: T201 - progress for people


def _transport() -> list[str]:
    """How this host's apt reaches an archive (proxies, certificates), as apt.conf lines: mmdebstrap's own apt asks nobody."""
    dump = run(["apt-config", "dump", "--format", '%f "%v";%n']).output
    return [line for line in dump.splitlines() if re.match(r'Acquire::https?::[^"]*(Proxy|CAInfo)[^"]* "[^"]+";', line)]


def _furnish(site: Site, root: Path) -> None:
    """Add what Debian does not bring: mount points for our files, and the folder /usr/lib64 in every search path."""
    for name in ("builddir", "etc/rpm", "usr/lib64/pkgconfig", "var/lib/rpm"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("etc/rpmrc", "etc/rpm/macros"):
        (root / name).touch()
    for target in filter(is_foreign, site.targets):
        # Cross gcc looks there for libraries, and so does the emulated loader, which takes it for /lib/TRIPLET
        # (QEMU_LD_PREFIX). Only packages of the target that is being built ever lie in /usr/lib64.
        triplet = target.toolchain.triplet
        link = root / "usr" / triplet / "lib" / triplet
        if not link.is_symlink():
            link.symlink_to("../../lib64")
    # libtool writes an rpath for every folder that is not in here. The loader reads only its cache, which stays as it is.
    (root / "etc/ld.so.conf.d/lib64.conf").write_text("/usr/lib64\n")
