"""Sandbox trees: the Debian system that builds run in, made once and then only read.

A tree has a base, the same for every target, and for a foreign target a layer over it (``workers.sandbox.layer``).
``targets.yaml`` alone decides which packages they have. The exact versions of a tree's packages are its identity, which
is part of the identity of every build in it. docs/explanation/architecture.md, "Base and layers", says why there are
two parts.
"""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

from config import architectures
from config.identity import identity_of
from config.models import Site, Target
from workers.base import cache, namespace
from workers.base.errors import CannotRun
from workers.base.run import CommandFailed, require, run
from workers.sandbox import apt
from workers.sandbox.apt import AptRoot

RECIPE = 3
"""Increase it when this module or ``workers.sandbox.layer`` makes another tree from the same list of packages."""

# What specs need not require, besides Debian's essential packages. qemu-user has the static emulators, so they are part
# of the tree's identity; qemu-user-binfmt has the magic numbers by which the kernel recognizes foreign programs.
PACKAGES = (
    *("rpm", "gcc", "g++", "binutils", "make", "perl", "patch", "file", "debugedit", "elfutils", "pkgconf"),
    *("zstd", "xz-utils", "bzip2", "unzip", "cpio", "gawk", "m4", "qemu-user", "qemu-user-binfmt"),
)
"""Debian packages of the base."""

LEFT_OUT = tuple(f"--path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info", "lintian"))
"""Options of dpkg that leave out files that no build reads."""


@dataclass(frozen=True)
class Tree:
    """A sandbox tree on this host."""

    lower: tuple[Path, ...]
    """Its folders, topmost first; the last is the base. A file comes from the first folder that has it."""
    identity: str
    """Hash of the recipe and of the exact versions of all packages."""

    @property
    def base(self) -> Path:
        """Return the root folder of the base."""
        return self.lower[-1]

    def find(self, path: str) -> Path | None:
        """Return a file of the tree by its path without the leading slash; None if the tree does not have it."""
        for folder in self.lower:
            # If a layer removed a file of the base, it has a device file in its place: the mark of overlayfs.
            if os.path.lexists(folder / path):
                return folder / path if (folder / path).is_file() else None
        return None


def native_arch() -> str:
    """Return Debian's name of this host's architecture."""
    machine = platform.machine()
    architecture = architectures.by_name().get(machine)
    return architecture.debian_arch if architecture else machine  # a host of riscv64 may build for others


def is_foreign(target: Target) -> bool:
    """Return whether this host needs a cross compiler and an emulator for the target."""
    return target.architecture.debian_arch != native_arch()


def installed_packages(root: Path) -> tuple[str, ...]:
    """Return ``NAME VERSION ARCHITECTURE`` of each package that is installed below ``root``, sorted."""
    packages = []
    for stanza in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        field = dict(re.findall(r"(?m)^(Package|Version|Architecture|Status): (.*)$", stanza))
        if field.get("Status", "").endswith(" installed"):
            packages.append(f"{field['Package']} {field['Version']} {field['Architecture']}")
    return tuple(sorted(packages))


def listed_packages(root: Path) -> tuple[str, ...]:
    """Return ``NAME VERSION ARCHITECTURE`` of each package of a base or layer, sorted."""
    return tuple(root.with_name("packages").read_text().splitlines())


def finish(partial: Path, packages: tuple[str, ...], *below: str) -> None:
    """Write the list of packages and the identity of a base or layer.

    :param below: for a layer, the packages of the base.
    """
    (partial / "packages").write_text("".join(f"{line}\n" for line in packages))
    identity = identity_of({"packages": packages, "recipe": RECIPE} | ({"on": below} if below else {}))
    (partial / "identity").write_text(identity + "\n")


def base_key(site: Site) -> str:
    """Return the name of the base in the cache; sites with the same Debian suite share it."""
    return identity_of({"suite": site.build.suite, "packages": PACKAGES, "recipe": RECIPE, "on": native_arch()})[:16]


