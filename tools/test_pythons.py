"""The quick tests on each Python that pyproject.toml names, as far as this host has them: ``make test-pythons``.

Interpreters are looked for on PATH, in ``$KITTEN_PYTHONS`` (paths, with a colon between them), and in a Debian 13 tree
(``tools/debian13.sh``). Each has an environment of its own in the cache. For a Python that is not found, the files that
requirements.txt pins for it are downloaded, so that at least an installation is known to begin.
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
# `make test-quick`, which leaves a cache in the checkout besides.
QUICK = "-m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -p no:cacheprovider --quick"
DESCRIBE = "import os, platform, sys; print(platform.python_version(), os.path.realpath(sys.executable))"
GLIBC = 36  # Debian 12's, the oldest that is supported: wheels for a newer one are of no use


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    interpreter: str
    version: str
    result: str
    passed: str = ""


def main() -> int:
    """Test all; the exit status is 1 if one failed."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    supported = [name.rsplit(" ", 1)[1] for name in project["classifiers"] if "Python :: 3." in name]
    cache = os.environ.get("KITTEN_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/kitten-ci"
    folder = Path(cache) / "pythons"
    folder.mkdir(parents=True, exist_ok=True)
    found, rows = interpreters(supported)
    for path, version in found.items():
        rows.append(tested(path, version, folder))
    if "--no-debian13" not in sys.argv:
        rows.append(tested_in_debian13(folder))
    have = {".".join(row.version.split(".")[:2]) for row in rows if row.passed}
    rows += [downloaded(version) for version in supported if version not in have]
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
    """Real path → version of each interpreter, and rows for those that do not run or are not supported."""
    named = [name for name in os.environ.get("KITTEN_PYTHONS", "").split(":") if name]
    places = [Path("/usr/bin"), *map(Path, os.get_exec_path())]
    on_path = [str(place / f"python{version}") for place in places for version in ("3", *supported)]
    found: dict[str, str] = {}
    rows = []
    for name in dict.fromkeys([*named, *(name for name in on_path if os.access(name, os.X_OK))]):
        done = None
        if os.access(name, os.X_OK):
            done = subprocess.run([name, "-I", "-c", DESCRIBE], capture_output=True, text=True, check=False)
        if done is None or done.returncode:
            # A version manager's shim ends so for a version that is not chosen; what is named must run.
            words = done.stderr.strip().splitlines()[:1] if done else ["no such program"]
            if name in named:
                rows.append(Row(name, "", f"failed: {words[0] if words else 'does not run'}"))
            continue
        version, path = done.stdout.strip().split(" ", 1)
        if ".".join(version.split(".")[:2]) in supported:
            found.setdefault(path, version)
        elif name in named:
            rows.append(Row(name, version, f"skipped: supported are {', '.join(supported)}"))
    return found, rows


def tested(path: str, version: str, folder: Path) -> Row:
    """An environment with the pinned versions, and the quick tests in it."""
    venv = folder / f"{version}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    command = f'tools/setup.sh && exec "$KITTEN_VENV/bin/python" {QUICK}'
    environment = {**os.environ, "PYTHON": path, "KITTEN_VENV": str(venv)}
    return outcome(path, version, ["bash", "-c", command], Path(f"{venv}.log"), environment)


def tested_in_debian13(folder: Path) -> Row:
    """The same with Debian 13's own Python, which needs a compiler."""
    label = "/usr/bin/python3 of Debian 13"
    if os.geteuid() or not shutil.which("mmdebstrap"):
        return Row(label, "", "skipped: tools/debian13.sh needs root and mmdebstrap")
    # The tests read packages and programs with the tools of the demo.
    command = (
        f".venv/bin/python -c 'import platform; print(\"Python\", platform.python_version())'; .venv/bin/python {QUICK}"
    )
    command = f"tools/host-packages.sh demo && tools/setup.sh && {command}"
    log = folder / "debian13.log"
    row = outcome(label, "3.13", ["tools/debian13.sh", command], log, dict(os.environ))
    version = re.search(r"^Python (3[\d.]+)$", log.read_text(errors="replace"), re.MULTILINE)
    return Row(label, version[1] if version else "", row.result, row.passed)


def outcome(label: str, version: str, argv: Sequence[str], log: Path, environment: dict[str, str]) -> Row:
    """Run the tests; all they print is kept in a file."""
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
    why = last.strip("= ") or (lines[-1] if lines else f"exit status {done.returncode}")
    return Row(label, version, f"failed: {why}", passed[1] if passed else "0")


# ----------------------------------------------------------------------------------------- of what is not on this host


def pinned(version: str) -> Iterator[str]:
    """The lines of requirements.txt that hold on that Python, with their hashes."""
    target = {**default_environment(), "python_version": version, "python_full_version": f"{version}.0"}
    for line in (CHECKOUT / "requirements.txt").read_text().replace("\\\n", " ").splitlines():
        words, *hashes = line.split(" --hash=")
        requirement = Requirement(words)
        if requirement.marker is None or requirement.marker.evaluate(target):
            requirement.marker = None
            yield " --hash=".join([str(requirement), *map(str.strip, hashes)])


def downloaded(version: str) -> Row:
    """Download what would be installed on a Python that is not here."""
    print(f"Python {version}: not found; downloading what it would install", flush=True)
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
        lines = list(pinned(version))
        listed = Path(name) / "requirements.txt"
        listed.write_text("\n".join(lines) + "\n")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "--implementation=cp",
             f"--python-version={version}", *options, "--dest", f"{name}/files", "-r", listed],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        count = len(list(Path(name).glob("files/*")))
    if done.returncode or count != len(lines):
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:] or ["pip download failed"]
        return Row("", version, f"failed: {words[0]}")
    return Row("", version, f"skipped: no interpreter found; its {count} pinned files were downloaded")


if __name__ == "__main__":
    sys.exit(main())
