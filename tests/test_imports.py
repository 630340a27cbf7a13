"""The direction of imports: config ← workers, config ← steps ← master; of workers, steps may read only the result files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
ROOMS = ("config", "workers", "steps", "master")
MAY_IMPORT = {
    "config": {"config"},
    "workers": {"config", "workers"},
    "steps": {"config", "steps", "workers.results"},
    "master": {"config", "steps", "master"},
}
KNOWS_BUILDBOT = {"steps", "master"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: write the whole name, so that rooms can be seen"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(room: str, source: str) -> list[str]:
    found = []
    for name in imports(ast.parse(source)):
        top = name.split(".")[0]
        if top in ROOMS:
            allowed = MAY_IMPORT[room]
            # `from workers import results` yields `workers` too; the longer name decides.
            if top in allowed or any(name == a or name.startswith(a + ".") for a in allowed):
                continue
            if any(a.startswith(name + ".") for a in allowed) and f"from {name} import" in source:
                continue
            found.append(f"{room} imports {name}")
        if top.startswith("buildbot") and room not in KNOWS_BUILDBOT:
            found.append(f"{room} imports {name}")
        if top == "subprocess" and room == "config":
            found.append(f"{room} imports subprocess")
    return found


def files() -> list[Path]:
    return [p for room in ROOMS for p in sorted((CHECKOUT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(CHECKOUT).parts[0]
    assert violations(room, path.read_text()) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("config", "import workers.base.run"),
        ("config", "import subprocess"),
        ("workers", "from steps import command"),
        ("workers", "from buildbot.plugins import util"),
        ("steps", "from workers.base.run import run"),
        ("steps", "from master import builders"),
        ("master", "from workers.results import Result"),
        ("workers", "def late():\n    import master"),
    ],
)
def test_a_wrong_import_is_seen(room: str, source: str) -> None:
    assert violations(room, source)


def starts_programs(source: str) -> bool:
    """Calls subprocess, os.system and their like; to name subprocess.PIPE is no call."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    names = {f"{f.value.id}.{f.attr}" for f in calls if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name)}
    starts = ("subprocess.", "os.exec", "os.spawn", "os.posix_spawn", "os.system", "os.popen")
    return any(name.startswith(starts) for name in names)


def test_only_one_module_of_the_workers_starts_programs() -> None:
    callers = [p for p in sorted((CHECKOUT / "workers").rglob("*.py")) if starts_programs(p.read_text())]
    assert [str(p.relative_to(CHECKOUT)) for p in callers] == ["workers/base/run.py"]
    assert not starts_programs("import subprocess\nx = subprocess.PIPE")
    assert starts_programs("import os\nos.system('x')")
