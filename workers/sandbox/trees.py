"""The work of ``kitten sandbox``: make the trees of a site, list them, run a shell in one.

If the tree of one target cannot be made, the others stay usable.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from config.models import Site, Target
from workers.base.errors import CannotRun
from workers.base.run import start_program
from workers.results import SandboxResult, TargetTree
from workers.sandbox import base_package, bubblewrap
from workers.sandbox.layer import target_tree
from workers.sandbox.tree import base_tree, listed_packages


def make_trees(site: Site, targets: Sequence[Target]) -> SandboxResult:
    """Make the missing trees of these targets; return a result with all of them.

    :raises CannotRun: if the base, which all trees need, cannot be made.
    """
    began = time.monotonic()
    base = base_tree(site)
    trees = tuple(_make_tree(site, target) for target in targets)
    failed = [tree for tree in trees if tree.outcome != "passed"]
    usable = ", ".join(tree.target for tree in trees if tree.outcome == "passed") or "none"
    missing = f"; none for {', '.join(tree.target for tree in failed)}" if failed else ""
    return SandboxResult(
        outcome="cannot-run" if failed else "passed",
        summary=f"sandbox trees ready: {usable}{missing}",
        cause=failed[0].cause if failed else "",
        seconds=time.monotonic() - began,
        base=base.identity,
        path=str(base.base),
        packages=len(listed_packages(base.base)),
        size=_size(base.base),
        targets=trees,
    )


def _make_tree(site: Site, target: Target) -> TargetTree:
    try:
        tree = target_tree(site, target)
    except (CannotRun, OSError) as error:
        what, hint = (error.what, error.hint) if isinstance(error, CannotRun) else (str(error), "")
        return TargetTree(target=target.name, outcome="cannot-run", cause=what, hint=hint)
    layers = tree.lower[:-1]
    return TargetTree(
        target=target.name,
        identity=tree.identity,
        path=str(layers[0]) if layers else "",
        packages=sum(len(listed_packages(layer)) for layer in layers),
        size=sum(_size(layer) for layer in layers),
    )


def describe(site: Site, result: SandboxResult) -> str:
    """Return a text that lists the trees, one line each."""
    days = (time.time() - Path(result.path).with_name("packages").stat().st_mtime) / 86400
    width = max(len(name) for name in ("base", *(tree.target for tree in result.targets)))
    lines = [
        f"{'base':{width}}  {result.base[:12]}  {result.packages:4} packages of Debian {site.build.suite}, "
        f"{_megabytes(result.size)}, made {days:.1f} days ago: {result.path}"
    ]
    for tree in result.targets:
        if tree.outcome != "passed":
            what = "none: see below"
        elif tree.path:
            what = f"{tree.identity[:12]}  {tree.packages:4} packages more, {_megabytes(tree.size)}: {tree.path}"
        else:
            what = f"{tree.identity[:12]}  only the base"
        lines.append(f"{tree.target:{width}}  {what}")
    return "\n".join(lines)


def failure(result: SandboxResult) -> CannotRun:
    """Return the error that lists the trees that could not be made, with the reason of each."""
    failed = [tree for tree in result.targets if tree.outcome != "passed"]
    lines = [result.summary]
    for tree in failed:
        lines += [f"  {tree.target}: {tree.cause}", *([f"    → {tree.hint}"] if tree.hint else [])]
    again = " ".join(f"--target {tree.target}" for tree in failed)
    return CannotRun("\n".join(lines), f"the other targets can be built; make these again: kitten sandbox {again}")


def enter_shell(site: Site, target: Target) -> int:
    """Run a shell over the target's buildroot at the terminal, writable until it ends; return its exit status."""
    tree = target_tree(site, target)
    with bubblewrap.scratch() as folder:
        over = bubblewrap.layers(folder, base_package.database_layer(site, target), *tree.lower)
        builddir = folder / "builddir"
        builddir.mkdir()
        binds = {**bubblewrap.rpm_configuration(folder, site, target), builddir: ("/builddir", True)}
        with start_program(
            bubblewrap.tree_command(tree, ["/bin/bash", "-i"], binds, target, over), stdin=None
        ) as process:
            return process.wait()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _size(root: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
