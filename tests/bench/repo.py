"""Repositories: what the gate's look at everything installable costs, against the tool that only looks for missing needs."""

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
    """A distribution: libraries with sonames and versioned needs, programs on top of them, commands in /usr/bin.

    :param newer: some libraries of the upper layers have a new soname, which breaks what is linked against them.
    """
    chance = random.Random(10)  # noqa: S311 - nothing secret
    made = []
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
        made.append(element(nevr, provides=provides, requires=requires, files=files))
    return made


def write(folder: Path, listed: list[bytes]) -> Path:
    """A repository folder with an index of packages that are nowhere: both tools read metadata alone."""
    (folder / "repodata").mkdir(parents=True)
    content = gzip.compress(primary(listed), 6, mtime=0)
    (folder / "repodata" / "primary.xml.gz").write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    (folder / "repodata" / "repomd.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>'
        f'<data type="primary"><checksum type="sha256">{checksum}</checksum>'
        '<location href="repodata/primary.xml.gz"/><timestamp>1</timestamp></data></repomd>\n'
    )
    return folder


def closures() -> Iterator[Figure]:
    """10,000 packages before and after a publication: ours reads both and says what is new; dnf reads the one after."""
    with tempfile.TemporaryDirectory(prefix="kitten-bench-") as made:
        folder = Path(made)
        before = write(folder / "before", packages())
        after = write(folder / "after", packages(newer=True))
        pairs = [(_ours(before, after), _repoclosure(after, folder / f"cache{n}")) for n in range(ROUNDS)]
    ours, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    yield Figure(f"closure, {PACKAGES:,} packages", ours, other, "dnf repoclosure", 2.0)


def _ours(before: Path, after: Path) -> float:
    begun = time.monotonic()
    found = closure(repositories_below([before]), repositories_below([after]), "x86_64")
    seconds = time.monotonic() - begun
    if found.checked != PACKAGES or not found.broken:
        raise SystemExit(f"closure: {found.checked} packages checked, {len(found.broken)} broken: nothing was measured")
    return seconds


def _repoclosure(repository: Path, cache: Path) -> float:
    """With a cache of its own: stale metadata would hide what is broken."""
    require("dnf", "dnf, and dnf-plugins-core for its repoclosure")
    command = ["dnf", "--quiet", "--forcearch", "x86_64", "--releasever", "10", f"--setopt=cachedir={cache}"]
    command += ["--setopt=reposdir=/nonexistent", f"--repofrompath=bench,file://{repository}", "--repo", "bench"]
    begun = time.monotonic()
    done = subprocess.run([*command, "repoclosure"], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    if "unresolved deps" not in done.stdout:
        raise SystemExit(f"dnf repoclosure found nothing broken: {done.stdout[-500:]}{done.stderr[-1000:]}")
    return seconds


BENCHMARKS: dict[str, Benchmark] = {"closure": closures}
