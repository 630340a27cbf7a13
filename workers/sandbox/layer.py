"""The tree of a target: the base and, for a foreign target, a layer over it with its cross compilers and C library.

A layer has the files that dpkg wrote when it installed these packages in a sandbox over the base, so dpkg's scripts,
triggers and database are real. Targets of one triplet share a layer. No build of another target sees it.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from config.identity import identity_of
from config.models import Site, Target
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.run import CommandFailed
from workers.sandbox import apt, bubblewrap
from workers.sandbox.apt import AptRoot, MirrorDisagrees
from workers.sandbox.tree import (
    LEFT_OUT,
    RECIPE,
    Tree,
    base_tree,
    finish,
    installed_packages,
    is_foreign,
    listed_packages,
    native_arch,
    say,
)

# Messages of apt and dpkg if packages of the base and of the layer cannot be installed together.
_BASE_TOO_OLD = re.compile(
    r"need to be removed|held broken packages|unmet dependencies|pkgProblemResolver|dependency problems"
)


def cross_packages(target: Target) -> tuple[str, ...]:
    """Return the Debian packages of a foreign target's layer; empty for a native target, which needs no layer."""
    if not is_foreign(target):
        return ()
    triplet, arch = target.architecture.debian_triplet, target.architecture.debian_arch
    # Compilers only recommend the C library of a foreign target.
    return (f"binutils-{triplet}", f"g++-{triplet}", f"gcc-{triplet}", f"libc6-dev-{arch}-cross")


def target_tree(site: Site, target: Target) -> Tree:
    """Return the sandbox tree of a target; make its missing parts first.

    :raises CannotRun: if the base or the target's layer cannot be made.
    """
    base = base_tree(site)
    if not is_foreign(target):
        return base
    entry = cache.entry("trees", layer_key(site, target, base), lambda partial: _make(site, target, base, partial))
    return Tree((entry / "root", *base.lower), (entry / "identity").read_text().strip())


def layer_key(site: Site, target: Target, base: Tree) -> str:
    """Return the name of a target's layer in the cache.

    Another base needs another layer, because dpkg's database is part of the layer.
    """
    packages = cross_packages(target)
    return identity_of({"suite": site.build.suite, "base": base.identity, "packages": packages, "recipe": RECIPE})[:16]


def _make(site: Site, target: Target, base: Tree, partial: Path) -> None:
    began = time.monotonic()
    what = f"layer of {target.name}"
    debs, over = partial / "debs", bubblewrap.layers(partial / "overlay", *base.lower)
    below = listed_packages(base.base)
    try:
        apt.with_lists(site.build.suite, native_arch(), lambda lists: _fetch(lists, target, base, debs))
        fetched = sorted(debs.iterdir())
        say(f"{what}: {len(fetched)} packages, {sum(path.stat().st_size for path in fetched) / 1e6:.0f} MB")
        argv = ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-unsafe-io", "--log=/dev/null", *LEFT_OUT]
        bubblewrap.run_in(
            base,
            [*argv, "--install", *(f"/mnt/{path.name}" for path in fetched)],
            binds={debs: ("/mnt", False)},
            target=None,
            over=over,
        )
    except CannotRun as error:
        raise CannotRun(f"the {what} could not be made: {error.what}", _hint(error.what, base, error.hint)) from error
    except CommandFailed as error:
        lines = error.done.output.splitlines()
        # dpkg prints the package in one line and the reason, indented, in the next.
        first = next((i for i, line in enumerate(lines) if line.startswith("dpkg: error")), len(lines) - 1)
        raise CannotRun(
            f"the {what} could not be made: {' '.join(line.strip() for line in lines[first : first + 2])}",
            _hint(error.done.output, base, "the package is broken in the archive: wait for its next version"),
        ) from error
    over.upper.rename(partial / "root")
    for folder in (debs, partial / "overlay"):
        cache.remove(folder)
    _link_lib64(partial / "root", target.architecture.triplet)
    packages = tuple(line for line in installed_packages(partial / "root") if line not in set(below))
    finish(partial, packages, *below)
    say(f"{what}: made in {time.monotonic() - began:.0f} s")


def _hint(output: str, base: Tree, otherwise: str) -> str:
    if "No space left on device" in output:
        return f"free some room in {cache.root()}"
    if _BASE_TOO_OLD.search(output):
        return (
            f"the base does not fit the archive any more; while no build runs: rm -r {base.base.parent}; kitten sandbox"
        )
    return otherwise


def _fetch(lists: AptRoot, target: Target, base: Tree, debs: Path) -> None:
    """Download the target's packages that the base does not have to ``debs``.

    If the archive has changed since the base was made, newer versions of packages of the base may be among them
    (binutils and its cross versions share a library of exactly one version). They go only into this layer. The base,
    and so the identity of every other target, does not change.

    :raises MirrorDisagrees: if the lists do not fit the base, or the mirror does not serve a package that they name.
    """
    cache.remove(debs)
    try:
        wanted = lists.closure(list(cross_packages(target)), base.base / "var/lib/dpkg/status")
    except CannotRun as error:
        # Lists older than the base may name older packages, which cannot be installed beside those of the base.
        raise MirrorDisagrees(error.what, error.hint, passing=False) from None
    newer = sorted({line.split()[0] for line in listed_packages(base.base)} & set(wanted))
    if newer:
        say(f"layer of {target.name}: newer than in the base: {', '.join(newer)}")
    lists.download(wanted, debs)


def _link_lib64(root: Path, triplet: str) -> None:
    """Link the triplet's library folder to /usr/lib64, where BuildRequires install their libraries.

    The cross gcc searches that folder, and so does the emulated loader, which sees it as /lib/TRIPLET (QEMU_LD_PREFIX).
    """
    link = root / "usr" / triplet / "lib" / triplet
    if not link.is_symlink():
        link.symlink_to("../../lib64")
