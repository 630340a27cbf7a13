"""Fixtures with copies of two small sites, which tests may break. The tests rely on the line numbers of their files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from config.loading import load_site
from config.problems import ConfigError

Break = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of both sites; ``demo`` extends ``kitten-10``."""
    return shutil.copytree(Path(__file__).with_name("sites"), tmp_path / "sites")


@pytest.fixture
def problems(folder: Path) -> Break:
    """Replace text in a file of the copy; return the lines of check-config, with paths relative to the copy."""

    def check(file: str, old: str, new: str, site: str = "demo") -> list[str]:
        path = folder / site / file
        text = path.read_text()
        assert text.count(old) >= 1, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1))
        return lines(folder, site)

    return check


def lines(folder: Path, site: str) -> list[str]:
    """Return the problems of a site of the copy, one line each."""
    with pytest.raises(ConfigError) as caught:
        load_site(str(folder / site))
    found = str(caught.value).splitlines()
    assert len(found) == len(caught.value.problems), "one line each"
    return [line.removeprefix(f"{folder}/") for line in found]
