"""The sandbox backend: rpmbuild in the sandbox tree, over which the target's staged packages are installed."""

from __future__ import annotations

import shutil
from pathlib import Path

from config.models import Site, Target
from workers.base.errors import CannotRun, CheckFailed
from workers.base.files import blocks_of, write_blocks
from workers.base.run import CommandFailed
from workers.repository import buildroot
from workers.repository.buildroot import Solvable
from workers.rpm import logs
from workers.rpm.backend import BuildOutput, Plan
from workers.sandbox import base_package, bubblewrap
from workers.sandbox.layer import target_tree
from workers.sandbox.tree import is_foreign

RECIPE = 1
"""Part of the build's identity. Increase it when the same inputs give another result."""

_EMULATED = 4
"""Factor of the time limit if %check runs in an emulator: zlib and bzip2 took 2 to 5 times as long."""


class Sandbox:
    """Builds with rpmbuild in a bubblewrap sandbox of this host."""

    def __init__(self, site: Site, target: Target, staged: Path) -> None:
        self.site = site
        self.target = target
        self.staged = staged

    def plan(self, srpm: Solvable) -> Plan:
        """Resolve BuildRequires with sandbox-base and the target's staged packages."""
        tree = target_tree(self.site, self.target)
        base = buildroot.read_solvable(base_package.sandbox_base(self.site, self.target))
        staged = buildroot.read_repository(self.staged) if srpm.requires else []
        packages = buildroot.resolve(srpm.name, srpm.requires, base, staged, self.target.rpm_arch)
        return Plan(tuple(packages), tree.identity, (("backend", "sandbox"), ("recipe", str(RECIPE))))

    def build(self, srpm: Solvable, plan: Plan, into: Path) -> BuildOutput:
        """Install the plan's packages over the tree, run rpmbuild, keep its packages."""
        tree = target_tree(self.site, self.target)
        log = into / "build.log"
        minutes = self.site.build.timeout_minutes * (_EMULATED if is_foreign(self.target) else 1)
        with bubblewrap.scratch() as folder:
            over = bubblewrap.layers(folder, base_package.database_layer(self.site, self.target), *tree.lower)
            builddir, packages = folder / "builddir", folder / "packages"
            builddir.mkdir()
            packages.mkdir()
            binds = bubblewrap.rpm_configuration(folder, self.site, self.target)
            for package in plan.packages:
                print(f"buildroot: {package.nevra}", flush=True)  # noqa: T201 - the log as it comes
            binds |= {builddir: ("/builddir", True), srpm.path.parent: ("/mnt", False)}
            try:
                if plan.packages:
                    self._install(plan, packages, over, binds, log)
                argv = ["rpmbuild", "--rebuild", "--target", f"{self.target.rpm_arch}-linux", f"/mnt/{srpm.path.name}"]
                bubblewrap.run_in(
                    tree, argv, binds=binds, target=self.target, over=over, log=log, echo=True, timeout=minutes * 60
                )
            except CommandFailed as error:
                text = error.done.output
                return BuildOutput(
                    (), (log,), logs.timeout_cause(text, minutes) if error.timed_out else logs.cause(text)
                )
            found = sorted(builddir.glob("RPMS/*/*.rpm"))
            # The store may be another file system than the cache.
            return BuildOutput(tuple(Path(shutil.move(path, into / path.name)) for path in found), (log,))

    def _install(
        self, plan: Plan, folder: Path, over: bubblewrap.Layers, binds: dict[Path, tuple[str, bool]], log: Path
    ) -> None:
        for package in plan.packages:
            with package.path.open("rb") as stream:
                found = write_blocks(blocks_of(stream), folder / package.path.name)
            if found != package.sha256:
                raise CannotRun(f"{package.path} does not match the index of {self.staged}", "stage the package again")
        argv = ["rpm", "-i", "--ignorearch", *(f"/packages/{package.path.name}" for package in plan.packages)]
        with log.open("a") as text:
            text.write("".join(f"buildroot: {package.nevra}\n" for package in plan.packages))
        try:
            bubblewrap.run_in(
                target_tree(self.site, self.target),
                argv,
                binds={**binds, folder: ("/packages", False)},
                target=self.target,
                over=over,
                log=log,
            )
        except CommandFailed as error:
            raise CheckFailed(
                f"the packages of the buildroot could not be installed: {logs.cause(error.done.output)}"
            ) from error
