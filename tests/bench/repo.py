"""The gate's check that all packages are installable, against a tool that only looks for missing requirements."""

from __future__ import annotations

import gzip
import hashlib
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figure import Benchmark, Figure
from tests.workers.repository.synthetic import element, primary
from workers.base.run import require
from workers.promotion.gate.closure import closure
from workers.repository.primary import repositories_below

ROUNDS = 3
PACKAGES = 10_000


def packages(count: int = PACKAGES, *, newer: bool = False) -> list[bytes]:
    """Return a distribution: libraries with sonames and versioned requirements, and programs that need them.

    :param newer: some libraries of the upper layers have a new soname, which breaks programs that are linked to them.
    """
    chance = random.Random(10)  # noqa: S311 - nothing secret
    elements = []
    for number in range(count):
        library = number % 3 == 0
        name, below = f"{'lib' if library else 'app'}{number:05}", number // 3
        needs = sorted(chance.sample(range(below), min(below, chance.randint(2, 12))))
        requires = [f"liblib{3 * need:05}.so.1()(64bit)" for need in needs]
        if needs and number % 5 == 0:
            requires.append(f"lib{3 * needs[0]:05} >= 1.0")
        if number > 100 and number % 11 == 0:
            requires.append(f"/usr/bin/app{3 * (below // 3) + 1:05}")
        so = 2 if newer and library and number % 300 == 0 and number > 0.8 * count else 1
        version = "2" if so == 2 else "1"
        provides = [f"lib{name}.so.{so}()(64bit)", f"{name}(x86-64) = {version}.0-1.el10"] if library else []
        files = [] if library else [f"/usr/bin/{name}"]
        nevr = f"{name}-{version}.0-1.el10"
        elements.append(element(nevr, provides=provides, requires=requires, files=files))
    return elements


def write(folder: Path, listed: list[bytes]) -> Path:
    """Write a repository with an index and no package files, as both tools read only metadata; return its folder."""
    (folder / "repodata").mkdir(parents=True)
    content = gzip.compress(primary(listed), 6, mtime=0)
    (folder / "repodata" / "primary.xml.gz").write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    (folder / "repodata" / "repomd.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>'
        f'<data type="primary"><checksum type="sha256">{checksum}</checksum>'
        '<location href="repodata/primary.xml.gz"/><timestamp>1</timestamp></data></repomd>\n'
    )
    return folder


def closures() -> Iterator[Figure]:
    """Check 10,000 packages: kitten compares before and after a publication, dnf repoclosure reads only after."""
    with tempfile.TemporaryDirectory(prefix="kitten-bench-") as name:
        folder = Path(name)
        before = write(folder / "before", packages())
        after = write(folder / "after", packages(newer=True))
        pairs = [(_time_closure(before, after), _time_repoclosure(after, folder / f"cache{n}")) for n in range(ROUNDS)]
    ours, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    yield Figure(f"closure, {PACKAGES:,} packages", ours, other, "dnf repoclosure", 2.0)


def _time_closure(before: Path, after: Path) -> float:
    begun = time.monotonic()
    result = closure(repositories_below([before]), repositories_below([after]), "x86_64")
    seconds = time.monotonic() - begun
    if result.checked != PACKAGES or not result.broken:
        raise SystemExit(
            f"closure: {result.checked} packages checked, {len(result.broken)} broken: expected other numbers"
        )
    return seconds


def _time_repoclosure(repository: Path, cache: Path) -> float:
    """Return the seconds of dnf repoclosure. Its cache is new, as old metadata would hide broken packages."""
    require("dnf", "dnf, and dnf-plugins-core for its repoclosure")
    command = ["dnf", "--quiet", "--forcearch", "x86_64", "--releasever", "10", f"--setopt=cachedir={cache}"]
    command += ["--setopt=reposdir=/nonexistent", f"--repofrompath=bench,file://{repository}", "--repo", "bench"]
    begun = time.monotonic()
    done = subprocess.run([*command, "repoclosure"], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    if "unresolved deps" not in done.stdout:
        raise SystemExit(f"dnf repoclosure reported no broken package: {done.stdout[-500:]}{done.stderr[-1000:]}")
    return seconds


BENCHMARKS: dict[str, Benchmark] = {"closure": closures}
