"""``kitten verify``: its speed against ``objdump -d``, its memory, its use of cores, and its share of a build."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.figure import KITTEN, Benchmark, Figure, kitten
from workers.formats.elf import Elf
from workers.verify.evidence import map_file

RUNS = 3
QUARTER = 0.25
TIMES_CODE = 10.0  # memory: at most ten times the size of the file's code
_OTHER_ARCHITECTURES = (
    ("aarch64", "arm64", "aarch64-linux-gnu-objdump"),
    ("ppc64le", "ppc64el", "powerpc64le-linux-gnu-objdump"),
    ("s390x", "s390x", "s390x-linux-gnu-objdump"),
)


def speed() -> Iterator[Figure]:
    """Verify large files against objdump -d: the host's cc1 and libLLVM, and libLLVM of the other architectures."""
    for file in _large_files():
        for target in ("x86_64_v2", "x86_64"):
            yield _against_objdump(f"verify {file.name} for {target}", target, file, "objdump")
    with tempfile.TemporaryDirectory(prefix="kitten-bench-") as folder:
        for target, architecture, objdump in _OTHER_ARCHITECTURES:
            if file := _foreign(architecture, Path(folder, architecture)):
                yield _against_objdump(f"verify {file.name} for {target}", target, file, objdump)


def memory() -> Iterator[Figure]:
    """Measure the largest process of a verification, against the size of the code that it reads."""
    for file in _large_files():
        code = sum(len(code.data) for code in Elf(map_file(file)).code) / 1024**2
        peak = _ours("x86_64_v2", file, jobs=1).peak_mib
        yield Figure(f"verify {file.name}, memory", peak, code, "its code", TIMES_CODE, "MiB")


def cores() -> Iterator[Figure]:
    """Verify a folder of large files, like the package of a compiler: two processes against one."""
    if len(os.sched_getaffinity(0)) < 2:
        print("cores: skipped, this machine has only one")
        return
    with tempfile.TemporaryDirectory(prefix="kitten-bench-") as folder:
        for number in range(4):
            for file in _large_files():  # copies must differ: equal content is read only once
                copy = Path(folder, f"{number}-{file.name}")
                copy.write_bytes(file.read_bytes() + bytes([number]))
        pairs = [
            (_ours("x86_64_v2", Path(folder), 2, pin=False).seconds, _ours("x86_64_v2", Path(folder), 1).seconds)
            for _ in range(RUNS)
        ]
    yield _of_pairs("verify a folder of large files, two cores", pairs, "one core", 0.65)


def again() -> Iterator[Figure]:
    """Verify a file whose content was verified before, against the first time."""
    file = _large_files()[-1]
    _ours("x86_64_v2", file, 1, fresh=False)
    pairs = [
        (_ours("x86_64_v2", file, 1, fresh=False).seconds, _ours("x86_64_v2", file, 1).seconds) for _ in range(RUNS)
    ]
    yield _of_pairs(f"verify {file.name} again", pairs, "the first time", 0.5)


def share() -> Iterator[Figure]:
    """Verify all builds of the demo, against the time of the builds: all packages × targets, one after the other.

    The three smallest packages take 3 to 6 s to build, and the start of Python takes half a second of each proof.
    """
    from config.loading import load_site

    site = load_site("demo")
    building = proving = 0.0
    with tempfile.TemporaryDirectory(prefix="kitten-bench-", ignore_cleanup_errors=True) as folder:
        state = Path(folder, "state")
        kitten("demo", state, "sandbox")
        # zlib first: pigz is built against it.
        for package in sorted((p.name for p in site.packages), key=lambda name: name != "zlib"):
            kitten("demo", state, "dist-git", "init", package)
            source = _result(state, "source", "--package", package)
            for target in site.targets:
                begun = time.monotonic()
                build = _result(state, "build", "--target", target.name, "--source", _folder(source["srpm"]["url"]))
                building += time.monotonic() - begun
                begun = time.monotonic()
                _result(state, "verify", "--target", target.name, "--build", build["url"], "--fresh")
                proving += time.monotonic() - begun
                kitten("demo", state, "stage", "--target", target.name, "--build", build["url"])
    yield Figure("verify, the whole demo", proving, building, "its builds", 0.10)


def _folder(url: str) -> str:
    return url.rsplit("/", 1)[0]


def _result(state: Path, *arguments: str) -> dict[str, object]:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        kitten("demo", state, *arguments, "--json", file.name)
        result: dict[str, object] = json.loads(Path(file.name).read_text())
        return result


def _large_files() -> list[Path]:
    """Return files of the host's compilers with 20 MB of code or more, the smaller first."""
    cc1 = Path(subprocess.check_output(["gcc", "-print-prog-name=cc1"], text=True).strip())
    libraries = (file for file in Path("/usr/lib").rglob("libLLVM*.so*") if file.is_file() and not file.is_symlink())
    newest = sorted(libraries)[-1:]
    if not newest:
        print("libLLVM is not installed: only cc1 is measured")
    return [file for file in (cc1, *newest) if file.is_file()]


def _foreign(architecture: str, folder: Path) -> Path | None:
    """Return libLLVM of another architecture, from the distribution's package; None if that cannot be downloaded."""
    from workers.base.errors import CannotRun
    from workers.sandbox.apt import private_root

    try:
        (package,) = private_root("bookworm", architecture).download(["libllvm14"], folder)
    except (CannotRun, ValueError) as error:
        print(f"{architecture}: skipped, its package cannot be downloaded: {str(error).splitlines()[0]}")
        return None
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return next(file for file in folder.rglob("libLLVM-14.so.1") if not file.is_symlink())


class _Run:
    def __init__(self, seconds: float, peak_mib: float) -> None:
        self.seconds = seconds
        self.peak_mib = peak_mib


def _run(argv: Sequence[str | Path], *, pin: bool = True) -> _Run:
    """Run a command, by default on one core; return its time and the memory of its largest process."""
    prefix = ["taskset", "-c", str(min(os.sched_getaffinity(0)))] if pin else []
    begun = time.monotonic()
    process = subprocess.Popen([*prefix, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # wait4 has reaped it
    return _Run(time.monotonic() - begun, usage.ru_maxrss / 1024)


def _ours(target: str, file: Path, jobs: int, *, fresh: bool = True, pin: bool = True) -> _Run:
    command = [KITTEN, "verify", "--target", target, "--jobs", str(jobs), *(["--fresh"] if fresh else []), file]
    with contextlib.chdir("/"):
        return _run(command, pin=pin)


def _against_objdump(name: str, target: str, file: Path, objdump: str) -> Figure:
    _run(["cat", file])  # so that the page cache has it for both
    pairs = [(_ours(target, file, 1).seconds, _run([objdump, "-d", file]).seconds) for _ in range(RUNS)]
    return _of_pairs(name, pairs, "objdump -d", QUARTER)


def _of_pairs(name: str, pairs: Sequence[tuple[float, float]], other_is: str, limit: float) -> Figure:
    """Return the figure of the pair with the median ratio."""
    middle = statistics.median_low([ours / other for ours, other in pairs])
    ours, other = next(pair for pair in pairs if pair[0] / pair[1] == middle)
    return Figure(name, ours, other, other_is, limit)


BENCHMARKS: dict[str, Benchmark] = {
    "verify-speed": speed,
    "verify-memory": memory,
    "verify-cores": cores,
    "verify-again": again,
    "verify-share": share,
}
