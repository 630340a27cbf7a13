"""Sandbox trees: a Debian userland that builds run in, made once, then only read.

A tree is a base, the same for every target, and on top of it what a foreign target needs: a layer (``workers.sandbox.layer``).
Their packages follow from ``targets.yaml`` alone; the exact versions of a target's are its tree's identity, which is part of
the identity of every build made in it. Why there are two parts: docs/explanation/architecture.md, "Base and layers".
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
"""Counted up whenever what is made here or in ``workers.sandbox.layer`` changes for the same list of packages."""

# What specs may take for granted, besides Debian's essential packages. qemu-user holds the static emulators, so that
# they belong to the tree's identity; qemu-user-binfmt holds the magic numbers by which the kernel knows foreign programs.
PACKAGES = (
    *("rpm", "gcc", "g++", "binutils", "make", "perl", "patch", "file", "debugedit", "elfutils", "pkgconf"),
    *("zstd", "xz-utils", "bzip2", "unzip", "cpio", "gawk", "m4", "qemu-user", "qemu-user-binfmt"),
)
"""Debian packages of the base."""

LEFT_OUT = tuple(f"--path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info", "lintian"))
"""Options of dpkg that leave out what no build reads."""


@dataclass(frozen=True)
class Tree:
    """A sandbox tree on this host."""

    lower: tuple[Path, ...]
    """Its folders, topmost first: what a folder does not have, the next one brings. The last is the base."""
    identity: str
    """Hash of the exact version of each of its packages and of the recipe."""

    @property
    def base(self) -> Path:
        """Root folder of the base."""
        return self.lower[-1]

    def find(self, path: str) -> Path | None:
        """A file of the tree, by its path without the leading slash."""
        for folder in self.lower:
            # What a layer removed from the base is there as a device file, overlayfs' mark.
            if os.path.lexists(folder / path):
                return folder / path if (folder / path).is_file() else None
        return None


def native_arch() -> str:
    """Debian's name of this host's architecture."""
    machine = platform.machine()
    architecture = architectures.known().get(machine)
    return architecture.debian_arch if architecture else machine  # a host of riscv64 may build for others


def is_foreign(target: Target) -> bool:
    """Whether this host needs a cross compiler and an emulator for the target."""
    return target.architecture.debian_arch != native_arch()


def installed_packages(root: Path) -> tuple[str, ...]:
    """``NAME VERSION ARCHITECTURE`` of each package that dpkg calls installed below ``root``, sorted."""
    found = []
    for stanza in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        field = dict(re.findall(r"(?m)^(Package|Version|Architecture|Status): (.*)$", stanza))
        if field.get("Status", "").endswith(" installed"):
            found.append(f"{field['Package']} {field['Version']} {field['Architecture']}")
    return tuple(sorted(found))


def listed_packages(root: Path) -> tuple[str, ...]:
    """``NAME VERSION ARCHITECTURE`` of each package that a part of a tree brings, sorted."""
    return tuple(root.with_name("packages").read_text().splitlines())


def finish(partial: Path, packages: tuple[str, ...], *below: str) -> None:
    """Write the list of packages and the identity of a part of a tree.

    :param below: the packages that the part stands on.
    """
    (partial / "packages").write_text("".join(f"{line}\n" for line in packages))
    identity = identity_of({"packages": packages, "recipe": RECIPE} | ({"on": below} if below else {}))
    (partial / "identity").write_text(identity + "\n")


def base_key(site: Site) -> str:
    """Name of the base in the cache: sites of one suite share it."""
    return identity_of({"suite": site.build.suite, "packages": PACKAGES, "recipe": RECIPE, "on": native_arch()})[:16]


def base_tree(site: Site) -> Tree:
    """The base of the site's trees, which is the whole tree of a native target; made first if it is not there.

    :raises CannotRun: without a mirror or mmdebstrap, or when that fails.
    """
    made = cache.entry("trees", base_key(site), lambda partial: _make(site.build.suite, partial))
    return Tree((made / "root",), (made / "identity").read_text().strip())


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
    # libtool writes an rpath for every folder that is not in here. The loader reads only its cache, which no build changes.
    (root / "etc/ld.so.conf.d/lib64.conf").write_text("/usr/lib64\n")
    found = installed_packages(root)
    if not any(line.startswith("rpm ") for line in found):
        raise CannotRun(f"the sandbox's base of {suite} came out without rpm")
    finish(partial, found)
    say(f"base: {len(found)} packages in {time.monotonic() - began:.0f} s")


def _bootstrap(lists: AptRoot, root: Path) -> None:
    """Make a Debian tree in ``root``.

    :raises MirrorDisagrees: when the mirror does not serve what the lists name.
    :raises CannotRun: with mmdebstrap's words.
    """
    cache.remove(root)
    mmdebstrap = require("mmdebstrap", "mmdebstrap")
    say(f"base: Debian {lists.suite}, {len(PACKAGES)} packages and what they need, from {apt.mirror()}")
    these_lists, archive = lists.for_mmdebstrap()
    options = ["--variant=essential", "--components=main", f"--include={','.join(PACKAGES)}"]
    options += [f"--dpkgopt={option.removeprefix('--')}" for option in (*LEFT_OUT, "--force-unsafe-io")]
    options += [*(f"--aptopt={line}" for line in _transport()), *these_lists]
    try:
        if os.geteuid() == 0:
            # Namespaces of our own: whatever ends this early takes mmdebstrap's mounts and processes along.
            alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", mmdebstrap, "--mode=root"]
            run([*alone, "--format=directory", *options, lists.suite, root, archive], echo=True)
        else:
            if not namespace.has_subordinate_ids():
                raise namespace.no_subordinate_ids(
                    "the sandbox tree is made by mmdebstrap from files of several owners"
                )
            # Through an archive, unpacked as this user: a tree that its owner can also remove.
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
            f"is {apt.mirror()} reachable, with suite {lists.suite}? Another mirror: export KITTEN_DEBIAN_MIRROR=URL",
        ) from error


def _transport() -> list[str]:
    """How this host's apt reaches an archive (proxies, certificates), as apt.conf lines: mmdebstrap's own apt asks nobody."""
    dump = run(["apt-config", "dump", "--format", '%f "%v";%n']).output
    return [line for line in dump.splitlines() if re.match(r'Acquire::https?::[^"]*(Proxy|CAInfo)[^"]* "[^"]+";', line)]
