"""Code uses the roles of stages; their names appear only in stages.yaml."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
import yaml

from config.loading import FOLDER

CHECKOUT = FOLDER.parent
FOLDERS = ("config", "workers", "steps", "master")
PROGRAM = "kitten"
NAMES = sorted({stage["name"] for file in FOLDER.glob("*/stages.yaml") for stage in yaml.safe_load(file.read_text())})
ALLOWED = {
    ("steps/command.py", "kitten"): "the program that a step runs",
    ("workers/base/completion_cli.py", "kitten"): "the program whose completion is printed",
    ("master/web/www.py", "kitten"): "the name of our plugin in Buildbot's web UI",
    ("workers/sandbox/apt/lists.py", "testing"): "a suite of Debian",
    ("workers/rpm/mock.py", "staged"): "a part of a build's identity: another word builds everything again",
}


def literals(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each string in code, including the fixed parts of f-strings, without docstrings."""
    tree = ast.parse(source)
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def stages_in(text: str) -> set[str]:
    """Return the stages that a string names: as a whole, as a part of a path, or after the option --stage."""
    words = {text, *re.findall(r"(?<=--stage[ =])[\w-]+", text)}
    return words.intersection(NAMES) | {part for part in text.split("/") if part in NAMES and part != PROGRAM}


def test_no_stage_of_a_site_is_named_in_code() -> None:
    found = {
        (str(path.relative_to(CHECKOUT)), name, line)
        for folder in FOLDERS
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
        for line, text in literals(path.read_text())
        for name in stages_in(text)
    }
    assert [f"{file}:{line}: {name}" for file, name, line in sorted(found) if (file, name) not in ALLOWED] == []
    assert {(file, name) for file, name, _ in found} == set(ALLOWED), "an exception that nothing needs"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x = 'testing'", {"testing"}),
        ("x = state / f'staged/{target}'", {"staged"}),
        ("x = f'kitten publish --stage testing --target {t}'", {"testing"}),
        ("def f():\n    'testing'\n    # staged\n    return '/kitten/bin'", set()),
        ("x = 'nothing staged needs it'", set()),
    ],
)
def test_the_name_of_a_stage_is_found(code: str, names: set[str]) -> None:
    assert {name for _, text in literals(code) for name in stages_in(text)} == names
