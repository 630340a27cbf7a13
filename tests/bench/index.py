"""Add packages to a repository of 10,000: kitten against ``createrepo_c --update --skip-stat``.

Kitten is timed in two ways: with the start of a program (tests.bench.add: Python, createrepo_c's library and the
modules that publish), and without it, as in a publication, in which the program already runs. Neither kitten nor
createrepo_c checks a gate or signs here. Kitten flushes its files to the disk; createrepo_c leaves that to the system.

More figures: the time of a publication in a larger repository, with and without writing the index; and the time until
the next buildroot has a build that passed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

from tests.bench.add import REPOSITORY, TOP, add
from tests.bench.figure import CHECKOUT, Benchmark, Figure, kitten
from workers.base import cache
from workers.repository import index
from workers.repository.draft import STEADY
from workers.repository.records import PublishedRecord
from workers.repository.snapshot import Snapshots
from workers.results import Artifact, BuildResult

PACKAGES, MOST = 10_000, 100
FEWER = 1_000
RUNS = 5
_SPEC_PACKAGES = 101  # rpmbuild's time grows faster than the number of packages of a spec
_SPEC = """
Name: bench{part}
Version: 1
Release: 1
Summary: Packages by the thousand
License: MIT
BuildArch: noarch
AutoReqProv: no
%global __os_install_post %{{nil}}
%description
Nothing.
%{{lua:
for number = {first}, {last} do
  print("%package -n thing" .. number .. "\\nSummary: Number " .. number .. "\\nAutoReqProv: no\\n")
  for need = 1, 4 do print("Requires: thing" .. (number * 7 + need * 131) % 10000 .. " >= 1\\n") end
  print("Provides: lib" .. number .. ".so.1()(64bit)\\n")
  print("%description -n thing" .. number .. "\\nOne of many packages, with files, requirements and a history.\\n")
  print("%files -n thing" .. number .. "\\n")
  for file = 1, 12 do print("/usr/share/thing" .. number .. "/file" .. file .. "\\n") end
end
}}
%install
for number in $(seq {first} {last}); do
  mkdir -p %{{buildroot}}/usr/share/thing$number
  for file in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $number >%{{buildroot}}/usr/share/thing$number/file$file; done
done
%changelog
* Wed Nov 25 2026 Bench <bench@example.org> - 1-1
- Made
"""


def _make(into: Path) -> None:
    """Build the packages with the host's rpmbuild."""
    firsts = range(0, PACKAGES + MOST, _SPEC_PACKAGES)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda first: _make_some(into, first), firsts))


def _make_some(into: Path, first: int) -> None:
    folder = into / f"part{first}"
    folder.mkdir()
    spec = folder / "bench.spec"
    spec.write_text(_SPEC.format(part=first, first=first, last=first + _SPEC_PACKAGES - 1))
    places = {"_topdir": folder, "_rpmdir": into, "_buildrootdir": folder / "root", "_dbpath": folder / "db"}
    defines = [word for name, value in places.items() for word in ("--define", f"{name} {value}")]
    command = ["rpmbuild", "-bb", "--define", "_build_name_fmt %%{NAME}.rpm", *defines, str(spec)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"rpmbuild could not make the packages of the benchmark: {done.stderr[-500:]}")
    shutil.rmtree(folder)


def _packages() -> list[Path]:
    folder = cache.entry("bench", f"repository-{PACKAGES + MOST}-1", _make)
    return sorted(folder.glob("thing*.rpm"), key=lambda path: int(path.stem.removeprefix("thing")))


def _time_add(root: Path, packages: list[Path]) -> float:
    begun = time.perf_counter()
    add(root, packages)
    return time.perf_counter() - begun


def _time_program(root: Path, packages: list[Path]) -> float:
    # With compiled Python files, as in an installation.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "tests.bench.add", root, *packages]
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=CHECKOUT, env=environment)
    return time.perf_counter() - begun


def _time_createrepo(repository: Path) -> float:
    import createrepo_c

    # The C program: the script of the same name beside Python starts Python first.
    program = Path(createrepo_c.__file__).parent / "data" / "bin" / "createrepo_c"
    begun = time.perf_counter()
    subprocess.run([program, "--quiet", "--update", "--skip-stat", repository], check=True)
    return time.perf_counter() - begun


def _check_equal(ours: Path, theirs: Path) -> None:
    """Check that the metadata of each package is equal; else the comparison has no meaning."""
    import createrepo_c as c

    def metadata(repository: Path) -> dict[str, tuple[str, str, str]]:
        packages = {}
        for package in index.load(repository):
            package.time_file = 0  # a property of the file, not of the package
            package.location_href = Path(package.location_href).name
            packages[package.pkgId] = (
                c.xml_dump_primary(package),
                c.xml_dump_filelists(package),
                c.xml_dump_other(package),
            )
        return packages

    mine, other = metadata(ours), metadata(theirs)
    if mine != other or not mine:
        raise SystemExit(f"the metadata differs: kitten has {len(mine)} packages, createrepo_c {len(other)}")


