"""No regular expression of the project has a possessive repeat or an atomic group.

Python 3.11.0 to 3.11.4, which Debian 12 has, lose matches of both (https://github.com/python/cpython/issues/106052).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
FOLDERS = ("config", "workers", "steps", "master", "tests", "tools")
FUNCTIONS = {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"}
# Parts whose characters are no operators: an escaped character, a set of characters, and `%(name)s`.
NO_OPERATORS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|%(?:\(\w+\))?s", re.DOTALL)
LOSES_MATCHES = re.compile(r"\(\?>|(?:[*+?]|\{\d*,?\d*\})\+")


def loses_matches(pattern: str) -> bool:
    return LOSES_MATCHES.search(NO_OPERATORS.sub("x", pattern)) is not None


def patterns(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each literal that is passed to a function of ``re``, directly or as a constant."""
    tree = ast.parse(source)
    constants: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    constants.setdefault(target.id, []).append(node.value)
    pending = [
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
        for argument in [*node.args[:1], *(word.value for word in node.keywords if word.arg == "pattern")]
    ]
    seen = set()
    while pending:
        for node in ast.walk(pending.pop()):
            if isinstance(node, ast.Name) and node.id not in seen:
                seen.add(node.id)
                pending += constants.get(node.id, [])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
                yield node.lineno, text


def test_no_expression_loses_matches_on_python_3_11_2():
    found = [
        f"{path.relative_to(CHECKOUT)}:{line}: {text}"
        for folder in FOLDERS
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
        if path != Path(__file__)
        for line, text in patterns(path.read_text())
        if loses_matches(text)
    ]
    assert found == [], "write repeats that cannot backtrack instead, and test them against a plain parser"


@pytest.mark.parametrize(
    "source",
    [
        "re.compile('a*+')", "re.match(rb'[a-z]{2,3}+x', data)", "re.split('(?>ab|a)c', text)",
        "re.sub(r'\\\\d?+', '', t)",
        "_LEB = rb'[a]*+b'\nre.compile(rb'%(leb)s' % {b'leb': _LEB})", "re.compile(pattern='a++')",
        "A = 'x' \nB = A + '{3}+'\nre.findall(f'({B})', text)", "re.compile('%s*+' % word)", "re.compile('[]a]*+')",
    ],
)  # fmt: skip
def test_an_expression_that_loses_matches_is_found(source):
    assert any(loses_matches(text) for _, text in patterns(source))


@pytest.mark.parametrize(
    "source",
    ["re.compile(r'a\\++')", "re.compile('[*+]+')", "x = 'g++'", "re.match('a+|b*', t)", "re.compile(r'[\\]*+]+')"],
)
def test_other_expressions_are_not_reported(source):
    assert not any(loses_matches(text) for _, text in patterns(source))
