"""``make test-pythons``: run the tests without sandbox, guest, service and browser on each supported Python.

It looks for interpreters on PATH, in ``$KITTEN_PYTHONS`` (paths, separated by colons), and in a Debian 13 tree
(``tools/debian13.sh``). Each interpreter has its own environment in the cache. For a Python that is not found, it only
downloads the files that requirements.txt pins: that shows that they exist.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parent.parent
# Without pytest's cache in the checkout.
TESTS = (
    "-m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -p no:cacheprovider "
    "-m 'not sandbox and not guest and not service and not browser'"
)
DESCRIBE = "import os, platform, sys; print(platform.python_version(), os.path.realpath(sys.executable))"
GLIBC = 36  # the version of Debian 12, the oldest supported one: it cannot use wheels for a newer one


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    interpreter: str
    version: str
    result: str
    passed: str = ""


def main() -> int:
    """Test all interpreters; return 1 if one failed."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    supported = [name.rsplit(" ", 1)[1] for name in project["classifiers"] if "Python :: 3." in name]
    cache = os.environ.get("KITTEN_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/kitten-ci"
    folder = Path(cache) / "pythons"
    folder.mkdir(parents=True, exist_ok=True)
    versions, rows = interpreters(supported)
    for path, version in versions.items():
        rows.append(run_tests(path, version, folder))
    if "--no-debian13" not in sys.argv:
        rows.append(run_tests_in_debian13(folder))
    have = {".".join(row.version.split(".")[:2]) for row in rows if row.passed}
    rows += [download_pins(version) for version in supported if version not in have]
    table = [
        ("interpreter", "version", "result", "tests passed"),
        *((r.interpreter, r.version, r.result, r.passed) for r in rows),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    print()
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return any(row.result.startswith("failed") for row in rows)


def interpreters(supported: Sequence[str]) -> tuple[dict[str, str], list[Row]]:
    """Return real path → version of each interpreter, and rows for those that do not run or are not supported."""
    named = [name for name in os.environ.get("KITTEN_PYTHONS", "").split(":") if name]
    places = [Path("/usr/bin"), *map(Path, os.get_exec_path())]
    on_path = [str(place / f"python{version}") for place in places for version in ("3", *supported)]
    versions: dict[str, str] = {}
    rows = []
    for name in dict.fromkeys([*named, *(name for name in on_path if os.access(name, os.X_OK))]):
        done = None
        if os.access(name, os.X_OK):
            done = subprocess.run([name, "-I", "-c", DESCRIBE], capture_output=True, text=True, check=False)
        if done is None or done.returncode:
            # The shim of a version manager fails for a version that is not chosen; one that is named must run.
            errors = done.stderr.strip().splitlines()[:1] if done else ["no such program"]
            if name in named:
                rows.append(Row(name, "", f"failed: {errors[0] if errors else 'does not run'}"))
            continue
        version, path = done.stdout.strip().split(" ", 1)
        if ".".join(version.split(".")[:2]) in supported:
            versions.setdefault(path, version)
        elif name in named:
            rows.append(Row(name, version, f"skipped: the supported versions are {', '.join(supported)}"))
    return versions, rows


def run_tests(path: str, version: str, folder: Path) -> Row:
    """Make an environment with the pinned versions, and run the tests in it."""
    venv = folder / f"{version}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    command = f'tools/setup.sh && exec "$KITTEN_VENV/bin/python" {TESTS}'
    environment = {**os.environ, "PYTHON": path, "KITTEN_VENV": str(venv)}
    return run_logged(path, version, ["bash", "-c", command], Path(f"{venv}.log"), environment)


def run_tests_in_debian13(folder: Path) -> Row:
    """Run the tests with the Python of Debian 13, which needs a compiler."""
    label = "/usr/bin/python3 of Debian 13"
    if os.geteuid() or not shutil.which("mmdebstrap"):
        return Row(label, "", "skipped: tools/debian13.sh needs root and mmdebstrap")
    # The tests need tools of other projects, to compare results with them.
    command = (
        f".venv/bin/python -c 'import platform; print(\"Python\", platform.python_version())'; .venv/bin/python {TESTS}"
    )
    command = f"tools/host-packages.sh test && tools/setup.sh && {command}"
    log = folder / "debian13.log"
    row = run_logged(label, "3.13", ["tools/debian13.sh", command], log, dict(os.environ))
    version = re.search(r"^Python (3[\d.]+)$", log.read_text(errors="replace"), re.MULTILINE)
    return Row(label, version[1] if version else "", row.result, row.passed)


def run_logged(label: str, version: str, argv: Sequence[str], log: Path, environment: dict[str, str]) -> Row:
    """Run the tests with their output in a log file; return the row of the table."""
    print(f"Python {version} ({label}): {log}", flush=True)
    with log.open("w") as file:
        done = subprocess.run(
            argv,
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    lines = log.read_text(errors="replace").splitlines()
    last = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "")
    passed = re.search(r"(\d+) passed", last)
    if done.returncode == 0 and passed:
        skipped = re.search(r"(\d+) skipped", last)
        return Row(label, version, f"passed, {skipped[1] if skipped else 0} skipped", passed[1])
    reason = last.strip("= ") or (lines[-1] if lines else f"exit status {done.returncode}")
    return Row(label, version, f"failed: {reason}", passed[1] if passed else "0")


def pinned_requirements(version: str) -> Iterator[str]:
    """Yield the lines of requirements.txt that apply to this Python, with their hashes."""
    target = {**default_environment(), "python_version": version, "python_full_version": f"{version}.0"}
    for line in (CHECKOUT / "requirements.txt").read_text().replace("\\\n", " ").splitlines():
        text, *hashes = line.split(" --hash=")
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(target):
            requirement.marker = None
            yield " --hash=".join([str(requirement), *map(str.strip, hashes)])


def download_pins(version: str) -> Row:
    """Download the pinned files for a Python that this host does not have."""
    print(f"Python {version}: not found; downloading its pinned files", flush=True)
    machine = os.uname().machine
    tags = [f"manylinux_2_{minor}" for minor in range(5, GLIBC + 1)] + [
        "manylinux2014",
        "manylinux2010",
        "manylinux1",
        "linux",
    ]
    options = [f"--platform={tag}_{machine}" for tag in tags]
    options += [f"--abi={abi}" for abi in (f"cp{version.replace('.', '')}", "abi3", "none")]
    with tempfile.TemporaryDirectory(prefix="kitten-pythons-") as name:
        lines = list(pinned_requirements(version))
        listed = Path(name) / "requirements.txt"
        listed.write_text("\n".join(lines) + "\n")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "--implementation=cp",
             f"--python-version={version}", *options, "--dest", f"{name}/files", "-r", listed],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        count = len(list(Path(name).glob("files/*")))
    if done.returncode or count != len(lines):
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:] or ["pip download failed"]
        return Row("", version, f"failed: {errors[0]}")
    return Row("", version, f"skipped: no interpreter found; its {count} pinned files were downloaded")


if __name__ == "__main__":
    sys.exit(main())
