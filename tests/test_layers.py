"""The packages: an import only goes down, one module starts programs, and the code map has each package."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parent.parent
LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_go_down() -> None:
    done = lint_imports(CHECKOUT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, in which a test can break the layers."""
    folder = tmp_path_factory.mktemp("layers")
    for package in ("config", "workers", "steps", "master"):
        shutil.copytree(CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "dist-git"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("module", "added"),
    [
        ("workers/formats/elf.py", "from workers.promotion import publish"),
        ("workers/formats/elf.py", "def late():\n    from workers.promotion import publish"),
        ("workers/lab/judge.py", "from workers.verify import judge"),
        ("workers/repository/index.py", "from workers.signing import sign"),
        ("workers/rpm/build.py", "from steps import command"),
        ("workers/rpm/build.py", "from buildbot.plugins import util"),
        ("config/loading.py", "import subprocess"),
        ("config/loading.py", "from workers.base import run"),
        ("steps/build.py", "from workers.base.run import run"),
        ("steps/build.py", "from master import builders"),
        ("master/client/demo.py", "from workers.results import Result"),
    ],
)
def test_an_import_that_goes_up_is_reported(copy: Path, module: str, added: str) -> None:
    path = copy / module
    text = path.read_text()
    path.write_text(f"{text}\n\n{added}\n")
    try:
        done = lint_imports(copy)
    finally:
        path.write_text(text)
    assert done.returncode == 1, done.stdout
    assert "1 broken" in done.stdout
    assert module.removesuffix(".py").replace("/", ".") in done.stdout


def test_a_package_without_a_layer_is_reported(copy: Path) -> None:
    (copy / "workers" / "helpers").mkdir()
    (copy / "workers" / "helpers" / "__init__.py").touch()
    try:
        done = lint_imports(copy)
    finally:
        shutil.rmtree(copy / "workers" / "helpers")
    assert done.returncode == 1
    assert "helpers" in done.stdout


def starts_programs(source: str) -> bool:
    """Return whether a module calls subprocess, os.system or similar; the name subprocess.PIPE alone does not count."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    names = {f"{f.value.id}.{f.attr}" for f in calls if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name)}
    starts = ("subprocess.", "os.exec", "os.spawn", "os.posix_spawn", "os.system", "os.popen")
    return any(name.startswith(starts) for name in names)


def test_only_one_module_of_the_workers_starts_programs() -> None:
    callers = [p for p in sorted((CHECKOUT / "workers").rglob("*.py")) if starts_programs(p.read_text())]
    assert [str(p.relative_to(CHECKOUT)) for p in callers] == ["workers/base/run.py"]
    assert not starts_programs("import subprocess\nx = subprocess.PIPE")
    assert starts_programs("import os\nos.system('x')")


def test_the_code_map_has_a_line_for_each_package() -> None:
    text = (CHECKOUT / "docs" / "reference" / "code-map.md").read_text()
    named = re.findall(r"^\| `([\w/]+)/` \| \S", text, re.MULTILINE)
    folders = [CHECKOUT / top for top in ("config", "workers", "steps", "master")]
    found = {str(init.parent.relative_to(CHECKOUT)) for folder in folders for init in folder.rglob("__init__.py")}
    assert len(named) == len(set(named))
    assert set(named) == found
