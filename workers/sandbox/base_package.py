"""``sandbox-base``: an RPM that provides what the sandbox tree has, so that rpm and dnf can check dependencies.

It has no files. For a target it provides the sonames and symbol versions of the C and C++ libraries in the tree (read
from these libraries), the shell, the loader, and the site's ``build.provides``. It is installed in the buildroot's rpm
database. It is also published, so that dnf can install packages that were linked against the tree.
"""

from __future__ import annotations

import re
from pathlib import Path

from config.identity import identity_of
from config.models import Site, Target
from workers.base import cache
from workers.base.errors import CannotRun
from workers.sandbox import bubblewrap, flags
from workers.sandbox.layer import target_tree
from workers.sandbox.tree import Tree

RECIPE = 1
"""Increase it when this module makes another package from the same inputs."""

_LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6", "libatomic1", "libgomp1")

# What the shell, the loader and basic packages of Enterprise Linux provide, under the names that packages require.
PROVIDES = (
    *("/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash", "/usr/bin/env", "/usr/bin/perl", "/usr/bin/pkg-config"),
    *(
        "/sbin/ldconfig",
        "/usr/sbin/ldconfig",
        "rtld(GNU_HASH)",
        "filesystem",
        "setup",
        "glibc",
        "glibc-common",
        "libgcc",
    ),
    *("libstdc++", "glibc-devel", "libstdc++-devel", "rpm", "rpm-build", "redhat-rpm-config"),
)
"""Names and paths that every target provides, besides the site's ``build.provides``."""


def sandbox_base(site: Site, target: Target) -> Path:
    """Return the target's sandbox-base RPM; make it first if the cache does not have it.

    :raises CannotRun: if the tree cannot be made.
    """
    tree = target_tree(site, target)
    entry = cache.entry("sandbox-base", _key(site, target, tree), lambda folder: _make(site, target, tree, folder))
    return next(entry.glob("*.rpm"))


def database_layer(site: Site, target: Target) -> Path:
    """Return a layer for the target's tree: rpm's database with sandbox-base. Make it first if the cache lacks it."""
    tree, package = target_tree(site, target), sandbox_base(site, target)

    def make(entry: Path) -> None:
        database = entry / "layer/var/lib/rpm"
        database.mkdir(parents=True)
        with bubblewrap.scratch() as folder:
            binds = bubblewrap.rpm_configuration(folder, site, target)
            binds |= {database: ("/var/lib/rpm", True), package.parent: ("/mnt", False)}
            bubblewrap.run_in(tree, ["rpm", "-i", "--ignorearch", f"/mnt/{package.name}"], binds=binds, target=target)

    return cache.entry("sandbox-database", _key(site, target, tree), make) / "layer"


def _key(site: Site, target: Target, tree: Tree) -> str:
    inputs = {
        "tree": tree.identity,
        "recipe": RECIPE,
        "provides": [*PROVIDES, *site.build.provides],
        "macros": flags.macros(site, target),
        "target": target.toolchain.model_dump(mode="json") | {"machine": target.machine_arch, "arch": target.rpm_arch},
    }
    return identity_of(inputs)[:16]


def _libraries(tree: Tree, debian_arch: str) -> list[str]:
    """Return the paths, in the tree, of an architecture's libraries that sandbox-base provides."""
    paths = set()
    for name in _LIBRARIES:
        for listing in (f"{name}:{debian_arch}.list", f"{name}-{debian_arch}-cross.list"):
            file = tree.find(f"var/lib/dpkg/info/{listing}")
            for line in file.read_text().splitlines() if file else []:
                if re.search(r"/lib[^/]*/([^/]+/)?(lib|ld)[^/]*\.so\.[\d.]+$", line) and tree.find(line.lstrip("/")):
                    paths.add(line)
    return sorted(paths)


def _specification(provides: list[str], release: str) -> str:
    """Return the spec of sandbox-base."""
    return "\n".join(
        [
            "Name: sandbox-base",
            "Version: 1",
            f"Release: {release}%{{dist}}",
            "Summary: Stands for the base system that the sandbox tree brings",
            "License: Apache-2.0",
            "AutoReqProv: no",
            *(f"Provides: {name}" for name in sorted(set(provides))),
            "%description",
            "No file: only the names of what packages built in the sandbox tree find there.",
            "%files",
            "%changelog",
            "* Mon Jan 06 2025 kitten-ci <kitten-ci@localhost> - 1-1",
            "- First",
            "",
        ]
    )


def _make(site: Site, target: Target, tree: Tree, entry: Path) -> None:
    paths = _libraries(tree, target.architecture.debian_arch)
    if not paths:
        raise CannotRun(
            f"the sandbox tree has no C library of {target.name} ({target.architecture.debian_arch})",
            f"make the tree again: kitten cache --remove trees; kitten sandbox --target {target.name}",
        )
    for_each = 'for library; do echo "$library" | /usr/lib/rpm/elfdeps --provides; done'
    with bubblewrap.scratch() as folder:
        binds = bubblewrap.rpm_configuration(folder, site, target)
        sonames = bubblewrap.run_in(
            tree, ["sh", "-ec", for_each, "sh", *paths], binds=binds, target=target
        ).output.splitlines()
        build = folder / "builddir"
        build.mkdir()
        release = f"1.{_key(site, target, tree)[:8]}"
        (build / "base.spec").write_text(_specification([*sonames, *PROVIDES, *site.build.provides], release))
        argv = [
            "rpmbuild",
            "-bb",
            "--quiet",
            "--target",
            f"{target.rpm_arch}-linux",
            "--define",
            "debug_package %{nil}",
        ]
        argv += ["--define", "_enable_debug_packages 0", "base.spec"]
        bubblewrap.run_in(tree, argv, binds={**binds, build: ("/builddir", True)}, target=target)
        package = next(build.glob("RPMS/*/sandbox-base-*.rpm"))
        (entry / package.name).write_bytes(package.read_bytes())
