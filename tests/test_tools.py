"""The interpreter for the environment, and the pinned versions for each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parent.parent
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
SUPPORTED = [name.rsplit(" ", 1)[1] for name in PROJECT["classifiers"] if "Python :: 3." in name]


@pytest.fixture(scope="module")
def pythons() -> ModuleType:
    specification = importlib.util.spec_from_file_location("test_pythons", CHECKOUT / "tools/test_pythons.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look for it there
    specification.loader.exec_module(module)
    return module


def test_each_supported_python_has_one_version_of_each_dependency(pythons):
    extra = PROJECT["optional-dependencies"]["dev"]
    for version in SUPPORTED:
        pins = [Requirement(line.split(" --hash=")[0]) for line in pythons.pinned_requirements(version)]
        counted = Counter(canonicalize_name(pin.name) for pin in pins)
        assert set(counted.values()) == {1}, version
        assert {canonicalize_name(Requirement(line).name) for line in [*PROJECT["dependencies"], *extra]} <= set(
            counted
        )
        assert ("crypt-r" in counted) == (version not in ("3.11", "3.12"))


def test_an_interpreter_that_does_not_run_is_ignored_on_path_and_reported_if_named(pythons, tmp_path, monkeypatch):
    """The shim of a version manager fails so for a version that is not chosen."""
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(sys.executable).parent}")
    monkeypatch.delenv("KITTEN_PYTHONS", raising=False)
    found, rows = pythons.interpreters(SUPPORTED)
    assert os.path.realpath(sys.executable) in found
    assert rows == []
    monkeypatch.setenv("KITTEN_PYTHONS", f"{shim}:/no/such/python")
    found, rows = pythons.interpreters(SUPPORTED)
    assert [row.result for row in rows] == ["failed: pyenv: python3.12: command not found", "failed: no such program"]


@pytest.fixture
def interpreter(tmp_path):
    """A function that runs the script in a separate checkout."""
    (tmp_path / "tools").mkdir()
    shutil.copy(CHECKOUT / "tools/interpreter.sh", tmp_path / "tools")

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHON"}
        script = tmp_path / "tools/interpreter.sh"
        return subprocess.run(
            [script, *words], env={**clean, **environment}, capture_output=True, text=True, check=False
        )

    return call


HERE = f"{'.'.join(map(str, sys.version_info[:3]))} {os.path.realpath(sys.executable)}\n"


def test_the_named_interpreter_is_used(interpreter):
    assert interpreter(PYTHON=sys.executable).stdout == HERE


def test_a_named_interpreter_must_run(interpreter, tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in (str(old), "/no/such/python"):
        for words in ((), ("--needs",)):
            done = interpreter(*words, PYTHON=name)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
            assert f"PYTHON={name} is missing, does not run or is older than Python 3.11" in done.stderr


def test_the_environment_keeps_its_interpreter(interpreter, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.made-from").write_text(f"0123 3.11.0 {os.path.realpath(sys.executable)}\n")
    assert interpreter().stdout == HERE
    assert interpreter("--needs").stdout == ""


@pytest.mark.skipif(not os.access("/usr/bin/python3", os.X_OK), reason="the system has no Python")
def test_the_system_s_interpreter_comes_before_the_one_on_path(interpreter, tmp_path):
    (tmp_path / "python3").symlink_to("/no/such/python")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.made-from").write_text("0123 3.11.0 /no/such/python\n")  # removed later
    done = interpreter(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.stdout.split()[1] == os.path.realpath("/usr/bin/python3")