def add_packages() -> Iterator[Figure]:
    """Add 1 and 100 packages: kitten against createrepo_c --update."""
    packages = _packages()
    with tempfile.TemporaryDirectory(prefix="kitten-bench-") as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        add(ours, packages[:PACKAGES])
        theirs.mkdir()
        for rpm in packages[:PACKAGES]:
            os.link(rpm, theirs / rpm.name)
        _time_createrepo(theirs)
        for count in (1, MOST):
            more = packages[PACKAGES : PACKAGES + count]
            programs, parts, others = [], [], []
            for run in range(RUNS):
                one, two, other = (Path(folder, f"{name}{count}-{run}") for name in ("one", "two", "other"))
                for place, source in ((one, ours), (two, ours), (other, theirs)):
                    subprocess.run(["cp", "--archive", source, place], check=True)
                for rpm in more:
                    os.link(rpm, other / rpm.name)
                os.sync()
                others.append(_time_createrepo(other))
                programs.append(_time_program(one, more))
                parts.append(_time_add(two, more))
                _check_equal(two / f"{TOP}/{REPOSITORY}", other)
                _check_equal(one / f"{TOP}/{REPOSITORY}", other)
                for place in (one, two, other):
                    shutil.rmtree(place)
            other_time = statistics.median(others)
            alternative = "createrepo_c --update --skip-stat"
            yield Figure(
                f"index-{count} with process start", statistics.median(programs), other_time, alternative, 1 / 6
            )
            yield Figure(f"index-{count}", statistics.median(parts), other_time, alternative, 1 / 20)


def grow() -> Iterator[Figure]:
    """Publish one package in a large repository, against a small one."""
    packages = _packages()
    with tempfile.TemporaryDirectory(prefix="kitten-bench-") as folder:
        roots = {size: Path(folder, f"{size}") for size in (FEWER, PACKAGES)}
        for size, root in roots.items():
            _fill(root, packages[:size])
        times: dict[int, list[tuple[float, float]]] = {size: [] for size in roots}
        for rpm in packages[PACKAGES : PACKAGES + 3 * RUNS]:
            for size, root in roots.items():  # in turn, so that other load of the machine affects both
                _await_steady(root)
                times[size].append(_time_publication(root, rpm))
    for place, what, limit in ((0, "complete", PACKAGES / FEWER), (1, "without writing the index", 1.5)):
        few, many = (statistics.median(pair[place] for pair in times[size]) for size in (FEWER, PACKAGES))
        yield Figure(f"publishing into {PACKAGES}, {what}", 1000 * many, 1000 * few, f"into {FEWER}", limit, "ms")


def _await_steady(root: Path) -> None:
    """Wait until the next index may be published: the figure must not include the wait that protects readers."""
    current = Snapshots(root, TOP).current()
    if current is None:
        raise SystemExit(f"{root} has no publication")
    time.sleep(max(0.0, max(current.record.shown.values()) + STEADY - time.time()))


def _fill(root: Path, packages: list[Path]) -> None:
    """Make a repository with a record and an erratum for each package."""
    add(root, packages)
    with Snapshots(root, TOP).draft(()) as draft:
        for rpm in packages:
            name = rpm.stem
            xml = f"<update><id>{name}</id><description>{'Why users want this update. ' * 20}</description></update>\n"
            draft.set_erratum(REPOSITORY, name, xml)
            draft.set_record(
                PublishedRecord(
                    package=name,
                    target="bench",
                    nevr=f"{name}-1-1",
                    evr="1-1",
                    snapshot=draft.number,
                    published="2026-11-25T00:00:00Z",
                    files=(),
                )
            )
        draft.finish("bench", lambda _repomd: None)


def _time_publication(root: Path, rpm: Path) -> tuple[float, float]:
    """Return the seconds of a publication of one package, with and without writing the index."""
    write, spent = index.write, 0.0

    def timed_write(*arguments: Any) -> bytes:
        nonlocal spent
        begun = time.perf_counter()
        try:
            return write(*arguments)
        finally:
            spent += time.perf_counter() - begun

    with mock.patch.object(index, "write", timed_write):
        total = _time_add(root, [rpm])
    return total, total - spent


ALLOWED = 5.0
"""The most seconds that kitten may take until the next buildroot has a build that passed."""


def stage_builds() -> Iterator[Figure]:
    """Stage a build in a buildroot repository of 10,000 packages, with the command of the builder, against 5 s."""
    packages = _packages()
    with tempfile.TemporaryDirectory(prefix="kitten-bench-") as folder:
        state = Path(folder)
        repository = state / "staged" / "x86_64"
        repository.mkdir(parents=True)
        for rpm in packages[:PACKAGES]:
            os.link(rpm, repository / rpm.name)
        _time_createrepo(repository)
        times = []
        for number, rpm in enumerate(packages[PACKAGES : PACKAGES + RUNS + 1]):
            build, name = state / f"build{number}", f"{rpm.stem}-1-1.noarch.rpm"
            build.mkdir()
            shutil.copy(rpm, build / name)
            content = rpm.read_bytes()
            artifact = Artifact(name=name, url=str(build / name), sha256=sha256(content).hexdigest(), size=len(content))
            fields = {
                "target": "x86_64",
                "package": "zlib",
                "nevr": "zlib-1-1",
                "identity": f"{number}",
                "url": str(build),
            }
            BuildResult(summary="built", rpms=(artifact,), **fields).write(build / "build.json")
            begun = time.perf_counter()
            kitten("demo", state, "stage", "--target", "x86_64", "--build", str(build))
            times.append(time.perf_counter() - begun)
            if name not in {Path(package.location_href).name for package in index.load(repository)}:
                raise SystemExit(f"{name} was staged, but the index does not have it")
    # The first call also reads the index of createrepo_c.
    yield Figure("tests passed to the next buildroot", max(times[1:]), ALLOWED, "allowed", 1.0)


BENCHMARKS: dict[str, Benchmark] = {"index": add_packages, "index-growth": grow, "staging": stage_builds}