def base_tree(site: Site) -> Tree:
    """Return the base of the site's trees, which is the whole tree of a native target; make it first if it is missing.

    :raises CannotRun: if no mirror or no mmdebstrap is found, or mmdebstrap fails.
    """
    entry = cache.entry("trees", base_key(site), lambda partial: _make(site.build.suite, partial))
    return Tree((entry / "root",), (entry / "identity").read_text().strip())


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"sandbox: {text}", flush=True)  # noqa: T201 - progress for people


def _make(suite: str, partial: Path) -> None:
    began = time.monotonic()
    root = partial / "root"
    try:
        apt.with_lists(suite, native_arch(), lambda lists: _bootstrap(lists, root))
    except CannotRun as error:
        raise CannotRun(f"the sandbox's base could not be made: {error.what}", error.hint) from error
    for folder in ("builddir", "etc/rpm", "usr/lib64/pkgconfig", "var/lib/rpm"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for mount_point in ("etc/rpmrc", "etc/rpm/macros"):
        (root / mount_point).touch()
    # libtool writes an rpath for each folder that is not in this file. The loader reads only its cache, which no build
    # changes.
    (root / "etc/ld.so.conf.d/lib64.conf").write_text("/usr/lib64\n")
    packages = installed_packages(root)
    if not any(line.startswith("rpm ") for line in packages):
        raise CannotRun(f"the sandbox's base of {suite} has no rpm", "check the suite in build.yaml and the mirror")
    finish(partial, packages)
    say(f"base: {len(packages)} packages in {time.monotonic() - began:.0f} s")


def _bootstrap(lists: AptRoot, root: Path) -> None:
    """Make a Debian tree in ``root`` with mmdebstrap.

    :raises MirrorDisagrees: if the mirror does not serve what the lists name.
    :raises CannotRun: if mmdebstrap fails for another reason; the message is mmdebstrap's.
    """
    cache.remove(root)
    mmdebstrap = require("mmdebstrap", "mmdebstrap")
    say(f"base: Debian {lists.suite}, {len(PACKAGES)} packages and what they need, from {apt.mirror()}")
    these_lists, archive = lists.for_mmdebstrap()
    options = ["--variant=essential", "--components=main", f"--include={','.join(PACKAGES)}"]
    options += [f"--dpkgopt={option.removeprefix('--')}" for option in (*LEFT_OUT, "--force-unsafe-io")]
    options += [*(f"--aptopt={line}" for line in _transport_options()), *these_lists]
    try:
        if os.geteuid() == 0:
            # In namespaces, so that mmdebstrap's mounts and processes end with it if it is killed.
            prefix = [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                mmdebstrap,
                "--mode=root",
            ]
            run([*prefix, "--format=directory", *options, lists.suite, root, archive], echo=True)
        else:
            if not namespace.has_subordinate_ids():
                raise namespace.no_subordinate_ids("mmdebstrap makes the sandbox tree from files of several owners")
            # By way of an archive that this user unpacks, so that this user can also remove the tree.
            tar = root.with_suffix(".tar")
            run([mmdebstrap, "--mode=unshare", "--format=tar", *options, lists.suite, tar, archive], echo=True)
            root.mkdir()
            run(["tar", "-x", "-f", tar, "-C", root, "--no-same-owner", "--exclude=./dev/*"])
            tar.unlink()
    except CommandFailed as error:
        if contradiction := apt.contradiction(error.done.output):
            raise contradiction from None
        lines = error.done.output.splitlines()
        why = next((line for line in reversed(lines) if line.startswith("E: ")), "see above")
        raise CannotRun(
            f"mmdebstrap: {why.removeprefix('E: ')}",
            f"check that {apt.mirror()} has the suite {lists.suite}, or use another mirror: "
            "export KITTEN_DEBIAN_MIRROR=URL",
        ) from error


def _transport_options() -> list[str]:
    """Return the proxies and certificates of this host's apt as apt.conf lines; mmdebstrap does not read them."""
    dump = run(["apt-config", "dump", "--format", '%f "%v";%n']).output
    return [line for line in dump.splitlines() if re.match(r'Acquire::https?::[^"]*(Proxy|CAInfo)[^"]* "[^"]+";', line)]
