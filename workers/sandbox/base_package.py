"""``sandbox-base``: the RPM that stands for what the sandbox tree brings, so that rpm and dnf can check dependencies.

It holds no file. What it provides for a target: the sonames and symbol versions of that architecture's C and C++
libraries in the tree (read from them), the shell and loader, and ``build.provides`` of the site. The buildroot's rpm
database has it installed; it is published, so that dnf can install what was linked against the tree.
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
"""Counted up whenever what is made here changes for the same inputs."""

_LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6", "libatomic1", "libgomp1")

# What a shell, the loader and the file system provide on Enterprise Linux under the names that packages ask for.
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
"""By name and path, on every target; the site's own (``build.provides``) come on top."""


def sandbox_base(site: Site, target: Target) -> Path:
    """The target's sandbox-base RPM; made first if it is not there.

    :raises CannotRun: when the tree cannot be made.
    """
    made = target_tree(site, target)
    return next(
        cache.entry("sandbox-base", _key(site, target, made), lambda at: _make(site, target, made, at)).glob("*.rpm")
    )


def database_layer(site: Site, target: Target) -> Path:
    """A layer to lay over the target's tree: rpm's database with sandbox-base installed. Made first if it is not there."""
    made, package = target_tree(site, target), sandbox_base(site, target)

    def make(at: Path) -> None:
        database = at / "layer/var/lib/rpm"
        database.mkdir(parents=True)
        with bubblewrap.scratch() as folder:
            binds = bubblewrap.rpm_configuration(folder, site, target)
            binds |= {database: ("/var/lib/rpm", True), package.parent: ("/mnt", False)}
            bubblewrap.run_in(made, ["rpm", "-i", "--ignorearch", f"/mnt/{package.name}"], binds=binds, target=target)

    return cache.entry("sandbox-database", _key(site, target, made), make) / "layer"


def _key(site: Site, target: Target, made: Tree) -> str:
    inputs = {
        "tree": made.identity,
        "recipe": RECIPE,
        "provides": [*PROVIDES, *site.build.provides],
        "macros": flags.macros(site, target),
        "target": target.toolchain.model_dump(mode="json") | {"machine": target.machine_arch, "arch": target.rpm_arch},
    }
    return identity_of(inputs)[:16]


def libraries(made: Tree, debian_arch: str) -> list[str]:
    """Paths, inside the tree, of the libraries of an architecture that sandbox-base speaks for."""
    found = set()
    for name in _LIBRARIES:
        for listing in (f"{name}:{debian_arch}.list", f"{name}-{debian_arch}-cross.list"):
            path = made.find(f"var/lib/dpkg/info/{listing}")
            for line in path.read_text().splitlines() if path else []:
                if re.search(r"/lib[^/]*/([^/]+/)?(lib|ld)[^/]*\.so\.[\d.]+$", line) and made.find(line.lstrip("/")):
                    found.add(line)
    return sorted(found)


def specification(provides: list[str], release: str) -> str:
    """The spec of sandbox-base."""
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


def _make(site: Site, target: Target, made: Tree, at: Path) -> None:
    paths = libraries(made, target.architecture.debian_arch)
    if not paths:
        raise CannotRun(f"the sandbox tree holds no C library of {target.name} ({target.architecture.debian_arch})")
    for_each = 'for library; do echo "$library" | /usr/lib/rpm/elfdeps --provides; done'
    with bubblewrap.scratch() as folder:
        binds = bubblewrap.rpm_configuration(folder, site, target)
        sonames = bubblewrap.run_in(
            made, ["sh", "-ec", for_each, "sh", *paths], binds=binds, target=target
        ).output.splitlines()
        build = folder / "builddir"
        build.mkdir()
        release = f"1.{_key(site, target, made)[:8]}"
        (build / "base.spec").write_text(specification([*sonames, *PROVIDES, *site.build.provides], release))
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
        bubblewrap.run_in(made, argv, binds={**binds, build: ("/builddir", True)}, target=target)
        package = next(build.glob("RPMS/*/sandbox-base-*.rpm"))
        (at / package.name).write_bytes(package.read_bytes())
