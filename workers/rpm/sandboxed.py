"""The sandbox backend: rpmbuild in the sandbox tree, with what the target has staged installed on top."""

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
from workers.rpm.backend import Built, Plan
from workers.sandbox import base_package, bubblewrap
from workers.sandbox.layer import target_tree
from workers.sandbox.tree import is_foreign

RECIPE = 1
"""Counted up whenever the same inputs would build another way."""

_EMULATED = 4
"""How much longer a build may take whose %check runs in an emulator: 2 to 5 times, as measured with zlib and bzip2."""


class Sandbox:
    """rpmbuild in a bubblewrap sandbox of this host."""

    def __init__(self, site: Site, target: Target, staged: Path) -> None:
        self.site = site
        self.target = target
        self.staged = staged

    def plan(self, srpm: Solvable) -> Plan:
        """Resolve BuildRequires against sandbox-base and what the target has staged."""
        made = target_tree(self.site, self.target)
        stands = buildroot.read_solvable(base_package.sandbox_base(self.site, self.target))
        staged = buildroot.read_repository(self.staged) if srpm.requires else []
        packages = buildroot.resolve(srpm.name, srpm.requires, stands, staged, self.target.rpm_arch)
        return Plan(tuple(packages), made.identity, (("backend", "sandbox"), ("recipe", str(RECIPE))))

    def build(self, srpm: Solvable, plan: Plan, into: Path) -> Built:
        """Install the plan's packages over the tree, run rpmbuild, keep what it made."""
        made = target_tree(self.site, self.target)
        log = into / "build.log"
        minutes = self.site.build.timeout_minutes * (_EMULATED if is_foreign(self.target) else 1)
        with bubblewrap.scratch() as folder:
            over = bubblewrap.layers(folder, base_package.database_layer(self.site, self.target), *made.lower)
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
                # The kernel's name of the file is what the person knows it by; the folder may hold other things.
                argv = ["rpmbuild", "--rebuild", "--target", f"{self.target.rpm_arch}-linux", f"/mnt/{srpm.path.name}"]
                bubblewrap.run_in(
                    made, argv, binds=binds, target=self.target, over=over, log=log, echo=True, timeout=minutes * 60
                )
            except CommandFailed as error:
                text = error.done.output
                return Built((), (log,), logs.timed_out(text, minutes) if error.timed_out else logs.cause(text))
            found = sorted(builddir.glob("RPMS/*/*.rpm"))
            # The store may be another file system than the cache.
            return Built(tuple(Path(shutil.move(path, into / path.name)) for path in found), (log,))

    def _install(
        self, plan: Plan, folder: Path, over: bubblewrap.Layers, binds: dict[Path, tuple[str, bool]], log: Path
    ) -> None:
        for package in plan.packages:
            with package.path.open("rb") as stream:
                found = write_blocks(blocks_of(stream), folder / package.path.name)
            if found != package.sha256:
                raise CannotRun(
                    f"{package.path} is not what the index of {self.staged} says", "stage the package again"
                )
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
            raise CheckFailed(f"the buildroot could not be installed: {logs.cause(error.done.output)}") from error
