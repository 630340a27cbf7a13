"""``make clean``: it shows and asks, removes all of it, and touches nothing while something runs."""

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
    """What the script needs of a checkout, with a state, a cache and an environment."""
    made = tmp_path / "checkout"
    modules = (
        "__init__",
        *(f"base/{name}" for name in ("__init__", "cache", "cache_entries", "errors", "namespace", "run")),
    )
    for name in ("tools/clean.py", *(f"workers/{name}.py" for name in modules)):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, made / name)
    for name in ("var/demo/secrets/key", "var/demo/closed/file", "build/bench.json", ".venv/bin/tool", ".ruff_cache/x"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text("x" * 5000)
    (made / "var/demo/closed").chmod(0)
    cached = tmp_path / "cache" / "trees" / "abc"
    cached.mkdir(parents=True)
    (cached.parent / ".abc.lock").touch()
    (tmp_path / "home").mkdir()
    return made


def clean(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As make runs it: by a Python that has none of the environment's packages."""
    environment = {**os.environ, "KITTEN_CACHE": str(checkout.parent / "cache"), "HOME": str(checkout.parent / "home")}
    argv = [sys.executable, "-S", "tools/clean.py", *words]
    return subprocess.run(
        argv, cwd=checkout, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def left(checkout: Path) -> set[str]:
    return {path.name for path in checkout.iterdir()} | {path.name for path in checkout.parent.iterdir()}


@contextmanager
def supervisor(state: Path) -> Iterator[None]:
    (state / "service").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as control:
        here = os.open(state / "service", os.O_PATH)
        control.bind(f"/proc/self/fd/{here}/control")
        os.close(here)
        control.listen()
        yield


def test_all_of_it_goes(checkout: Path) -> None:
    done = clean(checkout, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert not left(checkout) & {"build", ".venv", ".ruff_cache", "cache"}
    assert list((checkout / "var").iterdir()) == []
    assert (checkout / "tools" / "clean.py").exists()
    assert clean(checkout, "--yes").stdout == "nothing to remove\n"


def test_nothing_goes_without_an_answer(checkout: Path) -> None:
    done = clean(checkout)
    assert done.returncode == 2
    assert "signing key" in done.stdout
    assert "make clean YES=1" in done.stderr
    assert {"build", ".venv", "cache"} <= left(checkout)


def test_nothing_goes_while_a_service_runs(checkout: Path) -> None:
    with supervisor(checkout / "var" / "demo"):
        done = clean(checkout, "--yes")
    assert done.returncode == 2
    assert "make stop" in done.stderr
    assert {"build", ".venv", "cache"} <= left(checkout)
    assert clean(checkout, "--yes").returncode == 0


def test_a_service_of_another_site_names_its_own_command(checkout: Path) -> None:
    with supervisor(checkout / "var" / "kitten-10"):
        assert "kitten down --site kitten-10" in clean(checkout, "--yes").stderr


def test_nothing_goes_while_a_program_of_the_environment_runs(checkout: Path) -> None:
    program = checkout / ".venv" / "bin" / "kitten"
    program.write_text("#!/bin/sh\nread nothing\n")
    program.chmod(0o755)
    with subprocess.Popen(["sh", ".venv/bin/kitten"], cwd=checkout, stdin=subprocess.PIPE) as running:
        done = clean(checkout, "--yes")
        running.kill()
    assert done.returncode == 2
    assert f"process {running.pid} runs" in done.stderr
    assert {"build", ".venv", "cache"} <= left(checkout)


def test_an_entry_that_another_checkout_uses_stays_and_is_named(checkout: Path) -> None:
    use = "import sys; from workers.base import cache; cache.entry('trees', 'abc', lambda at: None); print(flush=True); sys.stdin.read()"
    environment = {**os.environ, "KITTEN_CACHE": str(checkout.parent / "cache")}
    argv = [sys.executable, "-c", use]
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
    assert not left(checkout) & {"build", ".venv"}
