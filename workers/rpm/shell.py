"""``kitten sandbox --shell``: a person in the sandbox, at a terminal."""

from __future__ import annotations

from config.models import Site, Target
from workers.rpm import base, sandbox
from workers.rpm.layer import target_tree
from workers.run import started


def enter(site: Site, target: Target) -> int:
    """A shell over the target's buildroot, writable until it ends; its exit status."""
    made = target_tree(site, target)
    with sandbox.scratch() as folder:
        over = sandbox.layers(folder, base.database_layer(site, target), *made.lower)
        builddir = folder / "builddir"
        builddir.mkdir()
        binds = {**sandbox.rpm_configuration(folder, site, target), builddir: ("/builddir", True)}
        with started(sandbox.prepared(made, ["/bin/bash", "-i"], binds, target, over), stdin=None) as process:
            return process.wait()
