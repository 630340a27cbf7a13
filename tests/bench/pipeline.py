"""The pipeline through the service, against its rpmbuild calls alone."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.bench.figure import CHECKOUT, Benchmark, Figure
from tests.bench.figure import kitten as _kitten


def pipeline() -> Iterator[Figure]:
    """Run source, build and stage of the default demo through the service, against the same rpmbuild calls alone.

    Both use the same sandbox, the same sources and as many builds at a time as the site has build workers. The
    buildroots of the calls alone are ready before their clock starts. The service's time is from the start of the first
    source build to the end of the last stage step, as recorded in the master's database.
    """
    with tempfile.TemporaryDirectory(prefix="kitten-bench-", ignore_cleanup_errors=True) as folder:
        state, config = Path(folder, "state"), Path(folder, "config")
        shutil.copytree(CHECKOUT / "config", config, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
        # Only the stage for buildroots: neither side verifies, tests or signs.
        (config / "demo" / "stages.yaml").write_text(
            "- {name: staged, description: Bench, url: staged, gate: [{rule: built}]}\n"
        )
        site = str(config / "demo")
        with _service(site, state) as url:
            ours, sources = _through_the_service(site, state, url)
        # The sources and the buildroot of pigz come from the service. The mean of two runs, as the load varies.
        other = (_calls_alone(site, state, sources) + _calls_alone(site, state, sources)) / 2
    yield Figure("pipeline", ours, other, "the same rpmbuild calls, in the same sandbox", 1.25)


@contextlib.contextmanager
def _service(site: str, state: Path) -> Iterator[str]:
    try:
        _kitten(site, state, "sandbox")
        _kitten(site, state, "up")
        ports = json.loads((state / "service" / "ports.json").read_text())
        yield f"http://127.0.0.1:{ports['web']}/api/v2"
    finally:
        _kitten(site, state, "down")


def _through_the_service(site: str, state: Path, url: str) -> tuple[float, list[Path]]:
    from config.loading import load_site

    loaded = load_site(site)
    packages = [p.name for p in loaded.packages if p.default]
    # Fill the lookaside cache with the tarballs, so that no download is timed.
    for package in packages:
        _kitten(site, state, "dist-git", "init", package)
        _kitten(
            site,
            Path(f"{state}-warm"),
            "source",
            "--package",
            package,
            "--repository",
            str(state / "dist-git" / f"{package}.git"),
        )
    expected = len(packages) * len(loaded.targets)
    targets = {t.name for t in loaded.targets}
    while True:
        builders = {b["builderid"]: b["name"] for b in requests.get(f"{url}/builders", timeout=30).json()["builders"]}
        builds = requests.get(f"{url}/builds", timeout=30).json()["builds"]
        if failed := [b for b in builds if b["complete"] and b["results"] != 0]:
            raise SystemExit(f"build {failed[0]['buildid']} failed: {failed[0]['state_string']}")
        done = [b for b in builds if b["complete"] and builders[b["builderid"]] in targets]
        if len(done) == expected:
            began = min(b["started_at"] for b in builds)
            # The builds table has whole seconds; the error of the whole is at most 1 s.
            ended = max(b["complete_at"] for b in done)
            return ended - began, sorted((state / "artifacts" / "sources").glob("*/*/*.src.rpm"))
        time.sleep(2)


def _calls_alone(site: str, state: Path, sources: list[Path]) -> float:
    from config.loading import load_site
    from workers.repository import buildroot
    from workers.rpm.sandboxed import Sandbox
    from workers.sandbox import base_package, bubblewrap
    from workers.sandbox.layer import target_tree
    from workers.sandbox.tree import base_tree

    loaded = load_site(site)
    plain, trees = base_tree(loaded), {t.name: target_tree(loaded, t) for t in loaded.targets}
    with contextlib.ExitStack() as stack:
        prepared = []
        for target in loaded.targets:
            backend = Sandbox(loaded, target, state / "staged" / target.name)
            for srpm in sources:
                folder = stack.enter_context(bubblewrap.scratch())
                plan = backend.plan(buildroot.read_solvable(srpm))
                over = bubblewrap.layers(folder, base_package.database_layer(loaded, target), *trees[target.name].lower)
                for name in ("builddir", "packages"):
                    (folder / name).mkdir()
                binds = bubblewrap.rpm_configuration(folder, loaded, target)
                binds |= {folder / "builddir": ("/builddir", True), srpm.parent: ("/mnt", False)}
                if plan.packages:
                    backend._install(plan, folder / "packages", over, binds, folder / "log")
                prepared.append((target, srpm, over, binds, folder))

        def rebuild(job: tuple) -> None:  # type: ignore[type-arg]
            target, srpm, over, binds, folder = job
            argv = ["rpmbuild", "--rebuild", "--target", f"{target.rpm_arch}-linux", f"/mnt/{srpm.name}"]
            bubblewrap.run_in(trees[target.name], argv, binds=binds, target=target, over=over, log=folder / "log")

        def pack(srpm: Path) -> None:
            with bubblewrap.scratch() as folder:
                binds = bubblewrap.rpm_configuration(folder, loaded, loaded.targets[0])
                (folder / "builddir").mkdir()
                binds |= {folder / "builddir": ("/builddir", True), srpm.parent: ("/mnt", False)}
                bubblewrap.run_in(plain, ["rpm", "-i", f"/mnt/{srpm.name}"], binds=binds, target=None)
                spec = f"/builddir/SPECS/{srpm.parent.parent.name}.spec"
                bubblewrap.run_in(plain, ["rpmbuild", "-bs", spec], binds=binds, target=None)

        workers = sum(len(pool.workers) * pool.max_builds for pool in loaded.workers if "build" in pool.roles)
        began = time.monotonic()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(pack, sources))
            list(pool.map(rebuild, prepared))
        return time.monotonic() - began


BENCHMARKS: dict[str, Benchmark] = {"pipeline": pipeline}
