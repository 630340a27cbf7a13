"""``make clean``: it shows the files, asks, removes all of them, and removes nothing while a program runs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with only what the script needs, a state folder, a cache and an environment."""
    folder = tmp_path / "checkout"
    modules = (
        "__init__",
        *(f"base/{name}" for name in ("__init__", "cache", "cache_entries", "errors", "namespace", "run")),
    )
    for name in ("tools/clean.py", *(f"workers/{name}.py" for name in modules)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / name)
    for name in ("var/demo/secrets/key", "var/demo/closed/file", "build/bench.json", ".venv/bin/tool", ".ruff_cache/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x" * 5000)
    (folder / "var/demo/closed").chmod(0)
    entry = tmp_path / "cache" / "trees" / "abc"
    entry.mkdir(parents=True)
    (entry.parent / ".abc.lock").touch()
    (tmp_path / "home").mkdir()
    return folder


def clean(checkout: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script as make does: with a Python that has none of the environment's packages."""
    environment = {**os.environ, "KITTEN_CACHE": str(checkout.parent / "cache"), "HOME": str(checkout.parent / "home")}
    argv = [sys.executable, "-S", "tools/clean.py", *options]
    return subprocess.run(
        argv, cwd=checkout, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def remaining(checkout: Path) -> set[str]:
    return {path.name for path in checkout.iterdir()} | {path.name for path in checkout.parent.iterdir()}


@contextmanager
def supervisor(state: Path) -> Iterator[None]:
    (state / "service").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as control:
        folder = os.open(state / "service", os.O_PATH)
        control.bind(f"/proc/self/fd/{folder}/control")
        os.close(folder)
        control.listen()
        yield


def test_everything_is_removed(checkout: Path) -> None:
    done = clean(checkout, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert not remaining(checkout) & {"build", ".venv", ".ruff_cache", "cache"}
    assert list((checkout / "var").iterdir()) == []
    assert (checkout / "tools" / "clean.py").exists()
    assert clean(checkout, "--yes").stdout == "nothing to remove\n"


def test_nothing_is_removed_without_an_answer(checkout: Path) -> None:
    done = clean(checkout)
    assert done.returncode == 2
    assert "signing key" in done.stdout
    assert "make clean YES=1" in done.stderr
    assert {"build", ".venv", "cache"} <= remaining(checkout)


def test_nothing_is_removed_while_a_service_runs(checkout: Path) -> None:
    with supervisor(checkout / "var" / "demo"):
        done = clean(checkout, "--yes")
    assert done.returncode == 2
    assert "make stop" in done.stderr
    assert {"build", ".venv", "cache"} <= remaining(checkout)
    assert clean(checkout, "--yes").returncode == 0


def test_a_running_service_of_another_site_is_reported_with_its_command(checkout: Path) -> None:
    with supervisor(checkout / "var" / "kitten-10"):
        assert "kitten down --site kitten-10" in clean(checkout, "--yes").stderr


def test_nothing_is_removed_while_a_program_of_the_environment_runs(checkout: Path) -> None:
    program = checkout / ".venv" / "bin" / "kitten"
    program.write_text("#!/bin/sh\nread nothing\n")
    program.chmod(0o755)
    with subprocess.Popen(["sh", ".venv/bin/kitten"], cwd=checkout, stdin=subprocess.PIPE) as running:
        done = clean(checkout, "--yes")
        running.kill()
    assert done.returncode == 2
    assert f"process {running.pid} runs" in done.stderr
    assert {"build", ".venv", "cache"} <= remaining(checkout)


def test_an_entry_that_another_checkout_uses_is_kept_and_reported(checkout: Path) -> None:
    use = "cache.entry('trees', 'abc', lambda at: None); print(flush=True); sys.stdin.read()"
    environment = {**os.environ, "KITTEN_CACHE": str(checkout.parent / "cache")}
    argv = [sys.executable, "-c", f"import sys; from workers.base import cache; {use}"]
    with subprocess.Popen(
        argv, cwd=CHECKOUT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        done = clean(checkout, "--yes")
        running.kill()
    assert done.returncode == 1
    assert f"trees/abc: in use by process {running.pid}" in done.stderr
    assert (checkout.parent / "cache" / "trees" / "abc").is_dir()
    assert not remaining(checkout) & {"build", ".venv"}
