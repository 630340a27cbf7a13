"""``kitten sandbox --shell``: a person in the sandbox, at a terminal."""

from __future__ import annotations

from config.models import Site, Target
from workers.base.run import started
from workers.sandbox import base_package, bubblewrap
from workers.sandbox.layer import target_tree


def enter(site: Site, target: Target) -> int:
    """A shell over the target's buildroot, writable until it ends; its exit status."""
    made = target_tree(site, target)
    with bubblewrap.scratch() as folder:
        over = bubblewrap.layers(folder, base_package.database_layer(site, target), *made.lower)
        builddir = folder / "builddir"
        builddir.mkdir()
        binds = {**bubblewrap.rpm_configuration(folder, site, target), builddir: ("/builddir", True)}
        with started(bubblewrap.prepared(made, ["/bin/bash", "-i"], binds, target, over), stdin=None) as process:
            return process.wait()
